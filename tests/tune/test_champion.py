"""Who is champion: the rules, without MLflow."""

import json

import numpy as np
import pytest

from trainable.errors import UserError
from trainable.scoring.crps import crps_normal
from trainable.scoring.out_of_fold import OutOfFold, PartForecasts
from tune.models.champion import SAME, decide_champion, read_evidence

N_EVENTS = 120


def evidence_of(error: float, **values):
    """Forecasts of equal events whose errors have this SD."""
    rng = np.random.default_rng(0)
    labels, noise = rng.normal(size=(2, N_EVENTS, 3))
    mu = labels + error * noise
    part = PartForecasts(
        folds=np.zeros(N_EVENTS, dtype=np.int64),
        event_ids=np.arange(N_EVENTS),
        sites=np.array([f"S{i % 12}" for i in range(N_EVENTS)]),
        domains=np.array([str(i % 6) for i in range(N_EVENTS)]),
        labels=labels,
        mu=mu[None],
        crps=crps_normal(labels, mu, np.full_like(mu, max(error, 0.01))),
    )
    same = {"data_fingerprint": "d" * 64, "holdout": "both", "folds": [1, 2], "seeds": [1], "epochs": 20}
    return same | {"forecasts": OutOfFold(parts={"id": part}).to_dict()} | values


def decide(**given):
    defaults = {
        "evidence": evidence_of(0.5), "is_winner": True, "champion": "version 3",
        "champion_evidence": evidence_of(1.0), "force": False,
    }  # fmt: skip
    return decide_champion(**(defaults | given))


def test_the_first_model_is_champion_if_its_confirmation_decided_for_it():
    first = {"champion": None, "champion_evidence": None}

    assert decide(**first).moves
    assert not decide(**first, is_winner=False).moves
    assert decide(**first, is_winner=False).reason == "its confirmation decided for another configuration"
    assert decide(**first, is_winner=False, evidence=None).reason == "it was not confirmed"


def test_a_win_beyond_noise_takes_the_alias_and_less_does_not():
    won, lost, equal = decide(), decide(evidence=evidence_of(1.5)), decide(evidence=evidence_of(1.0))

    assert won.moves
    assert won.reason.startswith("it beats version 3 by 0.")
    assert (lost.moves, equal.moves) == (False, False)
    assert "does not beat version 3 beyond noise: worse by 0." in lost.reason


@pytest.mark.parametrize("name", SAME)
def test_nothing_is_compared_across_other_data_folds_seeds_or_lengths(name):
    other = {"data_fingerprint": "e" * 64, "holdout": "site", "folds": [2, 3], "seeds": [2], "epochs": 40}
    decision = decide(champion_evidence=evidence_of(1.0, **{name: other[name]}))

    assert not decision.moves
    assert name.replace("_", " ") in decision.reason
    assert "against" in decision.reason


def test_other_events_under_equal_names_are_not_compared():
    smaller = evidence_of(1.0)
    for values in smaller["forecasts"]["id"]:
        if values != "mu":
            smaller["forecasts"]["id"][values] = smaller["forecasts"]["id"][values][:-1]
    smaller["forecasts"]["id"]["mu"] = [mu[:-1] for mu in smaller["forecasts"]["id"]["mu"]]
    decision = decide(champion_evidence=smaller)

    assert (decision.moves, "cannot be compared" in decision.reason) == (False, True)


@pytest.mark.parametrize("missing", ["evidence", "champion_evidence"])
def test_a_model_that_was_not_confirmed_neither_wins_nor_loses(missing):
    decision = decide(**{missing: None})

    assert (decision.moves, "not confirmed" in decision.reason) == (False, True)


def test_force_moves_it_and_says_so():
    forced, needless = decide(evidence=evidence_of(1.5), force=True), decide(force=True)

    assert forced.moves
    assert forced.reason.startswith("forced, although it does not beat version 3")
    assert needless.reason.startswith("it beats")


@pytest.mark.parametrize("content", [b"", b"[]", b'{"folds": [1]}', b"\xff", b'{"checksum": "0"}', b"[" * 200_000])
def test_damaged_evidence_is_one_clear_line(content):
    with pytest.raises(UserError, match=r"confirmation\.json of models:/x/1 must hold its forecasts"):
        read_evidence(content, of="models:/x/1")


@pytest.mark.parametrize("forecasts", [None, [], "x", {"id": None}, {"id": {"sites": ["a"]}}])
def test_evidence_without_forecasts_is_one_clear_line(forecasts):
    with pytest.raises(UserError, match=r"confirmation\.json of models:/x/1 must hold its forecasts"):
        read_evidence(json.dumps(evidence_of(0.5) | {"forecasts": forecasts}).encode(), of="models:/x/1")
