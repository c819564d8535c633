"""Runs of a confirmation that failed are asked for once more by a later session, since their cause may be mended."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.variant import load_variant
from tests.tune.plain_entries import entries_of, read_plain
from trainable.failure import Failure, FailureKind
from tune.confirming.outcome import TRIED_AGAIN, confirmed_of
from tune.confirming.planned_runs import Configuration, Plan
from tune.confirming.runs import Confirmation
from tune.journal.entries import Confirming, SessionEnded, TrialTold
from tune.journal.journal import Journal, read_entries
from tune.journal.lines import as_read

FULL_DISK = Failure(type="OSError", message="No space left on device", kind=FailureKind.ERROR)
DEFAULT = load_variant("default", epochs=2).to_dict()
CONFIGURATION = Configuration(name="default", trial_id=None, config=DEFAULT)
PLAN = Plan(configurations=(CONFIGURATION,), folds=(1, 2, 3), seeds=(1,), epochs=2)


@pytest.fixture
def sessions():
    """Begins a session on the same entries, which are kept, each time that it is called."""
    entries = []

    def write(entry, *, apply):
        entries.append(as_read(replace(entry, seq=len(entries), time=1.0 + len(entries))))
        apply(entries[-1])
        return entries[-1]

    def begin() -> Confirmation:
        confirmation = Confirmation.replay(list(entries), on_entry=write)
        confirmation.begin(PLAN)
        return confirmation

    return begin


def complete(confirmation: Confirmation, trial_id: str) -> None:
    for epoch in (1, 2):
        confirmation.report(trial_id, epoch, {"score/all": 0.5})


def states(confirmation: Confirmation) -> list[tuple[str, int, str]]:
    return [(run.record.trial_id, run.fold, run.record.state) for run in confirmation.runs()]


def test_a_later_session_asks_again_for_what_failed_but_not_for_what_diverged(sessions):
    first = sessions()
    broken, not_finite, whole = (first.ask().trial_id for _ in range(3))
    first.fail(broken, FULL_DISK)
    first.report(not_finite, 1, {"score/all": float("nan")})
    complete(first, whole)
    assert (first.is_complete, first.ask()) == (True, None)  # nothing is repeated within a session

    second = sessions()
    assert second.is_complete  # until it is asked for
    assert [str(run) for run in second.ask_again()] == ["c0000 (default, fold 1, seed 1)"]
    assert [(ask.trial_id, ask.fold, ask.seed, ask.reported_epochs) for ask in second.unfinished()] == [
        ("c0003", 1, 1, 0)
    ]
    assert not second.is_complete
    assert [run.has_failed for run in second.runs()] == [True, True, False]  # it rests on that until it has ended
    complete(second, "c0003")

    assert states(second) == [("c0003", 1, "completed"), ("c0001", 2, "failed"), ("c0002", 3, "completed")]
    assert [run.has_failed for run in second.runs()] == [False, True, False]
    third = sessions()
    assert states(third) == states(second)
    assert third.ask_again() == []


def test_what_fails_again_is_asked_for_again_by_the_next_session_alone(sessions):
    first = sessions()
    for ask in [first.ask() for _ in range(3)]:
        first.fail(ask.trial_id, replace(FULL_DISK, kind=FailureKind.DIVERGED) if ask.fold == 3 else FULL_DISK)
    assert first.first_trials_all_failed(3)
    second = sessions()
    assert [run.fold for run in second.ask_again()] == [1, 2]
    assert not second.first_trials_all_failed(2)  # earlier failures are not this session's
    (again, _) = second.unfinished()
    second.fail(again.trial_id, FULL_DISK)
    assert [ask.fold for ask in second.unfinished()] == [2]

    killed_and_resumed = sessions()
    assert [ask.fold for ask in killed_and_resumed.unfinished()] == [2]
    assert [run.fold for run in killed_and_resumed.ask_again()] == [1]


@pytest.fixture
def failed_study(confirmed_study: Path, tmp_path: Path) -> Path:
    """A copy of a confirmed study whose last run failed."""
    study = Path(shutil.copytree(confirmed_study, tmp_path / "ground-beetles"))
    lines = (study / "journal.jsonl").read_bytes().splitlines(keepends=True)
    asks = [i for i, e in enumerate(read_plain(study)) if e["event"] == "confirm" and e["of"]["event"] == "ask"]
    (study / "journal.jsonl").write_bytes(b"".join(lines[: asks[-1] + 1]))
    with Journal.open(study, say=print) as journal:
        confirmation = Confirmation.replay(journal.entries(), on_entry=journal.append)
        (last,) = confirmation.unfinished()
        confirmation.fail(last.trial_id, FULL_DISK)
        verdict = replace(confirmed_of(read_entries(confirmed_study)), failed=("default",))
        confirmation.conclude(verdict.to_dict())
        journal.append(SessionEnded(reason="finished", state="completed"))
    return study


def test_status_tells_what_failed_in_a_confirmation_and_what_to_do(cli, confirmed_study, failed_study):
    shown, told = (cli("status", failed_study, *json) for json in ((), ("--json",)))
    line = f"failed in a run, so not compared: default; {TRIED_AGAIN}"

    assert line in " ".join(shown.stdout.split())
    assert told.result["confirmation"]["not_compared"] == [line]
    assert "not compared" not in cli("status", confirmed_study).stdout


def results(study: Path) -> dict[tuple[str, int, int], list[float]]:
    runs = Confirmation.replay(entries_of(read_plain(study))).runs()
    return {(run.name, run.fold, run.seed): list(run.record.scores.values()) for run in runs}


@pytest.mark.slow
def test_confirm_tries_again_what_failed_and_a_finished_search_says_so(cli, confirmed_study, failed_study, tmp_path):
    in_process = "--local", "--workers", 1, "--tracking-uri", f"sqlite:///{tmp_path / 'copy.db'}"
    shown = cli("search", "--resume", failed_study, *in_process)
    assert "1 run of its confirmation failed: mend the cause and run `sentinel-tune confirm " in shown.stderr
    assert TRIED_AGAIN in " ".join(shown.stdout.split())
    assert f"\n  sentinel-tune confirm {failed_study} --local\n" in shown.stdout
    options = ("--confirm-top", 2, "--confirm-folds", 2)
    mended = cli("confirm", failed_study, *in_process, *options)
    again = cli("confirm", failed_study, *in_process, *options)

    assert mended.status == 0, mended.stderr
    (said,) = [line for line in mended.stderr.splitlines() if "tried again, since they failed before: c" in line]
    assert said.count("(") == 1
    assert "tried again" not in again.stderr + again.stdout
    assert "sentinel-tune confirm " not in again.stdout
    assert results(failed_study) == results(confirmed_study)  # to the bit
    assert confirmed_of(read_entries(failed_study)) == confirmed_of(read_entries(confirmed_study))
    told = [e.of for e in read_entries(failed_study) if isinstance(e, Confirming) and isinstance(e.of, TrialTold)]
    assert [of.state for of in told].count("failed") == 1  # the journal keeps what happened
