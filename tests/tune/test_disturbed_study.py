"""What others do to a study's files while it is searched: the journal stays the truth, its results the same."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tune.plain_entries import read_plain
from tune.journal.journal import FILE_NAME

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def search(processes, demo_cache, tracking_uri) -> Callable[[Path], Any]:
    """Start the search that made `finished_study`, in a process of its own, and wait for the end of a trial."""
    options = {
        "--data": "demo:120", "--space": "smoke", "--trials": 5, "--epochs": 3, "--workers": 1,
        "--cache": demo_cache, "--tracking-uri": tracking_uri,
    }  # fmt: skip

    def start(folder: Path) -> Any:
        words = [word for pair in options.items() for word in pair]
        process = processes.start("search", "--local", "--no-confirm", "--variants-in-full", *words, "--study", folder)
        journal, deadline = folder / FILE_NAME, time.monotonic() + 200
        while not (journal.exists() and '"tell"' in journal.read_text()) and time.monotonic() < deadline:
            time.sleep(0.01)
        return process

    return start


def scores(study: Path) -> dict[tuple[str, int], float]:
    reports = [entry for entry in read_plain(study) if entry["event"] == "report"]
    found = {(entry["trial"], entry["epoch"]): entry["metrics"]["score/all"] for entry in reports}
    assert len(found) == len(reports), "an epoch was reported twice"
    return found


def test_a_damaged_projection_is_written_anew_and_the_search_ends_as_if_nothing_were(
    search, processes, cli, finished_study, tmp_path
):
    study = tmp_path / "study"
    process = search(study)
    with (study / "optuna.log").open("ab") as file:
        file.write(b"garbage\n")
    ended = processes.wait(process)

    assert ended.status == 0, ended.stderr
    assert f"{study / 'optuna.log'} was damaged" in ended.stderr
    assert scores(study) == scores(finished_study)
    assert cli("replay", study).status == 0


def test_a_study_moved_while_it_is_searched_ends_in_order_and_goes_on_where_it_is(
    search, processes, cli, finished_study, tmp_path
):
    study, moved = tmp_path / "study", tmp_path / "moved"
    process = search(study)
    study.rename(moved)
    ended = processes.wait(process)

    assert ended.status == 2, ended.stderr
    assert f"was moved to {moved}" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert f"search --resume {moved} --local\n" in ended.stdout
    assert str(study) not in ended.stdout.partition("To go on:")[2]
    assert not study.exists(), "something was left under its old name"
    assert cli("search", "--resume", moved, "--local").status == 0
    assert scores(moved) == scores(finished_study)
