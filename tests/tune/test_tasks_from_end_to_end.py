"""Every task goes the whole way: extract, search, confirm, retrain, evaluate, report, predict, alone in a process.

The challenge's own does so in the tests of each verb.
"""

import io
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

import trainable.export.standalone
from search_spaces.space import SearchSpace
from tests.conftest import DEMO, PLAIN, Outcome
from tests.leaves import draw_leaves, leaf_table
from trainable.data.specimens import load_specimens
from trainable.data.task import TASK_FILE, Task
from trainable.data.task_parts import Columns, Score
from trainable.plain_values import JsonObject
from tune.journal.entries import study_of
from tune.journal.journal import read_entries

PAGE = (Path(__file__).parents[2] / "docs" / "your-data.md").read_text(encoding="utf-8")
SHORTEST, COMPLETE, OF_CLASSES = (
    yaml.safe_load(block) for block in re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.S | re.M)
)
COMMANDS = [shlex.split(line)[1:] for line in re.findall(r"^sentinel-tune (?!.*hf://).*$", PAGE, re.M)]
LEAVES = {
    "three real targets": COMPLETE
    | {
        "columns": {**COMPLETE["columns"], "domain": "region"},
        "targets": {**COMPLETE["targets"], "area": {"real": "any", "unit": "mm2"}},
    },
    "regions and no plots": COMPLETE | {"columns": {"image": "file_name", "site": "place", "domain": "region"}},
    "plots and no regions": COMPLETE | {"covariates": []},
    "shortest": SHORTEST,
}
N_EVENTS = 24  # of leaves
READS_COVARIATE = ("three real targets", "demo-size")
"""Whose models have codes for covariate and numbers: a trial of the search, which the verdict may not choose."""

CLASSES = {
    "12 classes": {"event": "plot", "site": "place", "domain": "region"},
    "2 classes with domain absent": {"event": "plot", "site": "place"},
}
LEAVES |= {
    name: {"columns": {"image": "file_name", **columns}, "targets": {"shade": {"classes": "auto"}}}
    for name, columns in CLASSES.items()
}
SMALL = {
    "search": ["--trials", "6", "--epochs", "2", "--confirm-top", "1", "--confirm-folds", "1", "--no-variants"],
    "predict": ["--json"],
}
ALONE = """
import json, sys
sys.path[0] = {folder!r}
from standalone import ExportedModel
model = ExportedModel.load({model!r})
images = [open(name, "rb").read() for name in {images!r}]
values = model.predict(images, [{domain!r}, "nowhere"], ["Acer", None], [{{"size_mm": 14.5}}, None])
known = (*model.known_species, "Acer")[0]
named, unseen, none = model.predict(images[:1] * 3, [{domain!r}] * 3, [known, "Ulmus", None]).tolist()
assert unseen == none
assert (named != unseen) == model.reads_species
large, usual = model.predict(images[:1] * 2, [{domain!r}] * 2, None, [{{"size_mm": 14.5}}, None]).tolist()
assert (large != usual) == bool(model.numbers)
assert not {{"trainable", "tune", "search_spaces"}} & sys.modules.keys()
forecast = model.forecast(values, ["a", "b"], [{domain!r}, "nowhere"])
found = {{"values": values.tolist(), "reads": model.reads_species, "numbers": model.numbers}}
print(json.dumps(found | {{"forecast": forecast}}))
"""


def test_the_page_explains_every_key_of_a_task_and_its_tasks_are_sound():
    keys = [
        *Columns.__slots__,
        "about",
        "covariates",
        "numbers",
        "targets",
        "real",
        "classes",
        "unit",
        "column",
        *Score.__slots__,
    ]

    for key in keys:
        assert re.search(rf"^\|.*`((columns|score): )?{key}`.*\|.*\|.*\|$", PAGE, re.M), key
    assert Task.from_dict(SHORTEST).names == ("mass",)
    assert Task.from_dict(COMPLETE).to_dict() == COMPLETE
    assert Task.from_dict(OF_CLASSES).has_classes
    table = re.search(r"^file_name.*?(?=```)", PAGE, re.DOTALL | re.MULTILINE)
    assert table
    shown = pd.read_csv(io.StringIO(table[0]), keep_default_na=False)
    pd.testing.assert_frame_equal(shown, leaf_table()[shown.columns][:2])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["demo-one", "demo-size", "demo-species", *LEAVES])
@pytest.mark.usefixtures("demo_cache")
def test_a_task_goes_all_the_way_by_the_commands_of_the_page(name, tmp_path, monkeypatch, cli):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    write_space(tmp_path / "space.yaml")
    if name in LEAVES:
        (tmp_path / "leaves").mkdir()
        draw_leaves(tmp_path / "leaves")
        name_shades(tmp_path / "leaves" / "metadata.csv", n=int(name.split()[0]) if name in CLASSES else 1)
        (tmp_path / "leaves" / TASK_FILE).write_text(yaml.safe_dump(LEAVES[name], sort_keys=False), encoding="utf-8")
    task = Task.from_dict(LEAVES[name]) if name in LEAVES else Task.load(name)
    data = ["--data", "leaves"] if name in LEAVES else ["--data", DEMO, "--task", name]
    domain, has_domains = save_photographs(tmp_path, task, data[1]), task.columns.domain is not None

    assert cli("extract", "--local", *data, "--space", "space.yaml", "--workers", 1).status == 0
    ended = {}
    for verb, *words in COMMANDS if name in LEAVES else COMMANDS[1:]:  # the first looks at the folder
        words += SMALL.get(verb, [])
        if verb == "search":
            at = words.index("--data")
            words[at : at + 2] = [*data, "--space", "space.yaml"]
        if verb == "retrain" and name in READS_COVARIATE:
            words += ["--trial", "t0000"]
        if verb == "predict":
            words += [
                *(["--domain", str(domain)] if has_domains else []),
                *(["--species", "Acer"] * bool(task.covariates)),
                *(["--numbers", str(write_numbers(tmp_path))] * bool(task.numbers)),
            ]
        ended[verb] = cli(verb, *words, *([] if verb == "report" else ["--workers", 1]))
        assert ended[verb].status == 0, ended[verb].stderr

    if not has_domains:  # in no table, of no line
        cards = [file.read_text(encoding="utf-8") for file in Path().glob("models/**/README.md")]
        shown = [text for verb, of in ended.items() if verb != "search" for text in (of.stdout, of.stderr)]
        assert cards
        assert not any(re.search(r"\b(OOD|ID|id|ood)\b", text) for text in (*cards, *shown))
    said = ended["search"].stderr
    assert "features are there already" in said
    assert ("tail.domain_scale" in said) == (not has_domains)  # dropped, and said so
    assert ("tail.species_scale" in said) == (not task.covariates)
    assert ("tail.number_scale" in said) == (not task.numbers)
    header = study_of(read_entries(tmp_path / "studies" / "leaves")).header
    task = task.with_classes(Task.from_dict(header["task"]).classes)
    assert header["task"] == task.to_dict()
    assert task.n_outputs == (int(name.split()[0]) if name in CLASSES else task.n_outputs)
    check_words(ended["search"].stdout, task, part="OOD")
    check_words(ended["evaluate"].stdout, task, part="score, trained on")  # on everything
    check_words((tmp_path / "report-leaves.html").read_text(encoding="utf-8"), task, part="OOD")
    assert ("score_ood" in cli("trials", "studies/leaves").stdout) == has_domains
    assert cli("status", "studies/leaves").status == 0
    alone = check_alone(tmp_path, task, ended["predict"], domain=domain)
    assert alone["reads"] or name not in READS_COVARIATE
    assert alone["numbers"] == list(task.numbers)
    words = ["models/leaves/model", "photographs", "--species", "Ulmus", "--workers", 1]
    assert (
        not alone["reads"] or "species 'Ulmus' was not trained on: treated as unknown" in cli("predict", *words).stderr
    )


def name_shades(table: Path, *, n: int) -> None:
    """A column of n classes by how bright a plot's leaves are, each of as many plots; and a third number."""
    rows = pd.read_csv(table, keep_default_na=False)
    rank = rows["length (mm)"].rank(method="dense").astype(int) - 1
    rows["shade"] = [f"shade {place * n // N_EVENTS}" for place in rank]
    rows["area"] = (rows["length (mm)"] * rows["mass"]).round(5)
    rows.to_csv(table, index=False)


def write_space(file: Path) -> None:
    """The small space of tests, and what a task may not have."""
    values = yaml.safe_load(PLAIN.read_text(encoding="utf-8"))
    codes = SearchSpace.load("full").to_dict()["parameters"]
    for key in ("tail.species_scale", "tail.number_scale"):
        codes[key]["choices"].remove(0.0)
        values["parameters"][key] = codes[key]
    values["parameters"]["tail.domain_scale"] = codes["tail.domain_scale"]
    file.write_text(yaml.safe_dump(values | {"start_from": []}, sort_keys=False), encoding="utf-8")


def save_photographs(tmp_path: Path, task: Task, data: str) -> int | str | None:
    """Two of the data, in a folder of their own; returns the domain of the first."""
    specimens = load_specimens(data, task=task, cache_dir=tmp_path / "own-cache", n_processes=1)
    (tmp_path / "photographs").mkdir()
    for row, content in enumerate(specimens.images.read([0, 1])):
        (tmp_path / "photographs" / f"{row}.png").write_bytes(content)
    return None if task.columns.domain is None else specimens.ids("domain_id")[0].item()


def write_numbers(tmp_path: Path) -> Path:
    """A table of the photographs in which one has a size."""
    table = tmp_path / "photographs" / "metadata.csv"
    table.write_text("file_name,size_mm\n0.png,14.5\n1.png,\n", encoding="utf-8")
    return table


def check_words(text: str, task: Task, *, part: str) -> None:
    """Its targets are named, a part of the events if there are domains, and nothing that it does not have."""
    assert all(target in text for target in task.names)
    assert (part in text) == (task.columns.domain is not None)
    assert not any(f"SPEI_{other}" in text for other in ("30d", "1y"))


def check_alone(tmp_path: Path, task: Task, predicted: Outcome, *, domain: int | str | None) -> JsonObject:
    """The model in a process without this project predicts what `predict` does, and knows what is unknown.

    Returns what that process said.
    """
    images = [str(tmp_path / "photographs" / f"{row}.png") for row in (0, 1)]
    code = ALONE.format(
        folder=str(Path(trainable.export.standalone.__file__).parent),
        model=str(tmp_path / "models" / "leaves" / "model"),
        images=images,
        domain=domain,
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    alone = json.loads(done.stdout)
    first, _ = predicted.result["specimens"]
    if task.has_classes:
        assert [*first[task.names[0]]["probabilities"]] == [*task.classes]
        found, wanted = [*first[task.names[0]]["probabilities"].values()], alone["forecast"]["a"]["probabilities"]
    else:
        found, wanted = [first[target] for target in task.names], alone["values"][0]
    assert np.allclose(found, wanted, rtol=1e-5)
    events = [event["event"] for event in predicted.result["events"]]
    assert [Path(event).name for event in events] == (
        ["0.png", "1.png"] if task.columns.event is None else ["photographs"]
    )
    config = json.loads((tmp_path / "models" / "leaves" / "model" / "config.json").read_text(encoding="utf-8"))
    unknown = alone["forecast"]["b"]
    if task.has_classes:
        assert unknown["temperature"] == config["temperatures"]["unknown"]
    else:
        assert unknown["sigma"] == config["sigmas"]["unknown"]
    assert predicted.result["domain_is_known"] == (domain is not None)
    return alone
