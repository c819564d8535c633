"""Data of other kinds than the challenge's: read, held out, learnt, exported and predicted as their task says."""

import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from tests.leaves import draw_leaves, leaf_data, leaf_table, read_leaves
from trainable.config import NO_DOMAIN, TrialConfig
from trainable.data.specimens import Specimens
from trainable.data.splits import make_split, n_folds
from trainable.data.task import Task
from trainable.data.telling_covariate import telling_line
from trainable.errors import UserError
from trainable.export.exporter import export_model
from trainable.export.facts import ModelFacts
from trainable.export.model_card import model_card
from trainable.export.standalone import ExportedModel
from trainable.export.submission import write_submission
from trainable.frozen.backbone import load_backbone
from trainable.scoring.folds_scorer import floors
from trainable.scoring.targets import Targets
from trainable.training.trainer import TailTrainer

LENGTH = {"length": {"real": [0, None], "unit": "mm", "column": "length (mm)"}}
TASKS = {
    "two targets, text groups": {
        "columns": {"image": "file_name", "site": "place", "domain": "region"},
        "covariates": ["genus"],
        "targets": {**LENGTH, "mass": {"real": "any", "unit": "g"}},
    },
    "one target, no groups but sites": {
        "columns": {"image": "file_name", "site": "place"},
        "targets": {"mass": {"real": "any"}},
    },
    "raw scores of plots": {
        "columns": {"image": "file_name", "event": "plot", "site": "place", "domain": "number"},
        "targets": LENGTH,
        "score": {"scale": "raw"},
    },
    "one target, no groups": {"columns": {"image": "file_name"}, "targets": LENGTH},
}


def task_of(name: str) -> Task:
    return Task.from_dict(TASKS[name])


@pytest.fixture(scope="module")
def leaves(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("leaves")
    draw_leaves(folder)
    return folder


def problems_of(rows: pd.DataFrame, task: Task, leaves: Path, tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "photos").symlink_to(leaves / "photos")
    rows.to_csv(tmp_path / "metadata.csv", index=False)
    with pytest.raises(UserError) as caught:
        read_leaves(tmp_path, task, tmp_path / "cache")
    return caught.value.problems


def test_columns_of_any_name_are_read_and_text_groups_stay_text(leaves, tmp_path):
    specimens = read_leaves(leaves, task_of("two targets, text groups"), tmp_path)

    frame = specimens.frame
    assert [*frame.columns[-2:]] == ["length", "mass"]
    assert specimens.ids("domain_id")[:4].tolist() == ["Süd"] * 4
    assert frame["site_id"].iloc[-1] == "Wald 7"
    assert frame["species"].iloc[:3].tolist() == ["Acer", "unknown", "Quercus"]
    assert specimens.labels.shape == (len(frame), 2)
    assert frame["event_id"].tolist() == list(range(len(frame)))  # without a column of events each is its own


def test_groups_of_whole_numbers_stay_numbers(leaves, tmp_path):
    specimens = read_leaves(leaves, task_of("raw scores of plots"), tmp_path)

    assert specimens.ids("domain_id").dtype == np.int64
    assert specimens.ids("event_id")[:3].tolist() == ["0/0", "0/0", "0/1"]


def test_what_a_task_does_not_name_is_not_there(leaves, tmp_path):
    frame = read_leaves(leaves, task_of("one target, no groups"), tmp_path).frame

    assert set(frame["domain_id"]) == {NO_DOMAIN}
    assert frame["site_id"].tolist() == frame["event_id"].astype(str).tolist()
    assert set(frame["species"]) == {"unknown"}
    assert set(frame["date"]) == {""}


def test_equal_data_of_different_tasks_have_different_fingerprints_only_if_rows_differ(leaves, tmp_path):
    task = task_of("raw scores of plots")
    other_score = Task.from_dict({**TASKS["raw scores of plots"], "score": {"scale": "skill"}})

    assert read_leaves(leaves, task, tmp_path).fingerprint == read_leaves(leaves, other_score, tmp_path).fingerprint
    assert (
        read_leaves(leaves, task, tmp_path).fingerprint
        != read_leaves(leaves, task_of("one target, no groups"), tmp_path).fingerprint
    )


def test_every_bad_value_is_told_by_its_own_columns_name(leaves, tmp_path):
    rows = leaf_table().astype({"mass": object, "region": object})
    rows.loc[0, "length (mm)"] = -3
    rows.loc[1, "mass"] = "heavy"
    rows.loc[2, "mass"] = np.inf
    rows.loc[3, "region"] = ""
    found = problems_of(rows, task_of("two targets, text groups"), leaves, tmp_path)

    assert any("train row 0: `0.0 <= length (mm)` must hold, but got '-3.0'" in line for line in found), found
    assert any("train row 1: mass must be a finite number, but got 'heavy'" in line for line in found)
    assert any("train row 2: mass must be a finite number" in line for line in found)
    assert any("train row 3: region must be given" in line for line in found)


def test_a_column_that_is_not_there_is_named_with_those_that_are(leaves, tmp_path):
    found = problems_of(
        leaf_table().drop(columns=["mass", "region"]), task_of("two targets, text groups"), leaves, tmp_path
    )

    assert len(found) == 1
    assert "column mass, region must be there, but has file_name" in found[0]


def test_plots_with_two_labels_and_a_target_with_one_value_are_refused(leaves, tmp_path):
    rows = leaf_table()
    rows.loc[1, "length (mm)"] = 7.0
    found = problems_of(rows, task_of("raw scores of plots"), leaves, tmp_path)
    assert any(line.startswith("event 0/0 must have one label each for length, but has") for line in found)

    (tmp_path / "photos").unlink()
    rows["length (mm)"] = 5
    found = problems_of(rows, task_of("raw scores of plots"), leaves, tmp_path)
    assert found == ("`length` must have two values at least, but is 5 everywhere",)


def test_a_covariate_that_tells_the_label_is_warned_of_by_name(leaves, tmp_path):
    task = task_of("two targets, text groups")
    assert read_leaves(leaves, task, tmp_path / "cache").notes == ()

    (tmp_path / "photos").symlink_to(leaves / "photos")
    rows = leaf_table()
    rows["length (mm)"] = rows["genus"].map({"Acer": 10, "Quercus": 20, "": 30}) + (rows["genus"] == "") * rows.index
    rows.to_csv(tmp_path / "metadata.csv", index=False)
    (line,) = read_leaves(tmp_path, task, tmp_path / "cache").notes
    assert line.startswith("warning: genus tells length by itself: all events of a name have the same label")


def test_a_covariate_that_varies_within_events_tells_the_label_only_where_each_of_its_names_does():
    task = replace(Task.load("demo-species").with_classes("ab"), covariates=("camera",))
    events = {"event_id": [0, 0, 1, 1, 2, 2], "label": ["a", "a", "b", "b", "a", "a"]}

    each = pd.DataFrame(events | {"species": ["Sony", "Canon", "Canon", "Sony", "Sony", "Canon"]})
    assert telling_line(each, task) is None  # though of each event's first photograph it would be true
    own = pd.DataFrame(events | {"species": ["Sony", "Leica", "Canon", "Canon", "Sony", "Leica"]})
    own.loc[3, "event_id"] = 3
    assert telling_line(own, task).startswith("camera tells species by itself")


@pytest.mark.parametrize("name", ["one target, no groups but sites", "one target, no groups"])
def test_without_domains_each_site_is_held_out_once_and_none_is_ood(name, leaves, tmp_path):
    frame = read_leaves(leaves, task_of(name), tmp_path).frame
    splits = [make_split(frame, holdout="site", fold=fold, seed=0) for fold in range(n_folds(frame, holdout="site"))]

    assert len(splits) == 5
    assert sorted(np.concatenate([split.id_ for split in splits])) == list(range(len(frame)))
    for split in splits:
        assert not len(split.ood)
        assert not set(frame["site_id"].iloc[split.id_]) & set(frame["site_id"].iloc[split.train])
    for split in splits:  # the default holds out what there is
        both = make_split(frame, holdout="both", fold=split.fold, seed=0)
        assert np.array_equal(both.id_, split.id_)
        assert not len(both.ood)
    assert n_folds(frame, holdout="both") == len(splits)
    with pytest.raises(UserError, match="--holdout domain holds out whole domains, but this data has none"):
        make_split(frame, holdout="domain", fold=0, seed=0)


def test_text_domains_are_held_out_as_numbers_are(leaves, tmp_path):
    frame = read_leaves(leaves, task_of("two targets, text groups"), tmp_path).frame
    codes = frame.assign(domain_id=frame["domain_id"].map({"Nord": 1, "Ost": 2, "Süd": 3}).astype(np.int64))

    for fold in range(n_folds(frame, holdout="both")):
        named, numbered = (make_split(f, holdout="both", fold=fold, seed=0) for f in (frame, codes))
        assert np.array_equal(named.train, numbered.train)
        assert np.array_equal(named.ood, numbered.ood)
        assert set(named.held_out_domains) <= {"Nord", "Ost", "Süd"}


@pytest.mark.seconds
@pytest.mark.parametrize("name", TASKS)
def test_every_task_is_learnt_scored_exported_and_predicted(name, leaves, tmp_path):
    task, backbone = task_of(name), load_backbone("tiny:random")
    specimens = read_leaves(leaves, task, tmp_path / "cache")
    targets = Targets.of(task, specimens.labels, specimens.ids("event_id"))
    holdout = "both" if task.columns.domain else "site"
    data = leaf_data(specimens, tmp_path / "cache", holdout=holdout)
    assert data.targets.to_dict() == targets.to_dict()

    config = TrialConfig.from_dict(
        {"epochs": 3, "tail": {"n_blocks": 0, "probe_first": True, "species_scale": 1.0}, "loss": {"kind": "crps"}}
    )
    trainer = TailTrainer(config, data, seed=0)
    for _ in range(config.epochs):
        metrics = trainer.train_epoch()
    constant = floors(
        data.labels, data.event_ids, data.site_ids, data.domain_ids, data.species, [data.split], targets=targets
    )["constant"]
    assert metrics["score/all"] < 0.8 * constant["score/all"]
    assert {key.partition("/")[2] for key in metrics if key.startswith("crps_")} == set(task.names)
    assert any(key.startswith("crps_ood") for key in metrics) == (holdout == "both")
    assert (trainer.tail.domain_code is None) == (task.columns.domain is None)
    assert (trainer.tail.species_code is None) == (not task.covariates)

    sigmas = {kind: (0.1 * targets.spread).tolist() for kind in ("known", "unknown")}
    export_model(
        tmp_path / "model",
        backbone=backbone,
        tails=[trainer.tail],
        targets=targets,
        units=trainer.units,
        known_domains=trainer.known_domains,
        known_species=trainer.known_species,
        sigmas=sigmas,
        facts=facts_of(config, specimens),
    )
    model = ExportedModel.load(tmp_path / "model")
    rows = np.concatenate([data.split.id_, data.split.ood])
    predicted = model.predict(
        specimens.images.read(rows.tolist()), data.domain_ids[rows].tolist(), data.species[rows].tolist()
    )
    wanted = targets.clip(trainer.predict_held_out())
    assert (np.abs(predicted - wanted) < 0.02 * targets.spread).all()  # features are stored in half precision
    forecast = model.forecast(predicted[:1], ["leaf"], data.domain_ids[rows[:1]].tolist())["leaf"]
    assert forecast["sigma"] == sigmas["known"]  # however small the unit makes it
    assert Targets.from_dict(model.config["task"]).task == task
    card = (tmp_path / "model" / "README.md").read_text(encoding="utf-8")
    assert "SPEI" not in card
    assert all(target in card for target in task.names)
    with pytest.raises(UserError, match="a submission is of the beetle challenge, but"):
        write_submission(tmp_path / "model", tmp_path / "submission")


@pytest.mark.parametrize("name", ["one target, no groups but sites", "two targets, text groups"])
def test_a_card_has_columns_of_id_and_ood_where_the_task_has_domains_alone(name):
    task = task_of(name)
    metrics = {"score/all": 0.9, "score/id": 0.8, "score/ood": 0.95, "r2_id/mass": 0.25, "r2_ood/mass": 0.1}
    if task.columns.domain is None:
        metrics = {"score/all": 0.9, "score/id": 0.9, "r2_id/mass": 0.25}
    facts = replace(facts_of_scores(metrics), floors={"constant": metrics | {"score/all": 1.0}})
    scores = model_card(facts, task=task, known_domains=["Nord"], sigmas={"known": [1.0] * len(task.targets)})
    scores = scores.partition("## Scores")[2].partition("## Uncertainty")[0]

    wanted = ["| | score | ID score | OOD score |", "| | ID mass | OOD mass |"]
    if task.columns.domain is None:
        wanted = ["| | score |", "| | mass |"]
        assert not re.search(r"\b(ID|OOD)\b", scores)
        assert "| this model | 0.2500 |" in scores
    assert [line for line in scores.splitlines() if line.startswith("| | ")] == wanted


def facts_of_scores(metrics: dict[str, float]) -> ModelFacts:
    specimens = SimpleNamespace(source="leaves", fingerprint="f" * 64, frame=range(3))
    config = TrialConfig.from_dict({"epochs": 1})
    return replace(facts_of(config, specimens), scores=metrics, scores_of="held-out events")


def facts_of(config: TrialConfig, specimens: Specimens) -> ModelFacts:
    return ModelFacts(
        name="leaves",
        config=config.to_dict(),
        epochs=config.epochs,
        seeds=(0,),
        backbone="tiny:random",
        backbone_fingerprint="b" * 64,
        data=specimens.source,
        data_fingerprint=specimens.fingerprint,
        n_specimens=len(specimens.frame),
        n_events=1,
        holdout="both",
        fold=0,
        held_out_sites=("Wald 1",),
        held_out_domains=("Nord",),
        n_leaked_events=0,
        scores={},
        scores_of="",
        intervals={},
        interval_level=None,
        floors={},
        verdict="",
        versions={},
    )
