"""A study as a page: whatever state it is in, of any size, whole in itself."""

from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import yaml

from search_spaces.space import read_variant
from tests.beetles import TARGETS
from tests.tune.made_study import made_study, write_study
from trainable.data.task import beetles
from tune.confirming.outcome import Confirmed
from tune.decisions.standings import Standings
from tune.journal.entries import FloorsMeasured, SessionBegun, TrialAsked, TrialEnqueued, VerdictReached
from tune.journal.journal import read_entries
from tune.report.confirmation_text import confirmation_text
from tune.report_page.importance import MAX_TRIALS, importances
from tune.report_page.study_page import report_page
from tune.report_page.view import MAX_DRAWN, view_of

PLACE = Path("study")


class Page(HTMLParser):
    """What a browser would see: elements, and the text in them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(self.words)

    def figures(self) -> list[str | None]:
        return [attributes.get("aria-label") for tag, attributes in self.elements if tag == "svg"]


def page_of(entries: list[Any], *, is_running: bool = False) -> Page:
    return Page(report_page([view_of(PLACE, entries, is_running=is_running)]))


def links(page: Page) -> Iterator[str]:
    for tag, attributes in page.elements:
        assert tag not in ("script", "link", "iframe", "object", "img"), tag
        yield from (value or "" for name, value in attributes.items() if name in ("src", "href", "xlink:href", "style"))


@pytest.mark.seconds
def test_a_finished_study_is_one_file_that_asks_for_nothing_else(cli, finished_study, tmp_path):
    file = tmp_path / "report.html"
    outcome = cli("report", finished_study, "--output", file)
    text = file.read_text(encoding="utf-8")
    page = Page(text)
    best = Standings.of(read_entries(finished_study)).best()

    assert (outcome.status, outcome.stdout) == (0, f"wrote {file}\n")
    assert list(links(page)) == []
    assert "url(" not in text
    assert "://" not in text
    assert f"{best.best_score:.4f}" in page.text
    assert "floor: constant" in page.text
    for title in ("Best score over epochs", "Best score over time", "Learning curves", "Parameters and score"):
        assert any((name or "").startswith(title) for name in page.figures()), title


def test_every_figure_has_a_name_for_those_who_cannot_see_it():
    figures = page_of(made_study(60)).figures()
    assert len(figures) == 10  # two of progress, curves, coordinates, importance, four slices, map
    assert all(figures)
    assert len(set(figures)) == len(figures)


@pytest.mark.parametrize(("n", "ends"), [(0, False), (0, True), (1, False), (1, True), (3, True), (4, False)])
@pytest.mark.parametrize("is_running", [True, False])
def test_a_study_that_is_empty_runs_or_was_cut_off_has_its_page(n, ends, is_running):
    page = page_of(made_study(n, ends=ends), is_running=is_running)
    state = "finished" if ends else "running" if is_running else "cut off"
    assert f"State: {state}" in page.text
    assert "not confirmed yet" in page.text


def test_three_thousand_trials_are_drawn_in_part_and_stay_light():
    text = report_page([view_of(PLACE, made_study(3000), is_running=False)])
    assert len(text.encode()) < 2_000_000
    assert f"{MAX_DRAWN} of 3000 trials are drawn" in text
    assert f"of many, {MAX_TRIALS} evenly over the ranking" in text


def test_the_parameter_that_makes_the_score_is_the_most_important_beyond_doubt():
    first, second, *_ = importances(view_of(PLACE, made_study(200), is_running=False))
    assert first.varied.label == "lr"
    assert first.low <= first.share <= first.high
    assert first.low > second.high


def test_what_a_study_does_not_know_of_itself_is_left_out_of_its_page():
    first, *entries = made_study(3)
    page = page_of([replace(first, header={**first.header, "git_commit": None}), *entries])

    assert "None" not in page.words
    assert "commit" not in page.words


def test_a_best_score_above_every_floor_is_said_to_be_above_it():
    first, *entries = made_study(3)
    low = [
        replace(entry, floors={"constant": {"score/all": 0.1}}) if isinstance(entry, FloorsMeasured) else entry
        for entry in entries
    ]

    assert "Above the lowest floor by" in page_of([first, *low]).text
    assert "Below the lowest floor by" in page_of([first, *entries]).text


def test_the_command_that_makes_a_study_anew_is_that_of_all_its_sessions():
    first, floors, session, *others = made_study(28)
    *others, end = others
    given = {"trials": 30, "target_score": 0.5}
    more = [end, replace(session, n_trials=30, given=given), replace(session, n_trials=5, given={"trials": 5}), end]
    study = [first, floors, replace(session, n_trials=12), *others, *more]
    words = next(words for words in page_of(study).words if "sentinel-tune search" in words).splitlines()

    search = "sentinel-tune search --data demo:120 --space smoke --trials 28 --target-score 0.5 --seed 0"
    assert words == [f"{search} --local", "sentinel-tune replay study"]
    on_ray = [replace(e, executor="ray") if isinstance(e, SessionBegun) else e for e in study]
    assert f"{search}\n" in " ".join(page_of(on_ray).words)


@pytest.mark.parametrize("n_sessions", [1, 2])
def test_a_time_budget_is_in_the_command_where_one_session_made_the_study(n_sessions):
    first, floors, session, *others = made_study(28)
    given = {"trials": 500, "time_budget": 3600.0}
    sessions = [replace(session, n_trials=500, given=given)] * n_sessions
    page = page_of([first, floors, *sessions, *others])
    command = next(words for words in page.words if "sentinel-tune search" in words)

    assert ("--time-budget 3600" in command) == (n_sessions == 1)
    assert ("--trials 500 " in command, "--trials 28 " in command) == (n_sessions == 1, n_sessions == 2)
    assert ("which is one session's, since 2 sessions made the study" in page.text) == (n_sessions == 2)


def test_a_study_with_enqueued_trials_says_that_its_command_lacks_them():
    assert "enqueue" not in page_of(made_study(4)).text
    entries = made_study(4)
    (asked,) = [e for e in entries if isinstance(e, TrialAsked) and e.number == 2]
    enqueued = [TrialEnqueued(request="a", values=asked.values or {}), replace(asked, origin="enqueued")]
    at = entries.index(asked)
    entries[at : at + 1] = enqueued
    header = replace(entries[0], header={**entries[0].header, "n_trials": 3})
    session = replace(entries[2], n_trials=3)
    text = page_of([header, entries[1], session, *entries[3:]]).text

    assert "--trials 3 " in text
    assert "1 configuration that a user enqueued (t0002)" in text


def test_why_trials_failed_is_told_as_text_and_not_as_markup():
    text = report_page([view_of(PLACE, made_study(60), is_running=False)])
    assert "the &lt;GPU&gt; is lost" in text
    assert "<GPU>" not in text


@pytest.mark.seconds
def test_the_winner_can_be_copied_into_a_variants_file(finished_study, tmp_path):
    entries = read_entries(finished_study)
    page = page_of(entries)
    text = next(words for words in page.words if words.startswith("about: "))
    (tmp_path / "winner.yaml").write_text(text, encoding="utf-8")
    best = Standings.of(entries).best()

    assert yaml.safe_load(text)["about"] == f"{best.trial_id} of the study beetles"
    assert read_variant(tmp_path / "winner.yaml").config.to_dict() == best.config


def test_of_an_ensemble_that_won_every_member_can_be_copied(confirmed_study):
    entries = read_entries(confirmed_study)
    (at, verdict) = next(
        (at, e.of) for at, e in enumerate(entries) if isinstance(getattr(e, "of", None), VerdictReached)
    )
    result = dict(verdict.result, winner="ensemble", leader="ensemble", is_win=True)
    entries[at] = replace(entries[at], of=replace(verdict, result=result))
    texts = [yaml.safe_load(words) for words in page_of(entries).words if words.startswith("about: ")]
    members = next(c["members"] for c in result["candidates"] if c["name"] == "ensemble")

    assert [text["about"].split()[0] for text in texts] == [
        c["name"] for c in result["candidates"] if c["name"] in members
    ]
    assert all(text["epochs"] == 3 and text["config"] for text in texts)


def test_what_an_ensemble_is_made_of_is_said_as_in_the_terminal(confirmed_study):
    entries = read_entries(confirmed_study)
    (at, verdict) = next(
        (at, e.of) for at, e in enumerate(entries) if isinstance(getattr(e, "of", None), VerdictReached)
    )
    shares = {"floor_shares": {"domain_mean": 0.39}}
    of_all = [{**c, **(shares if c["members"] else {})} for c in verdict.result["candidates"]]
    result = dict(verdict.result, candidates=of_all)
    entries[at] = replace(entries[at], of=replace(verdict, result=result))
    members = ", ".join(next(c["members"] for c in of_all if c["members"]))

    of_known = "of known domains 39% floor domain_mean"
    wanted = f"ensemble: the mean of {members}; {of_known}; for each event, as other events chose"
    assert f"{wanted}." in page_of(entries).words
    assert wanted in confirmation_text(Confirmed.from_dict(result), beetles()).replace("\n  ", " ")


def test_a_confirmed_study_shows_verdict_pairs_and_errors_by_domain_and_site(cli, confirmed_study, tmp_path):
    file = tmp_path / "report.html"
    cli("report", confirmed_study, "--output", file)
    page = Page(file.read_text(encoding="utf-8"))
    confirmed = view_of(confirmed_study, read_entries(confirmed_study), is_running=False).confirmed

    assert f"Verdict: {confirmed.verdict}." in page.text
    assert any((name or "").startswith("Gains on the default") for name in page.figures())
    assert page.words.count("domain") == page.words.count("site") == 1
    assert all(page.words.count(target.removeprefix("SPEI_")) == 4 for target in TARGETS)


@pytest.mark.parametrize("n_seen", [0, 7])
def test_a_verdict_by_events_that_the_search_chose_by_is_warned_of(confirmed_study, n_seen):
    entries = [
        replace(e, of=replace(e.of, result=dict(e.of.result, n_seen=n_seen)))
        if isinstance(getattr(e, "of", None), VerdictReached)
        else e
        for e in read_entries(confirmed_study)
    ]

    assert ("The search chose by some of the events that judge here" in page_of(entries).text) == bool(n_seen)


def test_several_studies_stand_side_by_side_and_unlike_ones_are_warned_of(cli, finished_study, tmp_path):
    made = write_study(tmp_path / "made", made_study(12))
    file = tmp_path / "report.html"
    assert cli("report", finished_study, made, "--output", file).status == 0
    text = file.read_text(encoding="utf-8")

    assert "Studies beetles, made" in text
    assert "their scores are not comparable" in text
    alike = report_page([view_of(PLACE, made_study(5, study_id=name), is_running=False) for name in ("a", "b")])
    assert "not comparable" not in alike


def test_reports_of_two_studies_in_one_folder_lie_side_by_side(cli, tmp_path, monkeypatch):
    first, second = (write_study(tmp_path / name, made_study(3, study_id=name)) for name in ("first", "second"))
    monkeypatch.chdir(tmp_path)
    for studies in ([first], [second], [first, second]):
        assert cli("report", *studies).status == 0
    monkeypatch.chdir(first)
    assert cli("report", ".").status == 0

    written = sorted(str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.html"))
    assert written == ["first/report-first.html", "report-first-second.html", "report-first.html", "report-second.html"]
    assert "second" not in Page((tmp_path / "report-first.html").read_text(encoding="utf-8")).text
    many = [write_study(tmp_path / f"s{i}", made_study(1, study_id=f"s{i}")) for i in range(6)]
    assert cli("report", *many, "--json").result["report"] == "report-s0-s1-s2-s3-and-2-more.html"


def test_a_report_does_not_take_the_place_of_one_on_a_study_of_the_same_name_elsewhere(cli, tmp_path, monkeypatch):
    for place in ("one", "other"):
        (tmp_path / place).mkdir()
        write_study(tmp_path / place / "drought", made_study(3, study_id=f"drought of {place}"))
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "report-drought.html"
    for again in ("one/drought", tmp_path / "one" / "drought", "other/../one/drought"):
        assert cli("report", again).status == 0
    before = file.read_bytes()

    ended = cli("report", "other/drought")
    assert (ended.status, file.read_bytes()) == (2, before)
    assert ended.stderr == (
        "error: `--output` must be given, as report-drought.html is there and shows what is called so in another "
        "folder; give another file, or remove that one\n"
    )
    assert cli("report", "other/drought", "--output", file).status == 0
    assert "drought of other" in Page(file.read_text(encoding="utf-8")).text
    assert cli("report", "one/drought").status == 2


def test_a_report_of_an_earlier_version_is_replaced(cli, tmp_path, monkeypatch):
    study = write_study(tmp_path / "drought", made_study(3, study_id="drought"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "report-drought.html").write_text("<!DOCTYPE html>\n<html></html>\n")

    assert cli("report", study).status == 0
    assert "drought" in (tmp_path / "report-drought.html").read_text(encoding="utf-8")


def test_all_folders_without_a_study_are_named_and_nothing_is_written(cli, tmp_path):
    outcome = cli("report", tmp_path / "one", tmp_path / "two", "--output", tmp_path / "report.html")
    assert outcome.status == 2
    assert str(tmp_path / "one") in outcome.stderr
    assert str(tmp_path / "two") in outcome.stderr
    assert list(tmp_path.iterdir()) == []
