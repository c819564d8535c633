"""Every task goes the whole way: extract, search, confirm, retrain, evaluate, report, predict, alone in a process.

The challenge's own does so in the tests of each verb.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

import trainable.export.standalone
from search_spaces.space import SearchSpace
from tests.conftest import DEMO, PLAIN
from tests.leaves import draw_leaves
from trainable.data.specimens import load_specimens
from trainable.data.task import TASK_FILE, Task
from tune.journal.entries import study_of
from tune.journal.journal import read_entries

LENGTH = {"length": {"real": [0, None], "unit": "mm", "column": "length (mm)"}}
LEAVES = {
    "regions and no plots": {
        "columns": {"image": "file_name", "site": "place", "domain": "region"},
        "covariates": ["genus"],
        "targets": {**LENGTH, "mass": {"real": "any", "unit": "g"}},
    },
    "plots and no regions": {
        "columns": {"image": "file_name", "event": "plot", "site": "place"},
        "targets": {"mass": {"real": "any", "unit": "g"}},
    },
}
ALONE = """
import json, sys
sys.path[0] = {folder!r}
from standalone import ExportedModel
model = ExportedModel.load({model!r})
images = [open(name, "rb").read() for name in {images!r}]
values = model.predict(images, [{domain!r}, "nowhere"], ["Acer", None])
assert not {{"trainable", "tune", "search_spaces"}} & sys.modules.keys()
forecast = model.forecast(values, ["a", "b"], [{domain!r}, "nowhere"])
print(json.dumps({{"values": values.tolist(), "forecast": forecast}}))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo-one", *LEAVES])
@pytest.mark.usefixtures("demo_cache")
def test_a_task_goes_all_the_way(name, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    space = tmp_path / "space.yaml"
    values = yaml.safe_load(PLAIN.read_text(encoding="utf-8"))
    codes = SearchSpace.load("full").to_dict()["parameters"]
    values["parameters"] |= {key: codes[key] for key in ("tail.domain_scale", "tail.species_scale")}
    space.write_text(yaml.safe_dump(values | {"start_from": []}, sort_keys=False), encoding="utf-8")
    if name in LEAVES:
        data = tmp_path / "leaves"
        data.mkdir()
        draw_leaves(data)
        (data / TASK_FILE).write_text(yaml.safe_dump(LEAVES[name]), encoding="utf-8")
        words, task = ["--data", "leaves"], Task.from_dict(LEAVES[name])
    else:
        words, task = ["--data", DEMO, "--task", name], Task.load(name)
    words += ["--space", "space.yaml", "--workers", "1"]
    has_domains, tracking = task.columns.domain is not None, ["--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]

    assert cli("extract", "--local", *words).status == 0
    lengths = ["--trials", "2", "--epochs", "2", "--confirm-top", "1", "--confirm-folds", "1", "--no-variants"]
    found = cli("search", "--local", *words, *lengths, "--study", "study", *tracking)
    assert found.status == 0
    assert "features are there already" in found.stderr
    assert ("tail.domain_scale" in found.stderr) == (not has_domains)  # dropped, and said so
    assert ("tail.species_scale" in found.stderr) == (not task.covariates)
    check_words(found.stdout, task, part="OOD")
    header = study_of(read_entries(tmp_path / "study")).header
    assert header["task"] == task.to_dict()
    retrained = cli("retrain", "study", "--out", "out", "--workers", "1", "--name", "a", *tracking)
    assert retrained.status == 0, retrained.stderr
    evaluated = cli("evaluate", "out/model", "--events", "all", "--workers", "1", "--no-track", "--out", "evaluation")
    assert evaluated.status == 0, evaluated.stderr
    check_words(evaluated.stdout, task, part="score, ID")  # it knows all domains
    assert cli("report", "study").status == cli("trials", "study").status == cli("status", "study").status == 0
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert all(target in page for target in task.names)
    assert ("OOD" in page) == has_domains
    assert ("score_ood" in cli("trials", "study").stdout) == has_domains
    check_alone(tmp_path, task, cli, data=words[1])


def check_words(text: str, task: Task, *, part: str) -> None:
    """Its targets are named, a part of the events if there are domains, and nothing that it does not have."""
    assert all(target in text for target in task.names)
    assert (part in text) == (task.columns.domain is not None)
    assert not any(f"SPEI_{other}" in text for other in ("30d", "1y"))


def check_alone(tmp_path: Path, task: Task, cli, *, data: str) -> None:
    """The model in a process without this project predicts what `predict` does, and knows what is unknown."""
    specimens = load_specimens(data, task=task, cache_dir=tmp_path / "own-cache", n_processes=1)
    images = []
    for row, content in enumerate(specimens.images.read([0, 1])):
        file = tmp_path / "images" / f"{row}.png"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        images.append(str(file))
    domain = specimens.ids("domain_id")[0].item() if task.columns.domain is not None else None
    code = ALONE.format(
        folder=str(Path(trainable.export.standalone.__file__).parent), model=str(tmp_path / "out" / "model"),
        images=images, domain=domain,
    )  # fmt: skip
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    given = [] if domain is None else ["--domain", domain]
    species = ["--species", "Acer"] if task.covariates else []
    predicted = cli("predict", "out/model", images[0], *given, *species, "--workers", 1, "--json")
    assert predicted.status == 0, predicted.stderr
    (specimen,) = predicted.result["specimens"]
    assert np.allclose([specimen[target] for target in task.names], alone["values"][0], rtol=1e-5)
    (event,) = predicted.result["events"]
    assert event["event"] == (images[0] if task.columns.event is None else str(tmp_path / "images"))
    config = json.loads((tmp_path / "out" / "model" / "config.json").read_text(encoding="utf-8"))
    assert alone["forecast"]["b"]["sigma"] == config["sigmas"]["unknown"]
    assert predicted.result["domain_is_known"] == (domain is not None)
    assert ("not trained on" in predicted.stderr) is False
