import json
import math
import re
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any
from wsgiref.util import setup_testing_defaults

import optuna
import optuna_dashboard
import pytest
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState, create_trial

from search_spaces.parameter import Draws, Plain
from search_spaces.space import SearchSpace
from trainable.config import TrialConfig
from tune.decisions.decisions import Decisions
from tune.decisions.sampler import STATES, Ranges, sampler_description
from tune.journal.entries import TrialTold
from tune.journal.journal import Journal, read_entries
from tune.study.optuna_journal import FILE_NAME, OptunaJournal

REASONS = {"role": "scientific", "why": "a test"}
LR_SPACE = SearchSpace.from_dict(
    {
        "name": "x",
        "about": "two parameters, and one that is conditional",
        "base": {},
        "parameters": {
            "optim.name": {"choices": ["adam", "adamw"], **REASONS},
            "optim.weight_decay": {"float": [0.0, 0.1], "when": {"optim.name": ["adamw"]}, **REASONS},
            "optim.lr": {"float": [1e-5, 1e-2], "log": True, **REASONS},
        },
    }
)


HEADER = {
    "seed": 0,
    "n_trials": 8,
    "max_epochs": 4,
    "grace_epochs": 2,
    "reduction_factor": 2,
    "sampler": sampler_description(),
    "queue": [
        {"origin": "start:adam", "values": {"optim.name": "adam", "optim.lr": 1e-3}},
        {"origin": "compare:default", "config": TrialConfig(epochs=4).to_dict()},
    ],
}


def run(folder: Path) -> Decisions:
    """A study with completed, pruned, failed and interrupted trials, projected while it runs."""
    with Journal.create(folder, HEADER, study_id="study-7") as journal:
        journal.subscribe(OptunaJournal(folder / FILE_NAME, LR_SPACE, journal.entries(), say=pytest.fail).handle)
        decisions = Decisions(LR_SPACE, HEADER, on_entry=journal.append)
        while (ask := decisions.ask()) is not None:
            for epoch in range(1, 5):
                value = math.nan if ask.number == 3 and epoch == 2 else 1.0 + 0.1 * ask.number + 0.5 / epoch
                if ask.number == 7 and epoch == 2:
                    decisions.pause(ask.trial_id, reason="time budget spent")
                    break
                if decisions.report(ask.trial_id, epoch, {"score/all": value}).action == "stop":
                    break
    return decisions


def load(path: Path) -> optuna.Study:
    return optuna.load_study(study_name="study-7", storage=JournalStorage(JournalFileBackend(str(path))))


def facts(study: optuna.Study) -> list[Any]:
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values, t.user_attrs, t.duration)
        for t in study.trials
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    path: Path = tmp_path_factory.mktemp("study")
    run(path)
    return path


def test_optuna_opens_the_file_and_finds_every_ended_trial_but_the_comparisons(folder):
    trials = load(folder / FILE_NAME).trials
    assert [t.user_attrs["trial"] for t in trials] == ["t0000", "t0002", "t0003", "t0004", "t0005", "t0006"]
    assert trials[0].user_attrs["origin"] == "start:adam"
    assert {t.state for t in trials} == {TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL}


def test_fault_6_an_interrupted_trial_is_not_left_running(folder):
    assert all(trial.state.is_finished() for trial in load(folder / FILE_NAME).trials)


def test_values_and_epochs_are_those_of_the_study(folder):
    decisions = Decisions.replay(LR_SPACE, read_entries(folder))
    for trial in load(folder / FILE_NAME).trials:
        record = decisions.standings.trials[trial.user_attrs["trial"]]
        assert trial.params == record.values
        assert trial.user_attrs["reason"] == record.reason
        assert trial.values == (None if record.state == "failed" else [record.best_score])
        assert trial.intermediate_values == {e: s for e, s in record.scores.items() if math.isfinite(s)}
        assert trial.datetime_start == datetime.fromtimestamp(record.started)


def test_the_file_rebuilt_from_the_journal_equals_the_one_written_live(folder, tmp_path):
    OptunaJournal(tmp_path / FILE_NAME, LR_SPACE, read_entries(folder), say=pytest.fail)
    assert facts(load(tmp_path / FILE_NAME)) == facts(load(folder / FILE_NAME))
    assert [path.name for path in tmp_path.iterdir()] == [FILE_NAME]


def test_every_line_is_as_optuna_itself_writes_the_trial(folder, tmp_path):
    decisions = Decisions.replay(LR_SPACE, read_entries(folder))
    told = [entry.trial for entry in read_entries(folder) if isinstance(entry, TrialTold)]
    records = [record for trial in told if not (record := decisions.standings.trials[trial]).is_comparison]
    storage = JournalStorage(JournalFileBackend(f"{tmp_path / 'own'}"))
    study = optuna.create_study(storage=storage, study_name="study-7")
    with pytest.warns(optuna.exceptions.ExperimentalWarning):
        study.set_metric_names(["score/all"])
    for record in records:
        trial = create_trial(
            state=STATES[record.state],
            value=None if record.state == "failed" else record.best_score,
            params=record.values,
            distributions=Ranges(LR_SPACE).of(record.values),
            intermediate_values={e: s for e, s in record.scores.items() if math.isfinite(s)},
            user_attrs={"trial": record.trial_id, "origin": record.origin, "reason": record.reason}
            | {"best_epoch": record.best_epoch, "attempts": record.attempts},
        )
        trial.datetime_start = datetime.fromtimestamp(record.started)
        trial.datetime_complete = datetime.fromtimestamp(record.ended)
        study.add_trial(trial)

    def lines(path: Path) -> list[str]:
        return [re.sub(r'"worker_id":"[^"]*"', "", line) for line in path.read_text().splitlines()]

    assert lines(folder / FILE_NAME) == lines(tmp_path / "own")


def test_a_note_that_was_written_in_the_dashboard_stays(folder, tmp_path):
    entries, path = read_entries(folder), tmp_path / FILE_NAME
    n_before = next(n for n, entry in enumerate(entries) if isinstance(entry, TrialTold)) + 1
    projection = OptunaJournal(path, LR_SPACE, entries[:n_before], say=pytest.fail)
    optuna_dashboard.save_note(load(path), "of the first session")
    for entry in entries[n_before:]:
        projection.handle(entry)
    assert facts(load(path)) == facts(load(folder / FILE_NAME))
    assert optuna_dashboard.get_note(load(path)) == "of the first session"

    OptunaJournal(path, LR_SPACE, entries, say=pytest.fail)
    assert optuna_dashboard.get_note(load(path)) == "of the first session"


def test_a_resumed_study_adds_its_trials_once_and_survives_a_damaged_file(tmp_path):
    run(tmp_path)
    path = tmp_path / FILE_NAME
    path.write_bytes(path.read_bytes()[:-20] + b"garbage\nmore garbage\n")
    (tmp_path / f"{FILE_NAME}.lock").symlink_to(path)  # what a killed writer leaves
    with Journal.open(tmp_path, say=pytest.fail) as journal:
        entries = read_entries(tmp_path)
        journal.subscribe(OptunaJournal(path, LR_SPACE, journal.entries(), say=pytest.fail).handle)
        decisions = Decisions.replay(LR_SPACE, entries, on_entry=journal.append)
        (ask,) = decisions.unfinished()
        while decisions.report(ask.trial_id, ask.reported_epochs + 1, {"score/all": 0.1}).action == "continue":
            ask = decisions.unfinished()[0]
    trials = load(path).trials
    assert [t.user_attrs["trial"] for t in trials] == ["t0000", "t0002", "t0003", "t0004", "t0005", "t0006", "t0007"]
    assert trials[-1].state == TrialState.COMPLETE


def test_a_file_that_says_what_the_study_says_stays_and_one_that_lacks_trials_gets_them(folder, tmp_path):
    path = tmp_path / FILE_NAME
    shutil.copy(folder / FILE_NAME, path)
    before, file = path.read_bytes(), path.stat().st_ino
    OptunaJournal(path, LR_SPACE, read_entries(folder), say=pytest.fail)
    assert path.read_bytes() == before

    lines = before.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-2]))
    path.with_name(f"{FILE_NAME}.lock").symlink_to(path)  # what a killed writer leaves
    OptunaJournal(path, LR_SPACE, read_entries(folder), say=pytest.fail)
    assert path.stat().st_ino == file
    assert facts(load(path)) == facts(load(folder / FILE_NAME))


ALTERED = {
    "a score": lambda text: re.sub(r'"value":1', '"value":2', text, count=1),
    "the score of an epoch": lambda text: re.sub(r'("intermediate_values":{"1":)1', r"\g<1>2", text, count=1),
    "a parameter": lambda text: re.sub(r'("params":{"optim.name":)\d', r"\g<1>1", text, count=1),
    "a range": lambda text: text.replace('high\\": 0.01', 'high\\": 0.02', 1),
    "a note": lambda text: text.replace("start:adam", "start:sgd", 1),
    "a time": lambda text: re.sub(r'("datetime_start":"\d)\d', r"\g<1>1", text, count=1),
    "one trial more": lambda text: text + text.splitlines(keepends=True)[-1],
    "the direction": lambda text: text.replace('"directions":[1]', '"directions":[2]', 1),
    "the study": lambda text: text.replace('"study-7"', '"study-8"', 1),
}


@pytest.mark.parametrize("what", ALTERED)
def test_a_file_that_says_anything_else_is_written_anew_when_a_session_begins(folder, tmp_path, what):
    path = tmp_path / FILE_NAME
    said = (folder / FILE_NAME).read_text()
    altered = ALTERED[what](said)
    assert altered != said
    path.write_text(altered)
    OptunaJournal(path, LR_SPACE, read_entries(folder), say=pytest.fail)

    assert facts(load(path)) == facts(load(folder / FILE_NAME))
    assert load(path).direction.name == "MINIMIZE"
    assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]


@pytest.mark.parametrize("damage", ["appended", "emptied", "deleted", "replaced", "a folder"])
def test_a_file_damaged_while_the_search_runs_is_written_anew_at_the_next_end_of_a_trial(folder, tmp_path, damage):
    entries, notices, path = read_entries(folder), [], tmp_path / FILE_NAME
    n_before = next(n for n, entry in enumerate(entries) if isinstance(entry, TrialTold)) + 1
    so_far = entries[:n_before]
    projection = OptunaJournal(path, LR_SPACE, so_far, say=notices.append)
    if damage == "appended":
        path.write_bytes(path.read_bytes() + b"garbage\n")
    elif damage == "emptied":
        path.write_bytes(b"")
    elif damage == "replaced":
        path.write_bytes(b'{"op_code": 0}\n' * 3)
    else:
        path.unlink()
    if damage == "a folder":
        path.mkdir()
    for entry in entries[n_before:]:
        so_far.append(entry)
        projection.handle(entry)
    assert len(notices) == 1
    if damage == "a folder":
        assert f"{path} could not be written" in notices[0]
        assert [file.name for file in tmp_path.iterdir()] == [FILE_NAME]
    else:
        assert f"{path} was damaged" in notices[0]
        assert facts(load(path)) == facts(load(folder / FILE_NAME))


class UnwritableSpace:
    """Stands for a disk that fills up while a trial is being written."""

    full = False
    config = LR_SPACE.config
    check = LR_SPACE.check

    def suggest(self, trial: Draws) -> dict[str, Plain]:
        if self.full:
            raise OSError(28, "No space left on device")
        return LR_SPACE.suggest(trial)


def test_a_file_that_cannot_be_written_stops_no_search_and_is_said_once(folder, tmp_path):
    entries, notices, space = read_entries(folder), [], UnwritableSpace()
    so_far = entries[:1]
    projection = OptunaJournal(tmp_path / FILE_NAME, space, so_far, say=notices.append)
    space.full = True
    for entry in entries[1:]:
        so_far.append(entry)
        projection.handle(entry)
    assert len(notices) == 1
    assert "the next --resume writes it anew" in notices[0]


def test_optuna_dashboard_shows_the_study(tmp_path):
    decisions = run(tmp_path / "study")
    pages = optuna_dashboard.wsgi(JournalStorage(JournalFileBackend(str(tmp_path / "study" / FILE_NAME))))

    (study,) = asked(pages, "/api/studies")["study_summaries"]
    assert study["study_name"] == "study-7"
    shown = asked(pages, f"/api/studies/{study['study_id']}")
    assert [trial["state"] for trial in shown["trials"]] == [
        trial.state.name.capitalize() for trial in decisions.sampler_trials() if trial.state.is_finished()
    ]
    assert {trial["params"][0]["name"] for trial in shown["trials"]} == {"optim.name"}


def asked(pages: Any, path: str) -> Any:
    """What the dashboard's API answers to its own page."""
    environ: dict[str, Any] = {"PATH_INFO": path}
    setup_testing_defaults(environ)
    said: list[str] = []
    body = b"".join(pages(environ, lambda status, _headers, *_: said.append(status)))
    assert said == ["200 OK"], body
    return json.loads(body)
