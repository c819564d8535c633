"""Searches that begin in the same second, none of them named: each has a folder of its own."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from tune.cluster.folder_marks import marked
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.extraction.request import Features
from tune.report.console import Console
from tune.study.new_folder import claim_folder
from tune.study.search_request import SearchRequest, search_request
from tune.study.study import Study, open_study
from tune.study.study_data import load_study_data


def test_of_many_that_begin_at_once_each_has_the_next_free_name(tmp_path):
    wanted = tmp_path / "studies" / "full-20261125-190000"
    with ThreadPoolExecutor(8) as pool:
        folders = list(pool.map(lambda _: claim_folder(wanted), range(8)))

    assert sorted(folder.name for folder in folders) == sorted(
        [wanted.name, *(f"{wanted.name}-{number}" for number in range(2, 9))]
    )


def test_a_claimed_folder_is_not_taken_for_an_empty_one_by_a_probe_of_the_cluster(tmp_path):
    wanted = tmp_path / "studies" / "full"
    with marked(wanted, ".probe"):
        claimed = claim_folder(wanted)
    with marked(claimed, ".probe"):
        pass

    assert claimed.name == "full-2"
    assert claimed.is_dir()


def test_where_no_folder_can_be_made_it_is_told(tmp_path):
    (tmp_path / "studies").write_text("a file")

    with pytest.raises(UserError, match="must be writable"):
        claim_folder(tmp_path / "studies" / "full")


@pytest.mark.seconds
def test_two_unnamed_searches_of_one_second_are_two_studies(demo_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = Given(SearchOptions, {"data": "demo:120", "cache": demo_cache, "space": "smoke", "local": True})
    request = search_request(given)
    named = replace(request, is_named=True)

    with ExitStack() as both:
        first, second = (both.enter_context(opened(request)) for _ in range(2))
        with pytest.raises(UserError, match="one process at a time"), opened(named):
            pass

    assert (second.folder.name, second.study_id) == (f"{first.folder.name}-2", f"{first.study_id}-2")
    assert [read_plain(study.folder)[0]["study_id"] for study in (first, second)] == [first.study_id, second.study_id]


@contextmanager
def opened(request: SearchRequest) -> Iterator[Study]:
    data = load_study_data(request.options, request.options, Console(json=True))
    features = Features(
        path=Path("features"), taps=(), backbone_fingerprint="backbone", n_backbone_blocks=6, n_extracted=0, seconds=0.0
    )
    with open_study(request, data, features, "sqlite:///mlflow.db", lambda _: None, device="cpu") as study:
        yield study


def test_folder_of_an_unnamed_search_bears_its_space_and_time(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    request = search_request(Given(SearchOptions, {"space": "smoke"}))

    assert request.folder.parent == Path("studies")
    assert request.folder.name.startswith("smoke-20")
    assert not request.folder.exists()
