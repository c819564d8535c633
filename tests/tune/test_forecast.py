"""A search in virtual time decides as the real one does, and counts what is trained, and only that."""

import random
from dataclasses import replace

import pytest

from search_spaces.space import SearchSpace
from tune.decisions.decisions import Decisions
from tune.decisions.sampler import sampler_description
from tune.planning.forecast import Rules, Work, forecast, made_up_curve

SHORT = Rules(max_epochs=9, grace_epochs=1, reduction_factor=3, slots=1)
NEVER = Rules(max_epochs=9, grace_epochs=9, reduction_factor=3, slots=2)


def test_trials_that_are_never_stopped_run_their_whole_length_side_by_side():
    found = forecast([Work(n_epochs=9, epoch_seconds=2.0, build_seconds=1.0)] * 5, NEVER, seed=0)

    assert found.n_epochs == 5 * 9
    assert found.busy_seconds == pytest.approx(5 * 19)
    assert found.wall_seconds == pytest.approx(3 * 19)  # two, two, and one alone


def test_stopping_saves_most_epochs_and_exempt_trials_lose_none():
    stopped = forecast([Work(n_epochs=9, epoch_seconds=1.0)] * 40, SHORT, seed=1)
    exempt = forecast([Work(n_epochs=9, epoch_seconds=1.0, is_exempt=True)] * 40, SHORT, seed=1)

    assert exempt.n_epochs == 40 * 9
    assert 40 <= stopped.n_epochs < exempt.n_epochs / 2
    assert stopped.wall_seconds == stopped.busy_seconds == stopped.n_epochs


def test_patience_ends_trials_that_are_past_their_best_and_no_exempt_one():
    never, patient = (replace(NEVER, max_epochs=40, grace_epochs=40, patience=n) for n in (0, 8))
    work = [Work(n_epochs=40, epoch_seconds=1.0)] * 30

    assert forecast(work, never, seed=0).n_epochs == 30 * 40
    assert 30 * 9 <= forecast(work, patient, seed=0).n_epochs < 30 * 40
    assert forecast([replace(one, is_exempt=True) for one in work], patient, seed=0).n_epochs == 30 * 40


def test_what_is_over_costs_nothing_and_fills_the_rungs():
    over = [Work(n_epochs=9, epoch_seconds=1.0, is_over=True)] * 30
    rest = forecast([*over, *[Work(n_epochs=9, epoch_seconds=1.0)] * 10], SHORT, seed=2)
    alone = forecast([Work(n_epochs=9, epoch_seconds=1.0)] * 10, SHORT, seed=2)

    assert forecast(over, SHORT, seed=2).wall_seconds == 0.0
    assert 10 <= rest.n_epochs < alone.n_epochs  # the first ones at empty rungs always go on


def test_epochs_that_are_known_are_not_trained_again():
    begun = Work(n_epochs=9, epoch_seconds=1.0, is_exempt=True, n_reported=4)

    assert forecast([begun], SHORT, seed=3).n_epochs == 5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_it_stops_the_trials_that_a_search_with_the_same_scores_stops(seed):
    generator = random.Random(seed)
    curves = [made_up_curve(generator, SHORT.max_epochs) for _ in range(12)]
    header = {
        "seed": seed, "n_trials": 12, "max_epochs": 9, "grace_epochs": 1, "reduction_factor": 3,
        "sampler": sampler_description(),
    }  # fmt: skip
    decisions, n_epochs = Decisions(SearchSpace.load("smoke"), header), 0
    while (ask := decisions.ask()) is not None:
        for epoch, score in enumerate(curves[ask.number], start=1):
            n_epochs += 1
            if decisions.report(ask.trial_id, epoch, {"score/all": score}).action == "stop":
                break

    assert forecast([Work(n_epochs=9, epoch_seconds=1.0)] * 12, SHORT, seed=seed).n_epochs == n_epochs
