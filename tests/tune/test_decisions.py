import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from optuna.trial import TrialState

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import Plain, make_entry, plain
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.failure import Failure, FailureKind
from tune.decisions.decisions import Decisions
from tune.decisions.differences import differences
from tune.decisions.sampler import sampler_description
from tune.decisions.trial_record import Ask
from tune.decisions.verdicts import Verdict
from tune.journal.entries import JournalEntry, RungDecided, SessionBegun
from tune.journal.journal import Journal, read_entries
from tune.journal.lines import as_read

START = {"adapter.kind": "full", "optim.lr": 1e-3, "tail.n_blocks": 2}
QUEUE = [
    {"origin": "start:full", "values": START},
    {"origin": "start:lora", "values": {**START, "adapter.kind": "lora", "adapter.rank": 64}},
    {"origin": "compare:deep", "config": TrialConfig(epochs=9).with_values({"tail.n_blocks": 12}).to_dict()},
]


def space_of(**parameters: dict[str, Any]) -> SearchSpace:
    reasons = {"role": "scientific", "why": "a test"}
    given = {key.replace("__", "."): {**parameter, **reasons} for key, parameter in parameters.items()}
    return SearchSpace.from_dict({"name": "x", "about": "x", "base": {}, "parameters": given})


KIND = {"choices": ["full", "lora"]}
SMALL_SPACE = space_of(
    adapter__kind=KIND,
    adapter__rank={"int": [4, 256], "log": True, "when": {"adapter.kind": ["lora"]}},
    optim__lr={"float": [1e-5, 1e-2], "log": True},
    tail__n_blocks={"int": [1, 6]},
)
TINY_SPACE = space_of(adapter__kind=KIND)
"""Two configurations in all."""


def make_header(**changed: Any) -> dict[str, Any]:
    numbers = {"seed": 7, "n_trials": 12, "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3}
    return {**numbers, "queue": QUEUE, "sampler": sampler_description(), **changed}


class Recorder:
    """An entry writer in memory, and the journal's entries so far, also as the plain values of their lines."""

    def __init__(self, header: dict[str, Any], entries: list[JournalEntry] | None = None) -> None:
        self.entries = entries if entries is not None else [make_entry("study", study_id="s", header=header)]

    @property
    def plain_entries(self) -> list[Plain]:
        return [plain(written) for written in self.entries]

    def __call__(self, made: Any, *, apply: Callable[[Any], None]) -> Any:
        written = as_read(dataclasses.replace(made, seq=len(self.entries), time=float(len(self.entries))))
        self.entries.append(written)
        apply(written)
        return written

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [entry for entry in self.plain_entries if entry["event"] == kind]


def start(space: Any = None, **changed: Any) -> tuple[Decisions, Recorder]:
    header = make_header(**changed)
    recorder = Recorder(header)
    return Decisions(space or SMALL_SPACE, header, on_entry=recorder), recorder


def replayed(recorder: Recorder) -> Decisions:
    return Decisions.replay(SMALL_SPACE, recorder.entries)


def score(ask: Ask, epoch: int) -> float:
    """A learning curve that depends on the configuration and the epoch alone."""
    distance = abs(math.log10(ask.config.optim.lr) + 3) + 0.1 * abs(ask.config.tail.n_blocks - 4)
    return 0.5 + 0.3 * distance + 1.0 / epoch + 0.05 * math.sin(17.0 * epoch + 5.0 * ask.number)


def take_all(decisions: Decisions) -> Iterator[Ask]:
    while (ask := decisions.ask()) is not None:
        yield ask


def train(decisions: Decisions, ask: Ask, scores: Callable[[int], float] | None = None, epochs: int = 9) -> Verdict:
    for epoch in range(ask.reported_epochs + 1, epochs + 1):
        value = score(ask, epoch) if scores is None else scores(epoch)
        verdict = decisions.report(ask.trial_id, epoch, {"score/all": value, "train/loss": 2 * value})
        if verdict.action == "stop":
            break
    return verdict


def sampler_trials(decisions: Decisions) -> dict[str, Any]:
    """What the sampler was told, by our trial number among the trials that it knows."""
    known = [record.trial_id for record in decisions.trials() if record.values is not None]
    return dict(zip(known, decisions.sampler_trials(), strict=True))


# Asking


def test_a_trial_that_is_past_its_best_has_ended_and_counts_with_its_best_unless_it_is_exempt():
    decisions, recorder = start(patience=3, queue=QUEUE[:1], grace_epochs=9)
    exempt, ordinary, late = (decisions.ask() for _ in range(3))
    assert train(decisions, exempt, lambda epoch: 0.5 + 0.01 * epoch).reason.startswith("completed 9 epochs")
    ended = train(decisions, ordinary, lambda epoch: 0.4 + 0.01 * abs(epoch - 2))
    assert (ended.action, ended.state) == ("stop", "completed")
    assert ended.reason == "past its best after 5 of 9 epochs: best 0.4 at epoch 2, none better in the 3 epochs since"
    assert train(decisions, late, lambda epoch: 0.6 - 0.01 * (epoch // 3)).reason.startswith("completed 9 epochs")

    assert decisions.best().trial_id == ordinary.trial_id
    assert sampler_trials(decisions)[ordinary.trial_id].state is TrialState.COMPLETE
    assert sampler_trials(decisions)[ordinary.trial_id].value == pytest.approx(0.4)
    assert plain_states(replayed(recorder)) == plain_states(decisions)


def test_a_short_trial_is_judged_at_its_share_of_a_rung_and_has_ended_after_its_own_epochs():
    space = space_of(length={"choices": [0.5, 1.0]}, adapter__kind=KIND)
    queue = [
        {"origin": f"start:{number}", "values": {"adapter.kind": kind, "length": length}}
        for number, (kind, length) in enumerate([("full", 1.0), ("lora", 0.5)])
    ]
    decisions, recorder = start(space, queue=queue, max_epochs=8, grace_epochs=2)
    long, short = decisions.ask(), decisions.ask()
    assert train(decisions, long, lambda _: 0.5, epochs=8).reason.startswith("completed 8 epochs")
    assert train(decisions, short, lambda _: 0.4, epochs=8).reason.startswith("completed 4 epochs")

    assert [(e["trial"], e["epoch"], e["rung"]) for e in recorder.of("decision")] == [
        ("t0000", 2, 2), ("t0000", 6, 6), ("t0001", 1, 2), ("t0001", 3, 6)
    ]  # fmt: skip
    assert plain_states(Decisions.replay(space, recorder.entries)) == plain_states(decisions)


def test_a_study_of_before_has_no_patience():
    decisions, _ = start(queue=[], grace_epochs=9)
    assert train(decisions, decisions.ask(), lambda epoch: 0.5 + 0.01 * epoch).reason.startswith("completed 9 epochs")


def plain_states(decisions: Decisions) -> dict[str, tuple[str, int, float | None]]:
    return {trial.trial_id: (trial.state, trial.epoch, trial.best_score) for trial in decisions.trials()}


def test_starting_points_run_first_in_order_then_comparisons_then_proposals():
    decisions, recorder = start()
    asks = list(take_all(decisions))
    assert [ask.trial_id for ask in asks] == [f"t{n:04d}" for n in range(12)]
    assert [ask.origin for ask in asks] == ["start:full", "start:lora", "compare:deep"] + ["sampler"] * 9
    assert [ask.exempt for ask in asks] == [True] * 3 + [False] * 9
    assert asks[1].values == QUEUE[1]["values"]
    assert asks[1].config.adapter.rank == 64
    assert asks[2].values is None
    assert asks[2].config.tail.n_blocks == 12
    assert decisions.n_left == 0
    assert len(recorder.of("ask")) == 12


def test_proposals_keep_conditions_and_ranges():
    decisions, _ = start(n_trials=40)
    for ask in take_all(decisions):
        if ask.origin != "sampler":
            continue
        assert ask.values is not None
        assert ("adapter.rank" in ask.values) == (ask.values["adapter.kind"] == "lora")
        assert 1e-5 <= ask.values["optim.lr"] <= 1e-2
        train(decisions, ask)


def test_same_seed_same_search_and_another_seed_another():
    def run(seed: int) -> list[Any]:
        decisions, _ = start(seed=seed)
        for ask in take_all(decisions):
            train(decisions, ask)
        return [(record.config, record.scores, record.state) for record in decisions.trials()]

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_no_configuration_is_run_twice_and_an_exhausted_space_ends_the_search():
    decisions, _ = start(TINY_SPACE, queue=[])
    assert [ask.config.adapter.kind for ask in take_all(decisions)] in (["full", "lora"], ["lora", "full"])
    assert decisions.stop_reason == "every configuration of the space was tried"


def test_after_a_requested_stop_nothing_is_asked_for_but_a_resumed_study_goes_on():
    decisions, recorder = start()
    decisions.ask()
    decisions.request_stop("time budget spent")
    assert decisions.ask() is None
    assert replayed(recorder).ask() is not None


def test_a_later_session_may_raise_the_number_of_trials():
    decisions, recorder = start(n_trials=4)
    assert len(list(take_all(decisions))) == 4
    decisions.begin_session(SessionBegun(n_trials=6, executor="local"))
    assert len(list(take_all(decisions))) == 2
    assert replayed(recorder).standings.n_trials == 6


def test_trials_of_earlier_studies_are_history_to_the_sampler_and_are_not_run_again():
    rates = [1e-5 * 1.5**n for n in range(12)]
    history = [
        {"values": {**START, "optim.lr": rate}, "state": "completed", "value": rate, "intermediate": [[9, rate]]}
        for rate in rates
    ]
    informed, _ = start(queue=[], n_trials=30, warm_start=history)
    proposed = [ask.config.optim.lr for ask in take_all(informed)]
    assert len([t for t in informed.sampler_trials() if t.state == TrialState.COMPLETE]) == 12
    assert sum(rate < 1e-4 for rate in proposed) > 15  # where the history was good; a third of the range
    assert not set(proposed) & set(rates)


# Reporting


def test_a_trial_that_reaches_its_length_is_completed_with_its_best_epoch_not_its_last():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    verdict = train(decisions, ask, lambda epoch: 0.5 + 0.01 * abs(epoch - 6))
    assert (verdict.action, verdict.state) == ("stop", "completed")
    tell = recorder.of("tell")[-1]
    assert (tell["value"], tell["epoch"]) == (0.5, 6)
    best = decisions.best()
    assert best is not None
    assert (best.trial_id, best.best_metrics) == ("t0000", {"score/all": 0.5, "train/loss": 1.0})


def test_a_poor_trial_is_stopped_at_a_rung_with_a_reason_and_a_starting_point_never():
    decisions, recorder = start()
    asks = list(take_all(decisions))
    train(decisions, asks[0], lambda epoch: 0.9 if epoch == 1 else 0.5)
    train(decisions, asks[1], lambda epoch: 0.9 if epoch == 1 else 0.598)
    assert train(decisions, asks[2], lambda _: 9.5).state == "completed"
    verdict = train(decisions, asks[3], lambda epoch: 0.9 if epoch == 1 else 0.612)
    assert verdict == Verdict(
        action="stop", state="pruned", reason="stopped at epoch 3: 0.612, cut 0.598 from 4 trials"
    )
    exempt = [entry for entry in recorder.of("decision") if entry["trial"] == "t0002"]
    assert [(entry["epoch"], entry["action"]) for entry in exempt] == [(1, "continue"), (3, "continue")]
    assert exempt[0]["reason"] == "goes on at epoch 1: 9.5, cut 0.9 from 3 trials; exempt from stopping"
    assert decisions.asha.sizes() == {1: 4, 3: 4}


def test_one_bad_epoch_at_a_rung_does_not_stop_a_trial_that_was_better_before():
    decisions, _ = start(queue=[])
    first, second = decisions.ask(), decisions.ask()
    assert first is not None
    assert second is not None
    train(decisions, first, lambda _: 0.6)
    assert train(decisions, second, lambda epoch: {1: 0.5, 3: 8.0}.get(epoch, 0.7)).state == "completed"


def test_a_report_that_is_known_already_changes_nothing():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    first = decisions.report(ask.trial_id, 1, {"score/all": 0.5})
    n_entries = len(recorder.entries)
    assert decisions.report(ask.trial_id, 1, {"score/all": 0.4}) == first
    train(decisions, ask)
    n_entries, told = len(recorder.entries), decisions.standings.trials[ask.trial_id].reason
    assert decisions.report(ask.trial_id, 9, {"score/all": 0.1}) == Verdict(
        action="stop", reason=told, state="completed"
    )
    assert len(recorder.entries) == n_entries


def test_a_report_that_jumps_past_a_rung_is_judged_there():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    decisions.report(ask.trial_id, 2, {"score/all": 0.5})
    decisions.report(ask.trial_id, 5, {"score/all": 0.6})
    assert [(e["epoch"], e["rung"], e["value"]) for e in recorder.of("decision")] == [(2, 1, 0.5), (5, 3, 0.5)]


def test_checkpoints_are_known_before_the_report_and_handed_out_on_resume():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    decisions.report(ask.trial_id, 1, {"score/all": 0.5}, checkpoint="checkpoints/t0000/epoch-1")
    kinds = [entry["event"] for entry in recorder.plain_entries]
    assert kinds.index("checkpoint") < kinds.index("report")
    (again,) = replayed(recorder).unfinished()
    assert (again.trial_id, again.reported_epochs, again.checkpoint) == ("t0000", 1, "checkpoints/t0000/epoch-1")


# Failing


def test_a_failed_trial_is_told_with_its_error_and_the_study_goes_on():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    decisions.fail(
        ask.trial_id,
        Failure(type="ValueError", message="no", traceback_tail="...", node="host-1"),
    )
    assert recorder.of("error")[0]["node"] == "host-1"
    record = decisions.standings.trials[ask.trial_id]
    assert (record.state, record.reason) == ("failed", "ValueError: no")
    assert decisions.ask() is not None
    assert decisions.best() is None
    with pytest.raises(ValueError, match="told as failed"):
        decisions.retry(ask.trial_id, reason="again")


def test_a_retry_counts_attempts_and_may_change_the_configuration_but_not_what_the_sampler_knows():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    smaller = ask.config.with_values({"optim.accumulation_steps": 2})
    again = decisions.retry(ask.trial_id, reason="out of memory", config=smaller)
    assert (again.attempts, again.config, again.values) == (2, smaller, ask.values)
    assert decisions.n_faults(ask.trial_id) == 1
    assert replayed(recorder).config(ask.trial_id) == smaller


def test_a_diverged_trial_counts_at_its_next_rung_as_the_worst():
    decisions, _ = start(queue=[])
    asks = [decisions.ask() for _ in range(3)]
    first, diverged, second = (ask for ask in asks if ask is not None)
    train(decisions, first, lambda _: 0.5, epochs=1)
    decisions.fail(diverged.trial_id, Failure(type="TrialDiverged", message="loss is nan", kind=FailureKind.DIVERGED))
    assert decisions.asha.sizes()[1] == 2
    assert train(decisions, second, lambda _: 0.6, epochs=1).state == "pruned"


def test_five_failures_at_the_start_of_a_session_are_noticed_and_a_new_session_counts_anew():
    decisions, _ = start()
    for number, ask in enumerate(take_all(decisions)):
        assert decisions.first_trials_all_failed(5) == (number >= 5)
        decisions.fail(ask.trial_id, Failure(type="ImportError", message="no module"))
        if number == 5:
            decisions.begin_session(SessionBegun())
            assert not decisions.first_trials_all_failed(5)
            return


def test_failures_after_a_success_do_not_look_like_a_broken_study():
    decisions, _ = start()
    for number, ask in enumerate(take_all(decisions)):
        if number == 2:
            train(decisions, ask)
        else:
            decisions.fail(ask.trial_id, Failure(type="ImportError", message="no module"))
    assert not decisions.first_trials_all_failed(5)


def test_numbers_out_of_range_are_refused_before_anything_runs():
    with pytest.raises(UserError, match="reduction_factor >= 2"):
        start(reduction_factor=1)


# The faults of the stock glue between Ray Tune and Optuna


def test_fault_1_rungs_are_full_again_after_a_resume():
    decisions, recorder = start()
    for ask in take_all(decisions):
        train(decisions, ask)
    assert replayed(recorder).asha.sizes() == decisions.asha.sizes()
    assert decisions.asha.sizes()[1] == 12


def test_fault_2_a_trial_that_finished_just_before_a_crash_does_not_break_the_resume():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    train(decisions, ask)
    resumed = Decisions.replay(SMALL_SPACE, recorder.entries, on_entry=recorder)
    assert resumed.report(ask.trial_id, 9, {"score/all": 0.5}).action == "stop"
    assert resumed.unfinished() == []
    assert resumed.ask() is not None


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("epoch", [1, 2])
def test_fault_3_a_score_that_is_not_finite_stops_the_trial_and_is_told_as_failed(bad, epoch):
    decisions, recorder = start()
    ask = decisions.ask()  # a starting point: exempt from stopping, but not from this
    assert ask is not None
    verdict = train(decisions, ask, lambda at: bad if at == epoch else 0.5)
    assert (verdict.action, verdict.state) == ("stop", "failed")
    assert f"epoch {epoch}" in verdict.reason
    assert decisions.sampler_trials()[0].state == TrialState.FAIL
    rung = {1: 1, 2: 3}[epoch]
    assert decisions.asha.sizes()[rung] == 1
    assert differences(SMALL_SPACE, recorder.entries) == []


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"adapter": {"kind": "full"}, "optim": {"lr": 1e-3}}, "`adapter` is no active parameter"),
        ({**START, "optim.lrr": 1e-3}, "`optim.lrr` is no active parameter of the space; active: adapter.kind"),
        ({**START, "adapter.rank": 8}, "`adapter.rank` is no active parameter"),
        ({**START, "optim.lr": 0.5}, r"`optim.lr` must be in the space, \[1e-05, 0.01\] log, but got 0.5"),
        ({**START, "tail.n_blocks": 2.0}, r"`tail.n_blocks` must be in the space, \[1, 6\], but got 2.0"),
        ({**START, "adapter.kind": "LORA"}, "`adapter.kind` must be in the space, one of full, lora, but got 'LORA'"),
        ({"adapter.kind": "full"}, r"`optim.lr` must be given(.|\n)*`tail.n_blocks` must be given"),
        ({**START, "optim.lr": math.nan}, "`optim.lr` must be"),
    ],
    ids=["nested", "misspelt", "inactive", "out of range", "mistyped", "unknown choice", "incomplete", "nan"],
)
def test_fault_4_starting_points_that_are_not_exactly_in_the_space_are_refused(values, complaint):
    with pytest.raises(UserError, match=f"start:mine: (.|\n)*{complaint}"):
        start(queue=[{"origin": "start:mine", "values": values}])


def test_fault_5_a_stopped_trial_is_told_as_pruned_with_all_epochs_and_its_best_score():
    decisions, recorder = start()
    asks = list(take_all(decisions))
    for ask in asks[:2]:
        train(decisions, ask, lambda epoch: 0.9 if epoch == 1 else 0.5)
    train(decisions, asks[3], lambda epoch: [0.8, 0.6, 0.7][epoch - 1])
    told = sampler_trials(decisions)[asks[3].trial_id]
    assert (told.state, told.value) == (TrialState.PRUNED, 0.6)
    assert told.intermediate_values == {1: 0.8, 2: 0.6, 3: 0.7}
    told = sampler_trials(decisions)["t0000"]
    assert (told.state, told.value, len(told.intermediate_values)) == (TrialState.COMPLETE, 0.5, 9)
    tell = recorder.of("tell")[-1]
    assert (tell["state"], tell["value"], tell["epoch"]) == ("pruned", 0.6, 2)


def test_fault_6_interrupted_trials_are_unfinished_with_their_epoch_and_go_on_later():
    decisions, recorder = start()
    asks = [decisions.ask(), decisions.ask()]
    for number, ask in enumerate(asks):
        assert ask is not None
        train(decisions, ask, epochs=number + 1)
        decisions.pause(ask.trial_id, reason="time budget spent")
    resumed = Decisions.replay(SMALL_SPACE, recorder.entries, on_entry=recorder)
    assert [(ask.trial_id, ask.reported_epochs, ask.attempts) for ask in resumed.unfinished()] == [
        ("t0000", 1, 1),
        ("t0001", 2, 1),
    ]
    for ask in resumed.unfinished():
        assert train(resumed, ask).state == "completed"


def test_fault_7_a_trial_that_succeeds_after_a_retry_is_told_as_completed():
    decisions, recorder = start()
    ask = decisions.ask()
    assert ask is not None
    train(decisions, ask, epochs=2)
    train(decisions, decisions.retry(ask.trial_id, reason="worker died"))
    assert [told.state for told in decisions.sampler_trials()] == [TrialState.COMPLETE]
    assert [told.state for told in replayed(recorder).sampler_trials()] == [TrialState.COMPLETE]


def test_fault_9_two_studies_at_once_share_nothing(tmp_path):
    studies = []
    for name in ("a", "b"):
        header = make_header(n_trials=3)
        journal = Journal.create(tmp_path / name, header, study_id=name)
        studies.append((journal, Decisions(SMALL_SPACE, header, on_entry=journal.append)))
    for _, decisions in studies:
        for ask in take_all(decisions):
            train(decisions, ask)
    for journal, decisions in studies:
        journal.close()
        assert len(decisions.sampler_trials()) == 2
        assert len(Decisions.replay(SMALL_SPACE, read_entries(journal.folder)).trials()) == 3


# Replay


class Killed(BaseException):
    """The process ends here."""


def work(decisions: Decisions) -> None:
    """One worker to the study's end; what befalls a trial depends on its number, epoch and attempt alone."""
    waiting = decisions.unfinished()
    while (ask := waiting.pop(0) if waiting else decisions.ask()) is not None:
        fate = ask.number % 6
        for epoch in range(ask.reported_epochs + 1, 10):
            if fate == 2 and epoch == 2 and ask.attempts == 1:
                waiting.append(decisions.retry(ask.trial_id, reason="worker died"))
                break
            if fate == 3 and epoch == 2:
                decisions.fail(ask.trial_id, Failure(type="RuntimeError", message="a bug"))
                break
            if fate == 5 and ask.number > 6 and epoch == 1:
                diverged = Failure(type="TrialDiverged", message="loss is nan", kind=FailureKind.DIVERGED)
                decisions.fail(ask.trial_id, diverged)
                break
            value = math.nan if fate == 4 and epoch == 2 else score(ask, epoch)
            path = f"checkpoints/{ask.trial_id}/{epoch}"
            if decisions.report(ask.trial_id, epoch, {"score/all": value}, checkpoint=path).action == "stop":
                break


def comparable(decisions: Decisions) -> str:
    """The whole state, without times; as text, because NaN is not equal to itself."""
    records = []
    for record in decisions.trials():
        facts = {name: getattr(record, name) for name in record.__slots__ if name not in ("started", "ended")}
        facts["decisions"] = [dataclasses.replace(d, time=0, seq=0) for d in record.decisions.values()]
        facts["error"] = record.error and dataclasses.replace(record.error, time=0, seq=0)
        records.append(facts)
    told = [(t.state, t.values, t.params, t.intermediate_values) for t in decisions.sampler_trials()]
    rungs = decisions.asha.sizes()
    return repr((records, told, rungs, decisions.n_left))


HEADER = make_header(n_trials=16)


@functools.cache
def uninterrupted() -> tuple[str, int]:
    """The state at the end of a study that nobody kills, and its number of entries."""
    recorder = Recorder(HEADER)
    decisions = Decisions(SMALL_SPACE, HEADER, on_entry=recorder)
    work(decisions)
    return comparable(decisions), len(recorder.entries)


def test_a_replayed_study_has_the_state_of_the_live_one_and_every_decision_follows():
    recorder = Recorder(HEADER)
    decisions = Decisions(SMALL_SPACE, HEADER, on_entry=recorder)
    work(decisions)
    assert {record.state for record in decisions.trials()} == {"completed", "pruned", "failed"}
    assert differences(SMALL_SPACE, recorder.entries) == []
    assert comparable(replayed(recorder)) == comparable(decisions)


@pytest.mark.seconds
@settings(max_examples=20, deadline=None, derandomize=True)
@given(deaths=st.lists(st.floats(0.0, 1.0, exclude_max=True), min_size=1, max_size=4))
def test_killed_at_any_events_and_resumed_equals_uninterrupted(deaths):
    state, n_entries = uninterrupted()
    recorder = Recorder(HEADER)
    for death in [*sorted(deaths), 2.0]:
        writer = killing(recorder, at=int(death * n_entries))
        with contextlib.suppress(Killed):  # also while writing what the last process left undecided
            decisions = Decisions.replay(SMALL_SPACE, recorder.entries, on_entry=writer)
            work(decisions)
    assert comparable(decisions) == state
    assert differences(SMALL_SPACE, recorder.entries) == []
    reported = [(entry["trial"], entry["epoch"]) for entry in recorder.of("report")]
    assert len(reported) == len(set(reported))


def killing(recorder: Recorder, *, at: int) -> Callable[..., dict[str, Any]]:
    """A writer whose process dies just after entry number `at` is on the disk."""

    def write(entry: str, **fields: Any) -> dict[str, Any]:
        if len(recorder.entries) == at:
            recorder(entry, **(fields | {"apply": lambda _: None}))
            raise Killed
        return recorder(entry, **fields)

    return write


def test_with_trials_side_by_side_every_decision_follows_from_the_events_before_it():
    decisions, recorder = start(n_trials=24)
    running: list[Ask] = []
    epochs: dict[str, int] = {}
    while True:
        while len(running) < 4 and (ask := decisions.ask()) is not None:
            running.append(ask)
        if not running:
            break
        ask = running.pop(0)
        epochs[ask.trial_id] = epochs.get(ask.trial_id, 0) + 1
        epoch = epochs[ask.trial_id]
        if decisions.report(ask.trial_id, epoch, {"score/all": score(ask, epoch)}).action == "continue":
            running.insert(ask.number % (len(running) + 1), ask)
    assert differences(SMALL_SPACE, recorder.entries) == []
    assert comparable(replayed(recorder)) == comparable(decisions)


def test_the_next_proposal_knows_of_running_trials_after_a_resume_too():
    decisions, recorder = start(n_trials=40)
    for ask in list(take_all(decisions))[:20]:
        train(decisions, ask)
    decisions.begin_session(SessionBegun(n_trials=41))
    assert sum(trial.state == TrialState.RUNNING for trial in replayed(recorder).sampler_trials()) == 20
    resumed, going_on = replayed(recorder).ask(), decisions.ask()
    assert resumed is not None
    assert resumed == going_on


def test_an_altered_decision_is_found_by_replaying():
    decisions, recorder = start(n_trials=5)
    for ask in take_all(decisions):
        train(decisions, ask)
    at = next(n for n, made in enumerate(recorder.entries) if isinstance(made, RungDecided) and made.trial == "t0004")
    recorder.entries[at] = dataclasses.replace(recorder.entries[at], cut=123.0)
    assert any("cut is 123.0" in line for line in differences(SMALL_SPACE, recorder.entries))


def test_a_study_through_a_real_journal_replays_to_the_same_state(tmp_path):
    header = make_header()
    journal = Journal.create(tmp_path, header, study_id="s")
    decisions = Decisions(SMALL_SPACE, header, on_entry=journal.append)
    work(decisions)
    journal.close()
    entries = read_entries(tmp_path)
    again = Decisions.replay(SMALL_SPACE, entries)
    assert repr(again.trials()) == repr(decisions.trials())
    assert differences(SMALL_SPACE, entries) == []


def test_a_listener_that_fails_at_the_end_of_a_trial_leaves_no_trial_half_told(tmp_path):
    header = make_header(n_trials=3)

    def broken(entry: dict[str, Any]) -> None:
        if entry["event"] == "tell":
            raise KeyError(entry["trial"])

    with Journal.create(tmp_path, header, study_id="s") as journal:
        journal.subscribe(broken)
        decisions = Decisions(SMALL_SPACE, header, on_entry=journal.append)
        work(decisions)
        assert decisions.unfinished() == []
        with pytest.raises(ValueError, match="must be running"):
            decisions.pause("t0000", reason="stopped by an error")
    assert differences(SMALL_SPACE, read_entries(tmp_path)) == []
    assert repr(Decisions.replay(SMALL_SPACE, read_entries(tmp_path)).trials()) == repr(decisions.trials())
