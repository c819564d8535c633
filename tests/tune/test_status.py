"""How a study stands is read from its journal, whatever its process does or has suffered."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import encoded, make_entry, read_plain
from trainable.errors import UserError
from trainable.failure import Failure, FailureKind
from trainable.training.best_forecasts import best_forecasts
from tune.confirming.planned_runs import Plan
from tune.decisions.decisions import Decisions
from tune.decisions.rungs import rung_standings
from tune.decisions.standings import Standings
from tune.journal.entries import Confirming, PlanMade, SessionBegun
from tune.journal.journal import FILE_NAME, Journal, Owner, owner_of, read_entries
from tune.report.status_text import status_text
from tune.report.study_status import read_status

ROOT = Path(__file__).parents[2]
HEADER = {"n_trials": 6, "max_epochs": 4, "grace_epochs": 1, "reduction_factor": 2, "seed": 0}
ASK = {"number": 0, "origin": "sampler", "exempt": False, "values": {}, "config": {"epochs": 4}}
GOES_ON = {"epoch": 1, "rung": None, "action": "continue", "value": 0.5, "reason": "goes on"}


def metrics(score: float) -> dict[str, float]:
    return {"score/all": score, "score/id": score - 0.1, "score/ood": score + 0.1}


def write_journal(folder: Path, *entries: tuple[float, str, dict[str, Any]]) -> Path:
    """A journal of (time, kind, fields) as such."""
    folder.mkdir()
    lines = [
        encoded({"seq": seq, "time": time, "event": kind, **fields}) for seq, (time, kind, fields) in enumerate(entries)
    ]
    (folder / FILE_NAME).write_bytes(b"".join(lines))
    return folder


def begin(folder: Path) -> tuple[Journal, Decisions]:
    """A study whose trials are told what happens to them, decided on by the real core."""
    space = SearchSpace.load("smoke")
    header = {**HEADER, "space": space.to_dict(), "options": {}, "queue": []}
    journal = Journal.create(folder, header, study_id="told")
    decisions = Decisions(space, header, on_entry=journal.append)
    decisions.begin_session(SessionBegun(n_trials=6, executor="local", host="here", pid=os.getpid()))
    return journal, decisions


def ask_and_report(decisions: Decisions, *scores: float) -> str:
    ask = decisions.ask()
    assert ask is not None
    for epoch, score in enumerate(scores, start=1):
        decisions.report(ask.trial_id, epoch, metrics(score))
    return ask.trial_id


def line_of(text: str, word: str) -> str:
    return next(line for line in text.splitlines() if word in line)


def test_a_finished_study_shows_its_trials_its_best_with_intervals_its_rungs_and_how_to_go_on(cli, finished_study):
    text = cli("status", finished_study).stdout
    assert text.splitlines()[0] == f"{finished_study}: ended: finished"
    assert "5 of 5 done" in line_of(text, "trials ")
    assert "left" not in line_of(text, " used")
    for label in ("all", "ID", "OOD"):
        assert "[" in line_of(text, f"score {label} ")
    assert "90% interval" in text
    assert "epoch 1: 5 trials" in text
    assert f"search --resume {finished_study} --trials 10" in text


def test_the_json_object_holds_the_same_and_each_interval_holds_its_score(cli, finished_study):
    result = cli("status", finished_study, "--json").result
    assert result["state"] == "ended"
    assert (result["end_reason"], result["owner"], result["seconds_left"]) == ("finished", None, 0.0)
    assert result["n_completed"] + result["n_pruned"] == result["n_told"] == result["n_trials"] == 5
    assert result["seconds_used"] > 0
    best, interval = result["best"], result["best"]["interval"]
    assert best["interval_note"] is None
    assert set(best["scores"]) == {"score/all", "score/id", "score/ood"}
    for name, score in best["scores"].items():
        low, high = interval[name]
        assert low < score < high
    assert result == cli("status", finished_study, "--json").result


def test_reading_a_study_leaves_its_folder_as_it_is(cli, finished_study):
    def content() -> dict[Path, float]:
        return {path: path.stat().st_mtime_ns for path in finished_study.rglob("*")}

    before = content()
    cli("status", finished_study)
    assert content() == before


def test_forecasts_of_the_best_checkpoint_give_the_score_that_the_journal_holds(finished_study):
    best = read_status(finished_study).standings.best()
    assert best is not None
    found = best_forecasts(finished_study / "data", finished_study / "checkpoints" / best.trial_id, max_seconds=60)
    assert found.epoch == best.best_epoch
    means = np.concatenate([part.crps.mean(axis=0) for part in found.forecasts.values()])
    assert np.sqrt(np.mean(means**2)) == pytest.approx(best.best_score, rel=1e-5)


@pytest.mark.parametrize("lost", ["data", "checkpoints"])
def test_without_features_or_checkpoint_all_but_the_interval_is_told(cli, finished_study, tmp_path, lost):
    study = Path(shutil.copytree(finished_study, tmp_path / "moved"))
    shutil.rmtree(study / lost)
    outcome = cli("status", study)
    assert outcome.status == 0
    assert "interval: not known here: " in outcome.stdout
    assert "[" not in line_of(outcome.stdout, "score all")
    best = cli("status", study, "--json").result["best"]
    assert best["interval"] is None
    assert str(study / lost) in best["interval_note"]


def test_a_score_of_another_epoch_than_the_checkpoints_has_no_interval_until_the_study_goes_on(
    cli, finished_study, tmp_path
):
    study = Path(shutil.copytree(finished_study, tmp_path / "cut"))
    entries = read_plain(study)
    trial = next(t for t in Standings.of(read_entries(study)).trials.values() if (t.best_epoch or 0) > 1)
    before = [
        entry
        for entry in entries[:-1]
        if entry.get("trial", trial.trial_id) == trial.trial_id
        and entry["event"] != "tell"
        and entry.get("epoch", 0) < trial.best_epoch
    ]
    lines = [encoded({**entry, "seq": seq}) for seq, entry in enumerate([*before, entries[-1]])]
    (study / FILE_NAME).write_bytes(b"".join(lines))
    text = " ".join(cli("status", study).stdout.split())

    assert "ended: finished" in text
    assert f"interval: not known until the study goes on: the checkpoint of {trial.trial_id} has the weights" in text
    assert "ask again" not in text
    with Journal.open(study, say=print) as journal:
        journal.append(SessionBegun(n_trials=5, executor="local"))
        assert "interval: the best trial has just moved on; ask again" in cli("status", study).stdout


def test_an_interval_that_takes_too_long_is_refused_with_its_length(finished_study):
    best = read_status(finished_study).standings.best()
    assert best is not None
    with pytest.raises(UserError, match="0 s at most"):
        best_forecasts(finished_study / "data", finished_study / "checkpoints" / best.trial_id, max_seconds=0)


def test_a_study_that_runs_is_told_with_its_process_and_time_left(cli, tmp_path):
    journal, decisions = begin(tmp_path / "study")
    with journal:
        ask_and_report(decisions, 0.8, 0.7, 0.6, 0.5)
        ask_and_report(decisions, 0.9)
        ask_and_report(decisions, 0.4)
        outcome = cli("status", tmp_path / "study")
        result = cli("status", tmp_path / "study", "--json").result
    assert f"running, process {os.getpid()} on " in outcome.stdout.splitlines()[0]
    assert "2 of 6 done: 1 completed, 1 pruned, 1 running" in outcome.stdout
    assert "left" in line_of(outcome.stdout, "used")
    assert (result["state"], result["owner"]["pid"], result["n_running"]) == ("running", os.getpid(), 1)
    assert result["seconds_left"] is not None


def test_a_study_whose_process_was_killed_is_cut_off_and_its_trials_interrupted(cli, tmp_path):
    journal, decisions = begin(tmp_path / "study")
    ask_and_report(decisions, 0.8)
    journal.close()
    outcome = cli("status", tmp_path / "study")
    assert "cut off" in outcome.stdout.splitlines()[0]
    assert "0 of 6 done: 1 interrupted" in outcome.stdout
    assert line_of(outcome.stdout, "used").endswith("; time left not known yet")
    assert f"search --resume {tmp_path / 'study'} --local\n" in outcome.stdout  # as it was searched


def test_failures_and_retries_are_told_with_their_reasons(cli, tmp_path):
    journal, decisions = begin(tmp_path / "study")
    with journal:
        failed = ask_and_report(decisions, 0.8)
        decisions.fail(failed, Failure(type="RuntimeError", message="shapes differ"))
        retried = ask_and_report(decisions, 0.7)
        decisions.retry(retried, reason="worker died: killed")
        decisions.pause(retried, reason="time budget spent")
        journal.append(make_entry("end", reason="time budget spent"))
    outcome = cli("status", tmp_path / "study")
    assert "ended: time budget spent" in outcome.stdout
    assert f"failed    {failed} at epoch 1: RuntimeError: shapes differ" in outcome.stdout
    assert f"retried   {retried}: worker died: killed" in outcome.stdout
    result = cli("status", tmp_path / "study", "--json").result
    assert result["failures"][0]["reason"] == "RuntimeError: shapes differ"
    assert result["retries"] == [{"trial_id": retried, "reason": "worker died: killed"}]
    assert (result["n_failed"], result["n_interrupted"], result["best"]["trial_id"]) == (1, 1, retried)


def test_many_failures_are_shortened_in_the_text_and_whole_in_json(cli, tmp_path):
    failed = {"state": "failed", "value": None, "epoch": 0, "reason": "x " * 99}
    trials = [f"t{number:04}" for number in range(20)]
    asked = [(0.0, "ask", {"trial": trial, **ASK}) for trial in trials]
    told = [(float(number), "tell", {"trial": trial, **failed}) for number, trial in enumerate(trials)]
    study = write_journal(tmp_path / "study", (0.0, "study", {"study_id": "s", "header": HEADER}), *asked, *told)
    text = cli("status", study).stdout
    assert "12 earlier: see --json" in text
    shown = [line for line in text.splitlines() if " at epoch 0: " in line]
    assert len(shown) == 8
    assert max(map(len, shown)) <= 120
    assert len(cli("status", study, "--json").result["failures"]) == 20


def test_rungs_count_as_the_core_does_also_trials_that_diverged(tmp_path):
    journal, decisions = begin(tmp_path)
    with journal:
        for score in (0.8, 0.7, 0.9, 0.6):
            ask_and_report(decisions, score, score, score)
        diverged = ask_and_report(decisions)
        decisions.fail(diverged, Failure(type="TrialDiverged", message="NaN", kind=FailureKind.DIVERGED))
        ask_and_report(decisions, float("nan"))
        rungs = rung_standings(Standings.of(read_entries(tmp_path)))
    assert {rung.epoch: rung.n_reached for rung in rungs} == decisions.asha.sizes()
    assert [rung.epoch for rung in rungs] == [1, 2]
    assert rungs[0].n_reached == 6
    assert rungs[0].n_stopped == 2
    assert rungs[0].cut == 0.8  # the third best of six


def test_time_used_adds_up_sessions_without_the_time_between_them(tmp_path):
    session: dict[str, Any] = {"n_trials": 6}
    report = {"trial": "t0000", "metrics": metrics(0.5)}
    study = write_journal(
        tmp_path / "study",
        (0.0, "study", {"study_id": "s", "header": HEADER}),
        (10.0, "session", session),
        (15.0, "ask", {"trial": "t0000", **ASK}),
        (30.0, "report", {**report, "epoch": 1}),  # killed here
        (500.0, "decision", {"trial": "t0000", **GOES_ON}),  # made by the resume
        (500.0, "session", session),
        (540.0, "report", {**report, "epoch": 2}),  # speed counts from here: starting up happens once
        (570.0, "report", {**report, "epoch": 3}),
        (590.0, "end", {"reason": "interrupted"}),
    )
    status = read_status(study)
    assert status.seconds_used == 110.0
    assert "1m50s used in 2 sessions, starting up not counted; about 17m30s left once resumed" in status_text(status)
    assert status.seconds_left == (1 + 5 * 4) * 50.0  # epochs that are left, one in 50 s in this session


def test_no_study_is_one_clear_line(cli, tmp_path):
    outcome = cli("status", tmp_path)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert FILE_NAME in outcome.stderr


HOLDER = """
import sys, time
from pathlib import Path
from tune.journal.journal import Journal
journal = Journal.create(Path(sys.argv[1]), {}, study_id="s")
print("open", flush=True)
time.sleep(60)
"""


def test_a_study_has_an_owner_while_its_process_lives_and_none_after_it_was_killed(tmp_path):
    assert owner_of(tmp_path) is None
    holder = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None
        holder.stdout.readline()
        owner = owner_of(tmp_path)
        assert owner is not None
        assert (owner.pid, str(owner).split(" since ")[0]) == (holder.pid, f"process {holder.pid} on {owner.host}")
        holder.send_signal(signal.SIGKILL)
    finally:
        holder.kill()
        holder.communicate()
    assert owner_of(tmp_path) is None


@pytest.mark.parametrize(
    "said",
    [
        "{", "[]", '{"pid": 1}', '{"pid": 1, "host": [], "time": 0}', '{"pid": 1e999, "host": "h", "time": 0}',
        "[" * 99_999,
    ],
)  # fmt: skip
def test_an_owner_that_has_not_said_who_it_is_is_another_process(tmp_path, said):
    with Journal.create(tmp_path, {}, study_id="s"):
        (tmp_path / "journal.owner.json").write_text(said)
        assert owner_of(tmp_path) == Owner()
    assert str(Owner()) == "another process"


def test_an_owner_of_no_time_of_any_calendar_is_shown_all_the_same():
    assert str(Owner(pid=7, host="a\nb", since=1e30)) == r"process 7 on a\nb since an unknown time"


def test_a_confirmation_is_part_of_the_status(cli, confirmed_study):
    shown, told = cli("status", confirmed_study), cli("status", confirmed_study, "--json").result

    assert told["confirmation"]["n_ended"] == told["confirmation"]["n_runs"] > 0
    assert " ".join(told["confirmation"]["verdict"].split()) in " ".join(shown.stdout.split())
    (mixture,) = told["confirmation"]["ensembles"]
    assert mixture.startswith("ensemble: the mean of ")
    assert mixture in " ".join(shown.stdout.split())


def test_a_confirmation_that_broke_off_is_gone_on_with_as_it_was_asked_for(cli, confirmed_study, tmp_path):
    entries = read_entries(confirmed_study)
    planned = next(n for n, e in enumerate(entries) if isinstance(e, Confirming) and isinstance(e.of, PlanMade))
    plan = Plan.from_dict(entries[planned].of.plan)
    study = tmp_path / "study"
    study.mkdir()
    lines = (confirmed_study / FILE_NAME).read_bytes().splitlines(keepends=True)
    (study / FILE_NAME).write_bytes(b"".join(lines[: planned + 2]))
    told = cli("status", study, "--json").result

    verb, folder, *options = shlex.split(told["resume_command"])[1:]
    assert (verb, folder) == ("confirm", str(study))
    assert told["confirmation"]["verdict"] is None
    asked = {"--confirm-top": len(plan.configurations) - 1, "--confirm-folds": len(plan.folds)}
    assert dict(zip(options[::2], options[1::2], strict=False)).items() >= {k: str(v) for k, v in asked.items()}.items()
