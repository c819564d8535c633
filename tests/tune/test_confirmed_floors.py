"""What is confirmed stands beside the floors of the same folds: in tables, verdict, page, and what `retrain` says."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from tests.beetles import TARGETS
from tests.tune.plain_entries import encoded, read_plain
from trainable.data.task import beetles
from trainable.scoring.best_floor import best_floor, not_better_words
from trainable.training.trial_data import TrialData
from tune.command_line.model_options import RetrainOptions
from tune.confirming.floors import floors_of
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import Confirmed, confirmed_of
from tune.confirming.predicted import scored
from tune.confirming.runs import fold_data_folder
from tune.journal.entries import VerdictReached
from tune.journal.journal import FILE_NAME, read_entries
from tune.models.recipe import recipe_of
from tune.report.confirmation_text import confirmation_text
from tune.report_page.study_page import report_page
from tune.report_page.view import StudyView, view_of

FLOORS = {"constant", "domain_mean", "species_mean"}
LOW, HIGH = {"constant": {"score/all": 0.1}, "domain_mean": {"score/all": 0.2}}, {"constant": {"score/all": 9.0}}


@pytest.fixture
def confirmed(confirmed_study: Path) -> Confirmed:
    found = confirmed_of(read_entries(confirmed_study))
    assert found is not None
    return found


def test_they_are_scored_on_the_confirmations_events_as_its_configurations_are(confirmed, confirmed_study):
    held_out, constant = HeldOutFolds.load(confirmed_study, confirmed.folds), {}
    for fold in confirmed.folds:
        data = TrialData.load(fold_data_folder(confirmed_study / "data", fold))
        _, first = np.unique(data.event_ids[data.split.train], return_index=True)
        mean = data.labels[data.split.train][first].mean(axis=0)
        constant[fold] = [np.tile(mean, (len(data.split.id_) + len(data.split.ood), 1))]

    assert confirmed.floors.keys() == FLOORS
    assert all(of.keys() == confirmed.candidates[0].metrics.keys() for of in confirmed.floors.values())
    assert confirmed.floors["constant"] == pytest.approx(scored(held_out, constant).metrics, abs=1e-6)


def test_of_a_verdict_of_before_they_are_computed_where_its_folds_are_there_and_else_left_out(
    confirmed, confirmed_study, tmp_path
):
    values = {name: value for name, value in confirmed.to_dict().items() if name != "floors"}
    before = Confirmed.from_dict(values)
    older = replace(before, fresh_only=False)

    assert before.floors == {}
    assert floors_of(confirmed_study, before) == confirmed.floors
    assert floors_of(confirmed_study, older).keys() == FLOORS
    assert confirmed.n_left_out
    assert floors_of(confirmed_study, older) != confirmed.floors  # of all held-out events, as it was scored
    assert floors_of(tmp_path / "nothing", before) == {}
    assert "\nfloor" not in confirmation_text(before, beetles())


def test_the_table_has_a_row_for_each_from_better_to_worse(confirmed):
    lines = confirmation_text(confirmed, beetles()).splitlines()
    rows = [line.split()[1] for line in lines if line.startswith("floor ")]

    assert rows == sorted(FLOORS, key=lambda name: confirmed.floors[name]["score/all"])


class Cards(HTMLParser):
    """The figures at a page's head, each as its texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[list[str]] = []
        self._depth = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Sequence[object]) -> None:  # noqa: ARG002 (as HTMLParser calls it)
        if tag == "li":
            self._depth += 1
            self.found.append([])

    def handle_endtag(self, tag: str) -> None:
        self._depth -= tag == "li"

    def handle_data(self, data: str) -> None:
        if self._depth:
            self.found[-1].append(data)


def view_with(study: Path, floors: dict[str, dict[str, float]]) -> StudyView:
    entries = [
        replace(e, of=replace(e.of, result={**e.of.result, "floors": floors}))
        if isinstance(getattr(e, "of", None), VerdictReached)
        else e
        for e in read_entries(study)
    ]
    return view_of(study, entries, is_running=False)


def page_with(study: Path, floors: dict[str, dict[str, float]]) -> str:
    return report_page([view_with(study, floors)])


def test_the_page_lists_them_and_says_first_how_the_confirmed_one_stands_to_the_best(confirmed, confirmed_study):
    leader = confirmed.candidate(confirmed.leader)
    score = leader.metrics["score/all"]
    for floors, where, floor in ((LOW, "Above", 0.1), (HIGH, "Below", 9.0)):
        page = page_with(confirmed_study, floors)
        first, *others = Cards(page).found

        assert first[:2] == [f"{where} the lowest floor by", f"{abs(score - floor):.4f}"]
        assert first[2] == f"{leader.name}, where it was confirmed: {score:.4f}, floor {floor:.4f}"
        assert not any("lowest floor" in card[0] for card in others)
        after = page.partition(">Confirmation</h2>")[2]
        assert [f"floor: {name.replace('_', ' ')}" in after for name in FLOORS] == [name in floors for name in FLOORS]


def test_without_those_of_the_confirmation_the_page_says_that_its_number_is_the_searchs(confirmed_study):
    (card,) = [card for card in Cards(page_with(confirmed_study, {})).found if "lowest floor" in card[0]]

    assert card[2].endswith("in the search")


def test_several_studies_are_compared_by_the_floors_of_the_search_and_of_the_confirmation(confirmed, confirmed_study):
    first, unconfirmed = view_with(confirmed_study, LOW), replace(view_with(confirmed_study, LOW), confirmed=None)
    beside = re.findall(r"<tr>(.*?)</tr>", report_page([first, unconfirmed]).partition("</table>")[0], re.DOTALL)
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in beside]
    best, floor = first.standings.best().best_score, best_floor(first.standings.floors).score
    leader = confirmed.candidate(confirmed.leader).metrics["score/all"]

    assert rows[1][3:7] == ["best score", "lowest floor", "leader&#x27;s score", "lowest floor"]
    assert rows[2][3:7] == [f"{best:.4f}", f"{floor:.4f}", f"{leader:.4f}", "0.1000"]
    assert rows[3][3:7] == [f"{best:.4f}", f"{floor:.4f}", "–", "–"]


@pytest.mark.seconds
@pytest.mark.parametrize(("floors", "is_told"), [(LOW, True), (HIGH, False)])
def test_retrain_says_in_one_line_that_a_model_is_not_better_than_the_best(
    cli, retrained, confirmed_study, confirmed, demo_cache, tmp_path, floors, is_told
):
    study = tmp_path / "study"
    shutil.copytree(confirmed_study, study)
    entries = read_plain(study)
    for entry in entries:
        if entry.get("of", {}).get("event") == "verdict":
            entry["of"]["result"]["floors"] = floors
    (study / FILE_NAME).write_bytes(b"".join(map(encoded, entries)))
    words = ["--workers", 1, "--cache", demo_cache, "--out", retrained, "--no-register"]
    ended, as_json = cli("retrain", study, *words), cli("retrain", study, *words, "--json")
    winner = confirmed.candidate(confirmed.winner)
    line = f"{winner.name} ({winner.metrics['score/all']:.3f}) is not better than the floor constant (0.100)"

    assert (ended.status, as_json.status) == (0, 0)
    assert as_json.result["floors"] == floors
    assert f"the best floor there, constant, {floors['constant']['score/all']:.3f}" in ended.stdout
    assert (line in ended.stdout, f"warning: {line}" in ended.stderr) == (is_told, is_told)


def test_a_model_stands_beside_those_of_the_events_that_its_scores_are_of(confirmed, confirmed_study):
    entries = read_entries(confirmed_study)
    of = {name: recipe_of(RetrainOptions(study=confirmed_study, trial=name), entries).floors for name in ("t0000",)}
    unconfirmed = next(
        name for name in ("t0000", "t0001", "t0002", "t0003") if confirmed.candidate(name) is None
    )  # two of four were confirmed, and the default
    of |= {unconfirmed: recipe_of(RetrainOptions(study=confirmed_study, trial=unconfirmed), entries).floors}

    assert of["t0000"] == confirmed.floors
    assert of[unconfirmed].keys() == FLOORS
    assert of[unconfirmed] != confirmed.floors
    assert all(f"r2_ood/{target}" in confirmed.floors["constant"] for target in TARGETS)


def test_who_is_as_bad_as_the_best_floor_is_named_and_without_a_finite_one_nobody_is():
    floors = {"constant": {"score/all": 0.7}, "domain_mean": {"score/all": 0.65}, "odd": {"score/all": float("nan")}}

    assert best_floor(floors) == ("domain_mean", 0.65)
    assert not_better_words({"a": 0.64}, floors) == ""
    assert not_better_words({"a": 0.65, "b": 0.64}, floors) == (
        "a (0.650) is not better than the floor domain_mean (0.650), which sees no image"
    )
    assert not_better_words({"a": 0.7, "b": 0.8}, floors).startswith("a (0.700) and b (0.800) are not better than")
    assert not_better_words({"a": 0.9}, {"odd": floors["odd"], "none": {}}) == ""
