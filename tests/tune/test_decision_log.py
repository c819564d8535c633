"""A study's decisions can be read with their reasons and checked against the code."""

import os
import shutil
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import encoded, read_plain
from trainable.failure import Failure
from tune.decisions.decisions import Decisions
from tune.journal.entries import SessionBegun
from tune.journal.journal import FILE_NAME, Journal, read_entries
from tune.verbs.replay import FOLLOWS, log_lines


@pytest.fixture
def changed_study(finished_study: Path, tmp_path: Path) -> Path:
    """A copy in which one decision's cut is another, as of a version that decides otherwise."""
    study = Path(shutil.copytree(finished_study, tmp_path / "changed"))
    path = study / FILE_NAME
    lines = read_plain(study)
    next(line for line in lines if line["event"] == "decision")["cut"] = 0.125
    path.write_bytes(b"".join(map(encoded, lines)))
    return study


@pytest.mark.seconds
def test_every_decision_is_told_in_order_with_trial_and_reason_and_follows(cli, finished_study):
    outcome = cli("replay", finished_study)
    decisions = [entry for entry in read_plain(finished_study) if entry["event"] == "decision"]
    shown = [line.split(None, 1)[1] for line in outcome.stdout.splitlines() if ", cut " in line]
    assert outcome.status == 0
    assert shown == [f"{entry['trial']} {entry['reason']}" for entry in decisions]
    assert any("stopped at epoch 1: " in line for line in shown)
    assert outcome.stdout.splitlines()[-1] == f"{FOLLOWS} (5 proposals, {len(decisions)} decisions, 5 ends)"


def test_proposals_starts_comparisons_ends_and_sessions_are_told(cli, finished_study):
    lines = cli("replay", finished_study).stdout.splitlines()
    assert "study beetles: space smoke, seed 0, at most 3 epochs" in lines[0]
    for text in (
        "session began ",
        "t0000 asked for as start default, never stopped early",
        "t0001 asked for as compare ft_did, unknown to the sampler, never stopped early",
        "t0002 proposed by the sampler: tail.n_blocks=",
        "t0000 completed: best 0.",
        "session ended ",
    ):
        assert sum(text in line for line in lines) == 1, text


def test_the_json_object_has_each_entry_and_the_verdict(cli, finished_study):
    result = cli("replay", finished_study, "--json").result
    assert (result["follows"], result["differences"]) == (True, [])
    assert result["n_events"] == len(read_plain(finished_study))
    assert {"seq", "time", "event", "trial", "text"} == set(result["entries"][0])


def test_a_decision_that_does_not_follow_is_found_with_the_event_and_fails(cli, changed_study):
    outcome = cli("replay", changed_study)
    assert outcome.status == 1
    assert "decision of t0000: cut is 0.125, but would be 0." in outcome.stdout
    assert FOLLOWS not in outcome.stdout
    result = cli("replay", changed_study, "--json")
    assert (result.status, result.result["follows"], len(result.result["differences"])) == (1, False, 1)


def test_failures_retries_and_pauses_are_told_with_their_reasons(tmp_path):
    space = SearchSpace.load("smoke")
    header = {
        "n_trials": 6, "max_epochs": 4, "grace_epochs": 1, "reduction_factor": 2, "seed": 0,
        "space": space.to_dict(), "queue": [],
    }  # fmt: skip
    with Journal.create(tmp_path, header, study_id="s") as journal:
        decisions = Decisions(space, header, on_entry=journal.append)
        decisions.begin_session(SessionBegun(n_trials=6, executor="ray", host="here", pid=os.getpid()))
        for _ in range(2):
            ask = decisions.ask()
            assert ask is not None
            decisions.report(ask.trial_id, 1, {"score/all": 0.5})
        decisions.fail("t0000", Failure(type="RuntimeError", message="shapes differ", node="node-1"))
        decisions.retry("t0001", reason="worker died: killed")
        decisions.pause("t0001", reason="interrupted")
    told = [f"{entry.trial} {entry.text}" for entry in log_lines(read_entries(tmp_path)) if entry.trial]
    assert told[-4:] == [
        "t0000 raised RuntimeError after epoch 1 on node-1: shapes differ",
        "t0000 failed: RuntimeError: shapes differ",
        "t0001 is tried again, attempt 2: worker died: killed",
        "t0001 paused after epoch 1: interrupted",
    ]


def test_no_study_is_one_clear_line(cli, tmp_path):
    outcome = cli("replay", tmp_path)
    assert (outcome.status, outcome.stdout) == (2, "")
    assert FILE_NAME in outcome.stderr
