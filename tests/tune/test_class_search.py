"""A search for classes, from the demo's species to a verdict: what is kept, shown, compared and gone on with."""

import json
from pathlib import Path

import pytest

from tests.conftest import Cli
from trainable.data.task_words import SHARED_OF
from trainable.scoring.out_of_fold import OutOfFold
from tune.command_line.model_options import RetrainOptions
from tune.confirming.outcome import confirmed_of
from tune.journal.entries import EpochReported, FloorsMeasured, study_of
from tune.journal.journal import read_entries
from tune.journal.study_task import task_of_study
from tune.models.recipe import recipe_of


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("classes") / "study"


def searched(cli: Cli, demo_cache: Path, tracking_uri: str, study: Path) -> str:
    outcome = cli(
        *("search", "--local", "--data", "demo:120", "--task", "demo-species", "--space", "smoke", "--workers", 1),
        *(
            "--trials",
            2,
            "--epochs",
            2,
            "--no-variants",
            "--confirm-top",
            1,
            "--confirm-folds",
            2,
            "--confirm-seeds",
            2,
        ),
        *("--cache", demo_cache, "--tracking-uri", tracking_uri, "--study", study),
    )
    assert outcome.status == 0, outcome.stderr
    return outcome.stdout


@pytest.mark.seconds
def test_a_search_for_classes_ends_in_a_verdict_by_their_score(cli, demo_cache, tracking_uri, study):
    shown = searched(cli, demo_cache, tracking_uri, study)
    entries = read_entries(study)
    task = task_of_study(study_of(entries).header)

    assert len(task.classes) > 20
    assert "accuracy" in shown
    assert "macro F1" in shown
    words = f"score: mean log loss, a share of {SHARED_OF}, lower is better; accuracy and macro F1 by image"
    assert words in " ".join(shown.split())
    assert not any(word in shown for word in ("R2", "MAE", "CRPS", "OOD"))
    (floors,) = [entry.floors for entry in entries if isinstance(entry, FloorsMeasured)]
    assert [*floors] == ["constant"]
    reported = [entry.metrics for entry in entries if isinstance(entry, EpochReported)]
    assert all({"accuracy_id/species", "macro_f1_id/species", "ece_id/species"} <= set(metrics) for metrics in reported)

    confirmed = confirmed_of(entries)
    assert confirmed is not None
    winner = confirmed.candidate(confirmed.winner)
    assert winner is not None
    kept = json.loads((study / "confirmation" / f"{winner.name}.json").read_text())
    forecasts = OutOfFold.from_dict(kept["forecasts"])
    assert forecasts.targets.task == task
    assert forecasts.parts["id"].mu.shape == (2, len(forecasts.parts["id"].labels), len(task.classes))
    assert forecasts.metrics()["accuracy_id/species"] == winner.metrics["accuracy_id/species"]

    assert cli("status", study).status == 0
    assert "score_id" not in cli("trials", study).stdout  # all is ID where there are no domains
    recipe = recipe_of(RetrainOptions(study=study, leading=True), entries)
    (temperature,) = recipe.sigmas["known"]
    assert 0.05 < temperature < 20


@pytest.mark.seconds
def test_the_classes_of_a_study_are_its_own_when_it_is_gone_on_with(cli, demo_cache, tracking_uri, study, tmp_path):
    if not study.exists():
        searched(cli, demo_cache, tracking_uri, study)
    resume = ("search", "--resume", study, "--local", "--trials", 2, "--cache", demo_cache)
    assert cli(*resume, "--task", "demo-species").status == 0
    other = tmp_path / "other.yaml"
    other.write_text(
        "columns: {image: file_path, site: siteID, id: public_id, date: collectDate}\n"
        "targets: {species: {classes: [Carabus, Amara], column: scientificName}}\n"
    )
    refused = cli(*resume, "--task", other)

    assert refused.status == 2
    assert "a study's task must stay what it was" in refused.stderr
