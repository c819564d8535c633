"""A program does what the command line does: the same options, checks and results."""

import asyncio
import subprocess
import sys
import threading
from pathlib import Path
from types import ModuleType

import pytest
from PIL import Image

import tune
from trainable.errors import UserError
from tune.api.loaded_study import LoadedStudy
from tune.api.run_verb import run_verb
from tune.cli import main

SMALL = {
    "data": "demo:120",
    "space": "smoke",
    "backbone": "tiny:random",
    "trials": 2,
    "epochs": 2,
    "local": True,
    "workers": 1,
    "no_confirm": True,
}


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> LoadedStudy:
    folder = tmp_path_factory.mktemp("api")
    return tune.search(**SMALL, study=folder / "study", tracking_uri=f"sqlite:///{folder / 'mlflow.db'}")


@pytest.mark.slow
def test_a_search_returns_the_study_that_the_command_line_shows(
    study: LoadedStudy, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trials", str(study.folder)]) == 0
    shown = capsys.readouterr().out

    trials = study.trials()
    assert list(trials["trial"]) == ["t0000", "t0001"]
    assert all(name in shown for name in trials["name"])
    best = study.best
    assert best is not None
    assert best.score == trials["score"].min() == best.metrics["score/all"]
    assert best.config["epochs"] == 2
    assert best.score > 0
    assert set(study.floors) == {"constant", "domain_mean", "species_mean"}
    assert (study.verdict, study.is_running) == (None, False)
    assert str(study) == f"study {study.folder}: 2 trials, best {best.trial_id} ({best.name}) {best.score:.4f}"


@pytest.mark.slow
def test_the_page_of_the_docs_goes_from_search_to_forecast_as_it_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = (Path(__file__).parents[2] / "docs" / "python.md").read_text(encoding="utf-8")
    code = page.partition("```python\n")[2].partition("```")[0]
    monkeypatch.chdir(tmp_path)
    Image.new("RGB", (40, 30), "brown").save("beetle.jpg")
    found: dict[str, object] = {"__name__": "page"}

    exec(compile(code.replace("tune.search(", "tune.search(local=True, workers=1, "), "python.md", "exec"), found)

    assert list(found["table"]["trial"]) == ["t0000", "t0001"]
    assert found["config"]["epochs"] == 2
    assert found["words"] in " ".join(capsys.readouterr().out.split())  # lines end where they are full
    assert found["page"].read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert len(found["study"].trials()) == 3
    assert found["forecast"].shape == (1, 3)
    assert found["scores"] > 0


@pytest.mark.slow
def test_a_search_runs_beside_a_running_loop_and_off_the_main_thread(study: LoadedStudy, tmp_path: Path) -> None:
    """As notebooks and their widgets do."""
    found: list[object] = []

    async def cell() -> None:
        found.append(tune.search(**SMALL, study=tmp_path / "s", tracking_uri=f"sqlite:///{tmp_path / 'm.db'}").best)

    thread = threading.Thread(target=lambda: asyncio.run(cell()))
    thread.start()
    thread.join()

    best, (elsewhere,) = study.best, found
    assert (elsewhere.score, elsewhere.config) == (best.score, best.config)


def test_wrong_names_and_values_are_all_told_at_once_before_anything_is_done(tmp_path: Path) -> None:
    with pytest.raises(UserError) as raised:
        tune.search(trails=3, epochs="many", time_budget="soon", study=tmp_path / "study")

    first, *others = raised.value.problems
    assert first == "`trails` is not an option; did you mean `trials`?"
    assert [problem.split()[0] for problem in others] == ["`--epochs`", "`--time-budget`"]
    assert not list(tmp_path.iterdir())


def test_what_is_no_study_or_model_is_said_to_be_none(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="journal"):
        tune.load_study(tmp_path)
    with pytest.raises(UserError, match="which is not there"):
        tune.load_model(tmp_path / "none")


def test_a_verb_without_a_result_is_no_silent_success(monkeypatch: pytest.MonkeyPatch) -> None:
    verb = ModuleType("verb")
    verb.run = lambda _: 1  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "tune.verbs.variants", verb)

    with pytest.raises(RuntimeError, match="`variants` ended with status 1 and without a result"):
        run_verb("variants")


def test_importing_the_package_costs_a_worker_nothing() -> None:
    code = "import sys, tune; print(dir(tune)); assert not {'pandas', 'tune.cli', 'trainable'} & set(sys.modules)"

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert all(name in shown for name in tune.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'serach'"):
        tune.serach  # noqa: B018
