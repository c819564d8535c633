"""Our TPE on a matrix of trials against Optuna's own sampler on its own study."""

import math
import random
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import TPESampler
from optuna.samplers._tpe.parzen_estimator import _ParzenEstimator
from optuna.samplers._tpe.sampler import default_weights
from optuna.trial import TrialState, create_trial

from tune.decisions.kernels import log_shares, merged, numeric_kernels
from tune.decisions.observations import Observations
from tune.decisions.sampler import without_notices
from tune.decisions.tpe import _PARAMETERS, ARGUMENTS, MAX_KERNELS, Tpe

PARAMETERS: dict[str, BaseDistribution] = {
    "rate": FloatDistribution(1e-5, 3e-3, log=True),
    "share": FloatDistribution(0.0, 0.5),
    "grid": FloatDistribution(0.0, 1.0, step=0.25),
    "rank": IntDistribution(4, 256, log=True),
    "blocks": IntDistribution(1, 6),
    "batch": IntDistribution(32, 128, step=32),
    "kind": CategoricalDistribution(["full", "lora", "dora"]),
}


class Twins:
    """The same trials told to Optuna's study and to our observations."""

    def __init__(self) -> None:
        with without_notices():
            self.study = optuna.create_study(direction="minimize")
        self.observations = Observations()

    def add(self, values: dict[str, Any], state: TrialState, value: float | None, scores: dict[int, float]) -> None:
        distributions = {name: PARAMETERS[name] for name in values}
        self.study.add_trial(
            create_trial(
                state=state, value=value, params=values, distributions=distributions, intermediate_values=scores
            )
        )
        row = self.observations.begin(values, distributions)
        if state == TrialState.COMPLETE and value is not None:
            self.observations.complete(row, value)
        elif state == TrialState.PRUNED:
            self.observations.prune(row, scores)
        elif state == TrialState.FAIL:
            self.observations.fail(row, ranks_last=False)

    def proposals(self, seed: int) -> tuple[list[Any], list[Any]]:
        with without_notices():
            theirs = TPESampler(**ARGUMENTS, seed=seed)
            study = optuna.load_study(study_name=self.study.study_name, storage=self.study._storage)  # caches nothing
        ours = Tpe(self.observations, ARGUMENTS, seed=seed)
        here = create_trial(state=TrialState.RUNNING)
        return (
            [theirs.sample_independent(study, here, name, space) for name, space in PARAMETERS.items()],
            [ours.draw(name, space) for name, space in PARAMETERS.items()],
        )


def random_values(draw: random.Random) -> dict[str, Any]:
    values: dict[str, Any] = {
        "rate": 10 ** draw.uniform(-5, math.log10(3e-3)), "share": draw.uniform(0, 0.5),
        "grid": draw.randrange(5) / 4, "rank": draw.randint(4, 256), "blocks": draw.randint(1, 6),
        "batch": 32 * draw.randint(1, 4), "kind": draw.choice(["full", "lora", "dora"]),
    }  # fmt: skip
    for name in draw.sample(sorted(values), draw.randrange(3)):  # conditional parameters
        del values[name]
    return values


def add_random(twins: Twins, draw: random.Random) -> None:
    state = draw.choices([TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING, TrialState.FAIL], [4, 6, 1, 1])[0]
    value = round(draw.random(), 2) if state in (TrialState.COMPLETE, TrialState.PRUNED) else None  # with ties
    scores = {epoch: round(draw.random(), 2) for epoch in range(1, draw.randrange(1, 6))}
    twins.add(random_values(draw), state, value, scores)


@pytest.mark.parametrize("n_trials", [0, 9, 12, 40, 150, 300])
def test_proposals_equal_those_of_optunas_sampler(n_trials):
    draw, twins = random.Random(n_trials), Twins()
    for _ in range(n_trials):
        add_random(twins, draw)
    for seed in range(4):
        theirs, ours = twins.proposals(seed)
        assert ours == theirs
        assert [type(value) for value in ours] == [type(value) for value in theirs]


def test_proposals_stay_equal_while_trials_begin_and_end():
    draw, twins = random.Random(1), Twins()
    for _ in range(60):
        add_random(twins, draw)
        theirs, ours = twins.proposals(3)
        assert ours == theirs


def test_a_trial_that_failed_for_its_configuration_keeps_proposals_away_from_it():
    def kinds(*, ranks_last: bool) -> list[str]:
        observations = Observations()
        for number in range(60):
            kind = ("full", "lora", "dora")[number % 3]
            row = observations.begin({"kind": kind}, {"kind": PARAMETERS["kind"]})
            if kind == "dora":
                observations.fail(row, ranks_last=ranks_last)
            else:
                observations.complete(row, 0.5 + number / 1000)
        return [Tpe(observations, ARGUMENTS, seed=seed).draw("kind", PARAMETERS["kind"]) for seed in range(60)]

    assert kinds(ranks_last=True).count("dora") < kinds(ranks_last=False).count("dora")
    assert kinds(ranks_last=True).count("dora") == 0


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "kind"])
def test_numbers_of_many_trials_share_kernels_and_their_density_stays_the_same(name):
    draw, distribution = random.Random(0), PARAMETERS[name]
    drawn = [random_values(draw).get(name) for _ in range(2 * MAX_KERNELS)]
    values = np.array([value for value in drawn if value is not None], dtype=np.float64)
    at = np.unique(values)[::7]
    alike = np.ones(len(values))  # which of equal values is an outer one is not said: all weigh the same here
    every = _ParzenEstimator({name: values}, {name: distribution}, _PARAMETERS, alike)
    found = merged(values, alike, distribution).log_pdf(at)
    np.testing.assert_allclose(found, numeric_kernels(every).log_pdf(at), atol=0.002)


@pytest.mark.parametrize("name", [name for name in PARAMETERS if name != "kind"])
def test_a_density_is_that_of_optuna_up_to_a_summand(name):
    draw, distribution = random.Random(1), PARAMETERS[name]
    values = np.array([v for _ in range(60) if (v := random_values(draw).get(name)) is not None], dtype=np.float64)
    density = _ParzenEstimator({name: values}, {name: distribution}, _PARAMETERS)
    ours, theirs = numeric_kernels(density).log_pdf(values), density.log_pdf({name: values})
    constant = ours[0] - theirs[0]
    np.testing.assert_allclose(ours - theirs, constant, atol=1e-9)


def test_choices_of_many_trials_are_counted_and_their_shares_stay_the_same():
    draw, distribution = random.Random(0), PARAMETERS["kind"]
    values = np.array([draw.choices(range(3), [5, 3, 1])[0] for _ in range(2 * MAX_KERNELS)], dtype=np.float64)
    at = {"kind": np.arange(3.0)}
    found = log_shares(values, default_weights(len(values)), 3, at["kind"])
    every = _ParzenEstimator({"kind": values}, {"kind": distribution}, _PARAMETERS)
    np.testing.assert_allclose(found, every.log_pdf(at), atol=1e-9)


def test_a_search_of_more_trials_than_kernels_still_finds_where_the_good_ones_lie():
    draw, observations = random.Random(0), Observations()
    for _ in range(2 * MAX_KERNELS):
        values = {"share": draw.uniform(0, 0.5), "kind": draw.choice(["full", "lora", "dora"])}
        row = observations.begin(values, {name: PARAMETERS[name] for name in values})
        observations.complete(row, abs(values["share"] - 0.2) + (values["kind"] != "lora"))
    drawn = [Tpe(observations, ARGUMENTS, seed=seed) for seed in range(40)]
    assert np.median([abs(tpe.draw("share", PARAMETERS["share"]) - 0.2) for tpe in drawn]) < 0.02
    assert [tpe.draw("kind", PARAMETERS["kind"]) for tpe in drawn].count("lora") >= 35
