import math
import random

import pytest

from trainable.errors import UserError
from tune.decisions.asha import Asha


def make_asha(**changed: int) -> Asha:
    return Asha(**{"grace_epochs": 1, "reduction_factor": 3, "max_epochs": 9, **changed})


def judge_and_record(asha: Asha, rung: int, values: list[float]) -> list[str]:
    actions = []
    for number, value in enumerate(values):
        actions.append(asha.judge(rung, f"t{number}", value).action)
        asha.record(rung, f"t{number}", value)
    return actions


@pytest.mark.parametrize(
    ("grace", "factor", "epochs", "rungs"),
    [(1, 3, 9, (1, 3)), (1, 3, 10, (1, 3, 9)), (2, 4, 50, (2, 8, 32)), (5, 3, 5, ()), (9, 3, 4, ())],
)
def test_rungs_are_grace_times_powers_of_the_factor_below_the_full_length(grace, factor, epochs, rungs):
    assert Asha(grace_epochs=grace, reduction_factor=factor, max_epochs=epochs).rungs == rungs


def test_the_first_trial_at_a_rung_always_goes_on():
    assert judge_and_record(make_asha(), 1, [1e9]) == ["continue"]


def test_falling_scores_all_go_on_and_rising_ones_are_cut_to_a_third():
    assert judge_and_record(make_asha(), 1, [9.0, 8.0, 7.0, 6.0, 5.0]) == ["continue"] * 5
    assert judge_and_record(make_asha(), 1, [1.0, 2.0, 3.0, 4.0, 5.0]) == ["continue"] + ["stop"] * 4


def test_the_cut_is_the_worst_score_of_the_best_third_rounded_up_with_the_judged_trial_included():
    asha = make_asha()
    judge_and_record(asha, 1, [0.5, 0.1, 0.9, 0.3, 0.7, 0.2])
    judgement = asha.judge(1, "t9", 0.25)  # ranked: 0.1 0.2 0.25 | 0.3 0.5 0.7 0.9
    assert (judgement.action, judgement.cut, judgement.n) == ("continue", 0.25, 7)
    assert asha.judge(1, "t9", 0.31).cut == 0.3


def test_a_tie_with_the_cut_goes_on():
    assert judge_and_record(make_asha(), 1, [0.5, 0.5, 0.5, 0.5]) == ["continue"] * 4


def test_a_score_that_is_not_finite_never_goes_on_and_ranks_as_the_worst_finite_one():
    asha = make_asha()
    judge_and_record(asha, 1, [0.5, 0.6])
    for value in (math.nan, math.inf):
        assert asha.judge(1, "bad", value).action == "stop"
    asha.record(1, "bad", math.nan)
    assert asha.judge(1, "t9", 0.7).n == 4
    assert asha.judge(1, "t9", 0.7).cut == 0.6  # 0.5 0.6 | 0.7 and the failed one, which counts as 0.7


def test_a_rung_that_only_failed_trials_reached_stops_no_finite_one():
    asha = make_asha()
    asha.record(1, "bad", math.nan)
    assert asha.judge(1, "t1", 123.0).action == "continue"


def test_a_judgement_is_that_of_all_scores_at_the_rung_sorted_anew_also_where_one_was_recorded_before():
    generator, asha, scores = random.Random(0), make_asha(), {}
    for _ in range(300):
        trial = f"t{generator.randrange(100)}"
        score = generator.choice([generator.random(), round(generator.random(), 1), math.nan, math.inf])
        peers = {**scores, trial: score}.values()
        worst = max(filter(math.isfinite, peers), default=math.inf)
        ranked = sorted(peer if math.isfinite(peer) else worst for peer in peers)
        judgement = asha.judge(1, trial, score)
        assert (judgement.n, judgement.cut) == (len(peers), ranked[math.ceil(len(peers) / 3) - 1])
        if generator.random() < 0.8:
            asha.record(1, trial, score)
            scores[trial] = score
    assert list(map(repr, asha.recorded(1).items())) == list(map(repr, scores.items()))


def test_a_jump_past_rungs_is_judged_once_at_the_highest():
    asha = make_asha(max_epochs=30)
    assert asha.due_rung("t0", 5, of=30) == 3
    asha.record(3, "t0", 0.5)
    assert [asha.due_rung("t0", epoch, of=30) for epoch in (5, 6, 8)] == [None, None, None]
    assert asha.due_rung("t0", 9, of=30) == 9


@pytest.mark.parametrize(
    ("of", "due"),
    [(30, {1: 1, 3: 3, 9: 9, 27: 27}), (15, {1: 1, 2: 3, 5: 9, 14: 27}), (4, {1: 3, 2: 9}), (1, {})],
)
def test_a_rung_lies_at_the_same_share_of_every_length_and_none_at_its_end(of, due):
    asha, found = make_asha(max_epochs=30), {}
    for epoch in range(1, of + 1):
        rung = asha.due_rung("t0", epoch, of=of)
        if rung is not None:
            asha.record(rung, "t0", 0.5)
            found[epoch] = rung
    assert found == due


def test_out_of_range_numbers_are_refused_together():
    with pytest.raises(UserError) as refused:
        Asha(grace_epochs=0, reduction_factor=1, max_epochs=0)
    assert len(refused.value.problems) == 3


def test_with_random_curves_about_a_third_reaches_each_next_rung():
    import numpy as np

    generator = np.random.default_rng(0)
    asha = make_asha(max_epochs=27)
    reached = dict.fromkeys(asha.rungs, 0)
    for number in range(600):
        quality = generator.random()
        for rung in asha.rungs:
            reached[rung] += 1
            value = quality + 0.01 * generator.random()
            going_on = asha.judge(rung, f"t{number}", value).action == "continue"
            asha.record(rung, f"t{number}", value)
            if not going_on:
                break
    assert reached[1] == 600
    assert 180 <= reached[3] <= 230
    assert reached[9] <= 110
