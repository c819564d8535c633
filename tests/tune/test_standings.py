"""A study's entries add up to one state, whoever reads it."""

from typing import Any

from tests.tune.plain_entries import make_entry
from tune.decisions.standings import Standings


def asked(number: int, origin: str = "sampler") -> Any:
    return make_entry(
        "ask", trial=f"t{number}", number=number, origin=origin, exempt=False, values={}, config={"epochs": 9}
    )


def reported(number: int, score: float, epoch: int = 1) -> Any:
    return make_entry("report", trial=f"t{number}", epoch=epoch, metrics={"score/all": score})


def told(number: int, state: str) -> Any:
    return make_entry("tell", trial=f"t{number}", state=state, value=None, epoch=None, reason="")


def best_of(*entries: Any) -> str | None:
    best = Standings.of(entries).best()
    return None if best is None else best.trial_id


def test_of_equal_scores_the_trial_asked_for_first_is_the_best_whichever_came_first() -> None:
    begun = [asked(0), asked(1)]
    assert best_of(*begun, reported(0, 0.5), reported(1, 0.5)) == "t0"
    assert best_of(*begun, reported(1, 0.5), reported(0, 0.5)) == "t0"


def test_when_the_best_trial_fails_the_next_best_takes_its_place() -> None:
    scored = [asked(0), reported(0, 0.5), asked(1), reported(1, 0.6), asked(2, "noise:default#1"), reported(2, 0.1)]
    assert best_of(*scored) == "t0"
    assert best_of(*scored, told(0, "failed")) == "t1"
    assert best_of(*scored, told(0, "failed"), told(1, "failed")) is None


def test_a_trial_is_paused_until_it_is_heard_of_or_tried_again() -> None:
    standings = Standings.of(
        [asked(0), reported(0, 0.5), make_entry("pause", trial="t0", epoch=1, reason="interrupted")]
    )
    assert (standings.count("paused"), standings.count("running")) == (1, 0)
    retried = make_entry("retry", trial="t0", reason="worker died", attempt=2, config=None)
    standings.apply(retried)
    assert (standings.count("paused"), standings.count("running")) == (0, 1)
    assert standings.trials["t0"].retries == ["worker died"]
    standings.apply(told(0, "completed"))
    assert (standings.count("running"), standings.n_told, standings.ends_this_session) == (0, 1, ["completed"])


def test_a_rerun_for_the_noise_is_of_its_variant_and_shown_by_its_id() -> None:
    standings = Standings.of([asked(0, "start:a#b"), asked(1, "noise:a#b#1")])
    first, rerun = standings.trials.values()
    assert (first.variant, first.name) == ("a#b", "a#b")
    assert (rerun.variant, rerun.name) == ("a#b", "t1")
    assert standings.variant_trials() == {"a#b": first}
