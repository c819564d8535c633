"""A study that was searched, resumed and confirmed before entries had types is read as it was.

`study_of_before/` holds its journal and the evidence of its confirmation, as the code of then wrote them.
"""

import json
import shutil
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import make_entry, plain
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.confirming.outcome import confirmed_of, out_of_fold_of
from tune.confirming.runs import Confirmation
from tune.decisions.differences import differences
from tune.decisions.standings import Standings
from tune.journal.entries import OtherEntry, UnusableEntry, study_of
from tune.journal.journal import FILE_NAME, Journal, read_entries
from tune.journal.lines import encode_entry, read_back
from tune.study.kept_options import kept_options
from tune.study.search_request import search_request
from tune.tracking.mlflow_runs import desired_runs

BEFORE = Path(__file__).parent / "study_of_before"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return Path(shutil.copytree(BEFORE, tmp_path / "beetles"))


def test_every_line_is_of_a_known_kind_and_would_be_written_the_same_to_the_byte():
    for line in (BEFORE / FILE_NAME).read_bytes().splitlines(keepends=True):
        found = read_back(line)
        assert not isinstance(found, OtherEntry | UnusableEntry)
        assert encode_entry(found) == line
        values = json.loads(line)
        del values["crc"]
        assert plain(found) == values


def test_it_stands_as_it_did_and_every_decision_follows():
    entries = read_entries(BEFORE)
    standings, confirmation = Standings.of(entries), Confirmation.replay(entries)

    assert (standings.n_told, standings.n_wanted, standings.end_reason) == (4, 4, "finished")
    assert (confirmation.n_ended, confirmation.n_wanted) == (4, 4)
    assert differences(SearchSpace.from_dict(study_of(entries).header["space"]), entries) == []


def test_its_verdict_rests_on_evidence_that_is_read():
    confirmed = confirmed_of(read_entries(BEFORE))

    assert confirmed is not None
    assert {candidate.name for candidate in confirmed.candidates} == {"default", "ft_did"}
    for candidate in confirmed.candidates:
        assert out_of_fold_of(BEFORE, confirmed, candidate).metrics()["score/all"] == pytest.approx(
            candidate.metrics["score/all"]
        )


def test_it_is_gone_on_with_behind_what_is_there(study):
    before = (study / FILE_NAME).read_bytes()
    with Journal.open(study, say=pytest.fail) as journal:
        journal.append(make_entry("session", n_trials=5))
    after = (study / FILE_NAME).read_bytes()

    assert after.startswith(before)
    assert after != before
    assert Standings.of(read_entries(study)).n_wanted == 5


def test_it_ends_no_trial_for_want_of_patience_and_is_planned_so(study):
    assert kept_options(read_entries(study))["patience"] == 0
    request = search_request(Given(SearchOptions, {"resume": study}))
    assert request.options.patience_epochs == 0


@pytest.mark.seconds
def test_its_tiny_backbone_is_still_the_one_with_random_weights(cli, demo_cache, study, tracking_uri):
    assert demo_cache.is_dir()
    entries = read_entries(study)
    assert study_of(entries).header["options"]["backbone"] == "tiny"
    assert kept_options(entries)["backbone"] == "tiny:random"

    more = ("search", "--resume", study, "--local", "--no-confirm", "--trials", 5, "--tracking-uri", tracking_uri)
    other = cli(*more, "--backbone", "tiny")
    assert other.status == 2
    assert "`--backbone` must stay what it was when the study began" in other.stderr
    gone_on = cli(*more)
    assert gone_on.status == 0, gone_on.stderr
    assert Standings.of(read_entries(study)).n_told == 5


@pytest.mark.seconds
def test_status_replay_sync_and_resume_take_it(cli, demo_cache, study, tracking_uri):
    assert demo_cache.is_dir()
    assert cli("status", study, "--json").result["n_completed"] >= 1
    assert cli("replay", study).status == 0
    assert cli("sync", study, "--tracking-uri", tracking_uri).status == 0
    again = cli("search", "--resume", study, "--local", "--tracking-uri", tracking_uri)
    assert again.status == 0, again.stderr
    assert set(desired_runs(read_entries(study), running=False)) == {
        "",
        "confirmation",
        *(f"{k}000{n}" for k in "tc" for n in range(4)),
    }
