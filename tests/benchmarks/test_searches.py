"""What searches find is held against the default on folds that had no say in it."""

import json

import numpy as np
import pytest

from benchmarks.searches import RESULTS, Searched, kept, losses_of, score_of, table
from trainable.scoring.out_of_fold import OutOfFold, PartForecasts


def made(losses: dict[str, dict[int, float]], *, best: str = "t0001") -> Searched:
    """losses: candidate -> fold -> what it loses on ID and OOD events alike."""
    return Searched(
        space="full", data="demo:600:4", demo=1, trials=24, epochs=20, best=best, is_win=False, n_epochs=(200, 80),
        losses={
            name: {str(fold): {"id": (3, (loss,) * 3), "ood": (2, (loss,) * 3)} for fold, loss in folds.items()}
            for name, folds in losses.items()
        },
    )  # fmt: skip


ONE = made(
    {
        "t0001": {1: 0.5, 2: 0.5, 3: 0.5},
        "t0002": {1: 0.1, 2: 0.6, 3: 0.6},
        "ensemble": {1: 0.55, 2: 0.55, 3: 0.55},
        "default": {1: 0.6, 2: 0.6, 3: 0.6},
    }
)


def test_who_leads_a_fold_is_said_by_the_others_alone():
    assert [ONE.leader(fold) for fold in ONE.folds] == ["t0001", "t0002", "t0002"]
    assert ONE.gain(ONE.leader) == pytest.approx(0.6 - (0.5 + 0.6 + 0.6) / 3)  # and not 0.6 - (0.1 + 0.6 + 0.6) / 3


def test_gains_are_those_of_the_pooled_score():
    part = PartForecasts(
        folds=np.array([1, 1, 2]),
        event_ids=np.array([1, 2, 3]),
        sites=np.array(["A", "A", "B"]),
        domains=np.array(["1", "1", "2"]),
        labels=np.zeros((3, 3)),
        mu=np.zeros((1, 3, 3)),
        crps=np.array([[0.1, 0.2, 0.3], [0.3, 0.2, 0.1], [0.7, 0.8, 0.9]]),
    )
    forecasts = OutOfFold(parts={"id": part, "ood": part})
    assert score_of(list(losses_of(forecasts).values())) == pytest.approx(forecasts.metrics()["score/all"])
    assert ONE.gain(lambda _: "t0001", parts=("id",)) == pytest.approx(0.1)


def test_a_search_is_kept_in_a_line_and_told_in_a_table():
    assert Searched.from_line(ONE.to_line()).gain(ONE.leader) == ONE.gain(ONE.leader)
    rows = [row.split(" | ") for row in table([ONE, ONE]).splitlines()[2:]]
    assert [row[3] for row in rows] == ["the search's best", "the leader of the other folds", "the ensemble"]
    assert [row[4] for row in rows][0::2] == ["**+100.0 ± 0.0**", "**+50.0 ± 0.0**"]
    assert rows[0][7:] == ["100% of 2", "200 + 80 |"]


def test_the_page_holds_the_table_of_what_is_kept():
    page = RESULTS.with_name("SEARCHES.md").read_text(encoding="utf-8")
    assert table(list(kept())) in page
    assert all(json.loads(line)["losses"] for line in RESULTS.read_text(encoding="utf-8").splitlines())
