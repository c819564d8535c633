"""A search whose trials are scored by several folds together, from its command to its verdict."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.tune.plain_entries import read_plain
from trainable.data.specimens import load_specimens
from trainable.errors import UserError
from trainable.scoring.folds_scorer import FoldsScorer
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.best_forecasts import best_forecasts
from trainable.training.trial_data import TrialData
from tune.cli import parse_command
from tune.command_line.options import SearchOptions
from tune.confirming.held_out import HeldOutFolds
from tune.confirming.outcome import confirmed_of
from tune.journal.journal import read_entries
from tune.study.few_trained import few_trained
from tune.study.search_request import search_request

LINES = {
    "--train-each-fold": ", fold 1: 100 of 120 specimens train; held out are 20 of unseen domains (OOD)",
    "at once": ", 2 folds from 0 on at once: 46 of 120 specimens train; held out are 28 of known domains (ID) and 46",
}

FEW = "warning: each trial trains on only "


@pytest.fixture(params=LINES)
def study(request, demo_search, tmp_path):
    way = [request.param] if request.param.startswith("--") else []
    ended = demo_search("--search-folds", 2, *way, "--json")
    assert ended.status == 0
    assert LINES[request.param] in ended.stderr
    assert FEW not in ended.stderr
    return tmp_path / "study"


@pytest.mark.seconds
def test_a_trials_score_is_that_of_the_events_of_both_folds(study):
    data = TrialData.load(study / "data")
    scorer = FoldsScorer([HeldOutScorer(data.labels, data.event_ids, data.site_ids, split) for split in data.splits])
    entries = read_plain(study)
    header = entries[0]["header"]
    told = {entry["trial"]: entry for entry in entries if entry["event"] == "tell" and entry["state"] == "completed"}
    reports = {(e["trial"], e["epoch"]): e["metrics"] for e in entries if e["event"] == "report"}
    trial, end = next(iter(told.items()))
    found = best_forecasts(study / "data", study / "checkpoints" / trial, max_seconds=600)

    assert [split.policy for split in data.splits] == (["both", "domain"] if len(data.splits) == 2 else ["both"])
    assert len(header["held_out_domains"]) == 4
    assert header["held_out_domains"] == [d for split in data.splits for d in split.held_out_domains]
    n_ood = sum(len(np.unique(data.event_ids[split.ood])) for split in data.splits)
    assert len(found.forecasts["ood"].labels) == n_ood
    means = np.concatenate([part.crps.mean(axis=0) for part in found.forecasts.values()])
    assert reports[trial, end["epoch"]]["score/all"] == pytest.approx(float(np.sqrt(np.mean(means**2))), rel=1e-6)
    assert set(reports[trial, 1]) >= set(scorer.metric_names())
    floors = next(entry["floors"] for entry in entries if entry["event"] == "floors")
    assert set(floors["constant"]) == set(scorer.metric_names())


@pytest.mark.seconds
def test_a_study_keeps_its_folds_and_goes_on_with_them(study, cli):
    with pytest.raises(UserError, match="`--search-folds` must stay 2 in the study"):
        search_request(parse_command(["search", "--resume", str(study), "--search-folds", "1"])[1])
    before = [entry for entry in read_plain(study) if entry["event"] == "report"]

    assert cli("search", "--local", "--no-confirm", "--resume", study, "--trials", 4, "--workers", 1).status == 0
    reports = [entry for entry in read_plain(study) if entry["event"] == "report"]
    assert reports[: len(before)] == before
    assert {entry["trial"] for entry in reports} == {"t0000", "t0001", "t0002", "t0003"}


@pytest.mark.seconds
def test_the_verdict_leaves_out_the_events_of_both_folds(study, cli):
    assert cli("confirm", study, "--local", "--workers", 1, "--confirm-folds", 2, "--confirm-top", 1).status == 0

    confirmed = confirmed_of(read_entries(study))
    data = TrialData.load(study / "data")
    chosen_by = {e for split in data.splits for rows in (split.id_, split.ood) for e in data.event_ids[rows].tolist()}
    assert confirmed.folds
    assert set(HeldOutFolds.load(study, confirmed.folds).seen.tolist()) == chosen_by


def test_a_search_that_trains_on_few_says_on_how_many_and_what_leaves_more(cli, demo_search, demo_cache, tmp_path):
    few = f"{FEW}21 of 120 specimens, without those of all 4 folds; "
    ways = "--train-each-fold (58 to 100, 4 trainings a trial) or --search-folds 2 (46)"
    ended = demo_search("--search-folds", 4, "--trials", 1)
    resumed = cli("search", "--local", "--no-confirm", "--resume", tmp_path / "study", "--workers", 1)

    assert f"{few}use {ways}" in ended.stderr
    assert f"{few}begin a new study with {ways}" in resumed.stderr
    frame = load_specimens("demo:120", cache_dir=demo_cache, n_processes=1).frame
    assert few_trained(frame, SearchOptions(), n_folds=4) is not None
    assert few_trained(frame, SearchOptions(train_each_fold=True), n_folds=4) is None
    assert few_trained(frame, SearchOptions(), n_folds=1) is None
    assert few_trained(frame, SearchOptions(holdout="domain"), n_folds=3) is None  # 41 %


def test_all_that_is_wrong_with_folds_is_said_at_once(cli, demo_search, demo_cache, tmp_path):
    wrong = [
        "error: `0 <= --fold <= 4` must hold for --holdout both on this data, but got 9",
        "error: `--search-folds <= 5` must hold for --holdout both on this data, but got 6",
        "error: `--confirm-folds <= 5` must hold for --holdout both on this data, but got 7",
    ]
    words = ["--search-folds", 6, "--fold", 9, "--confirm-folds", 7]
    ended = cli("search", "--local", "--data", "demo:120", "--cache", demo_cache, "--study", tmp_path / "s", *words)

    assert ended.status == 2
    assert ended.stderr.splitlines()[-3:] == wrong
    assert demo_search(*words).stderr.splitlines()[-2:] == wrong[:2]  # nothing is confirmed


def test_a_study_of_before_has_one_fold_and_ran_its_variants_in_full(tmp_path):
    study = shutil.copytree(Path(__file__).parent / "study_of_before", tmp_path / "beetles")
    request = search_request(parse_command(["search", "--resume", str(study)])[1])

    options = request.options
    assert (options.search_folds, options.train_each_fold, options.variants_in_full) == (1, True, True)
