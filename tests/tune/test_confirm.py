"""`confirm` and the confirmation at the end of `search`, on real trials: resumable, tracked, part of the result."""

import shutil
import time
from pathlib import Path

import mlflow
import pytest

from tests.tune.plain_entries import entries_of, read_plain
from trainable.checksums import without_checksum
from trainable.errors import UserError
from tune.command_line.options import SearchOptions
from tune.confirming.outcome import confirmed_of
from tune.confirming.runs import Confirmation
from tune.journal.journal import read_entries
from tune.verbs.search import Times


@pytest.fixture
def in_process(tmp_path: Path) -> tuple[object, ...]:
    """Without Ray, and tracked elsewhere than the study that is a copy's original."""
    return "--local", "--workers", 1, "--tracking-uri", f"sqlite:///{tmp_path / 'copy.db'}"


@pytest.fixture
def study(confirmed_study: Path, tmp_path: Path) -> Path:
    """A copy of a confirmed study, free to be changed."""
    return Path(shutil.copytree(confirmed_study, tmp_path / "ground-beetles"))


def inner(entries: list[dict], kind: str) -> list[dict]:
    return [entry["of"] for entry in entries if entry["event"] == "confirm" and entry["of"]["event"] == kind]


def results(entries: list[dict]) -> dict[tuple[str, int, int], list[float]]:
    """(name, fold, seed) -> scores by epoch."""
    runs = Confirmation.replay(entries_of(entries)).runs()
    return {(run.name, run.fold, run.seed): list(run.record.scores.values()) for run in runs}


@pytest.mark.seconds
def test_a_search_ends_with_a_verdict_on_all_pairs_of_folds_and_configurations(confirmed_study):
    entries = read_plain(confirmed_study)
    confirmed = confirmed_of(entries_of(entries))

    assert [entry["event"] for entry in entries][-2:] == ["confirm", "end"]
    alone = [candidate for candidate in confirmed.candidates if not candidate.members]
    assert len(inner(entries, "tell")) == 2 * len(alone)  # two folds, one seed
    assert [c.name for c in confirmed.candidates if c.members] == ["ensemble"]  # takes no run
    assert {tell["state"] for tell in inner(entries, "tell")} == {"completed"}
    assert 0 not in confirmed.folds  # the search scored by it
    assert confirmed.candidates == tuple(sorted(confirmed.candidates, key=lambda c: c.metrics["score/all"]))
    assert all((c.difference is None) == (c.name == "default") for c in confirmed.candidates)
    assert {"score/id", "score/ood", "r2_id/SPEI_1y", "mae_ood/SPEI_2y"} <= confirmed.candidates[0].metrics.keys()


@pytest.mark.slow
def test_confirming_again_with_the_same_options_trains_nothing_and_says_the_same(cli, in_process, study):
    before = confirmed_of(read_entries(study))
    ended = cli("confirm", study, *in_process, "--confirm-top", 2, "--confirm-folds", 2, "--json")

    assert ended.status == 0, ended.stderr
    assert ended.result["confirmation"]["verdict"] == before.verdict
    entries = read_plain(study)
    assert len(inner(entries, "tell")) == 2 * len([c for c in before.candidates if not c.members])
    assert confirmed_of(entries_of(entries)) == before


@pytest.mark.slow
@pytest.mark.parametrize("has_checksum", [True, False])
def test_predictions_that_are_not_those_of_the_run_are_named_and_made_anew_by_the_command_that_is_told(
    cli, in_process, study, has_checksum
):
    """Without a checksum, as they were written before there were any, their score is compared with the journal's."""
    before, options = confirmed_of(read_entries(study)), ("--confirm-top", 2, "--confirm-folds", 2)
    wanted = {file: file.read_bytes() for file in study.glob("checkpoints/c*/predictions-*.npy")}
    for file, content in wanted.items():
        plain = without_checksum(content)
        altered = bytearray(plain)
        altered[-1] ^= 1  # the exponent of the last prediction
        file.write_bytes(bytes(altered) + (content[len(plain) :] if has_checksum else b""))
    damaged = cli("confirm", study, *in_process, *options)

    assert damaged.status == 2
    line = damaged.stderr.splitlines()[-1]
    (named,) = [file for file in wanted if str(file) in line]
    assert ("its sha256 must be" if has_checksum else "must score") in line
    assert f"`sentinel-tune confirm {study} --local` trains that run anew" in line
    for file in wanted:
        file.unlink()
    mended = cli("confirm", study, *in_process, *options)

    assert mended.status == 0, mended.stderr
    assert f"{named.parent.name} (" in mended.stderr
    assert confirmed_of(read_entries(study)) == before
    assert {file: file.read_bytes() for file in wanted} == wanted  # to the bit


@pytest.mark.slow
def test_a_finished_study_is_shown_with_its_verdict_and_left_as_it_is(cli, in_process, study):
    before = (study / "journal.jsonl").read_bytes()
    ended = cli("search", "--resume", study, *in_process)

    assert ended.status == 0, ended.stderr
    assert "Verdict: " in ended.stdout
    assert f"sentinel-tune retrain {study}" in ended.stdout
    assert (study / "journal.jsonl").read_bytes() == before


@pytest.mark.slow
def test_more_folds_run_what_was_not_run_yet(cli, in_process, study):
    n_before = len(inner(read_plain(study), "tell"))
    ended = cli("confirm", study, *in_process, "--confirm-top", 2, "--confirm-folds", 3, "--json")

    assert len(ended.result["confirmation"]["folds"]) == 3
    assert len(inner(read_plain(study), "tell")) == n_before * 3 // 2
    assert "rests on" not in ended.stderr
    fewer = cli("confirm", study, *in_process, "--confirm-top", 2, "--confirm-folds", 2)
    assert "the verdict so far rests on 3 folds x 1 seed, the next will on 2 folds x 1 seed alone" in fewer.stderr


@pytest.mark.slow
def test_a_study_that_was_not_confirmed_can_be_later(cli, in_process, finished_study, tmp_path):
    study = Path(shutil.copytree(finished_study, tmp_path / "beetles"))
    assert "Verdict" not in cli("search", "--resume", study, *in_process).stdout
    ended = cli("confirm", study, *in_process, "--confirm-top", 1, "--confirm-folds", 1)

    assert ended.status == 0, ended.stderr
    assert "confirming " in ended.stderr
    assert "plan: " not in ended.stderr
    assert "2/2 done" in ended.stderr
    assert "Verdict: " in ended.stdout


@pytest.mark.slow
def test_out_of_time_the_verdict_rests_on_whole_folds_and_the_rest_is_done_later(cli, in_process, study):
    """The journal is cut where a killed process would have left it: amid the second fold."""
    entries = read_plain(study)
    whole = results(entries)
    asks = [i for i, e in enumerate(entries) if e["event"] == "confirm" and e["of"]["event"] == "ask"]
    cut = asks[len(asks) // 2] + 2  # a run of the second fold has begun
    lines = (study / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (study / "journal.jsonl").write_bytes(b"".join(lines[:cut]))
    options = ("--confirm-top", 2, "--confirm-folds", 2)

    short = cli("confirm", study, *in_process, *options, "--time-budget", "0.001s", "--json")
    assert short.status == 0, short.stderr
    assert len(short.result["confirmation"]["folds"]) == 1
    assert "the verdict rests on the whole runs so far" in short.stderr
    rest = cli("confirm", study, *in_process, *options, "--time-budget", "1h", "--json")
    assert len(rest.result["confirmation"]["folds"]) == 2
    assert results(read_plain(study)) == whole  # to the bit


@pytest.mark.seconds
def test_mlflow_holds_every_run_the_table_and_the_verdict(confirmed_study, tracking_uri):
    client = mlflow.MlflowClient(tracking_uri)
    (parent,) = [
        run
        for experiment in client.search_experiments()
        for run in client.search_runs([experiment.experiment_id], "tags.`hpo.study` = 'ground-beetles'")
        if "mlflow.parentRunId" not in run.data.tags and "hpo.verdict" in run.data.tags
    ]
    confirmed = confirmed_of(read_entries(confirmed_study))
    children = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{parent.info.run_id}'")
    (group,) = [run for run in children if run.data.tags.get("kind") == "confirmations"]
    confirming = client.search_runs([parent.info.experiment_id], f"tags.`mlflow.parentRunId` = '{group.info.run_id}'")
    rivals = [c for c in confirmed.candidates if c.difference is not None]
    gain = (next((c for c in rivals if c.name == confirmed.leader), None) or rivals[0]).difference

    assert parent.data.tags["hpo.verdict"] == confirmed.verdict
    assert parent.data.metrics["study/confirmed_default_score"] == confirmed.candidate("default").metrics["score/all"]
    assert parent.data.metrics["confirmed/gain"] == -gain.mean
    assert (parent.data.metrics["confirmed/gain_low"], parent.data.metrics["confirmed/gain_high"]) == (
        -gain.high,
        -gain.low,
    )
    assert f"confirm default f{confirmed.folds[0]} s{confirmed.seeds[0]}" in {run.info.run_name for run in confirming}
    assert {run.data.tags["kind"] for run in confirming} == {"confirmation"}
    assert {int(run.data.tags["fold"]) for run in confirming} == set(confirmed.folds)
    assert "confirmation.json" in [file.path for file in client.list_artifacts(parent.info.run_id)]
    assert len(confirming) == 2 * len([c for c in confirmed.candidates if not c.members])
    assert "study/confirmed_ensemble_gain" in parent.data.metrics
    assert {run.info.status for run in (group, *confirming)} == {"FINISHED"}
    assert all(len(client.get_metric_history(run.info.run_id, "score/all")) == 3 for run in confirming)


def test_replay_and_sync_take_a_confirmed_study_as_it_is(cli, confirmed_study, tracking_uri):
    assert cli("replay", confirmed_study).status == 0
    synced = cli("sync", confirmed_study, "--tracking-uri", tracking_uri, "--json").result
    assert (synced["n_created"], synced["n_metrics"]) == (0, 0)  # the search had written everything


@pytest.mark.seconds
def test_a_study_without_a_scored_trial_is_not_confirmed(cli, in_process, study):
    lines = (study / "journal.jsonl").read_bytes().splitlines(keepends=True)
    (study / "journal.jsonl").write_bytes(b"".join(lines[:3]))
    ended = cli("confirm", study, *in_process)

    assert ended.status == 2
    assert "must have a scored trial to be confirmed" in ended.stderr
    assert read_plain(study)[-1]["event"] == "end"  # no study is left without a word
    assert cli("confirm", study, *in_process, "--confirm-folds", 9).status == 2


def test_a_share_of_the_time_is_kept_for_the_verdict():
    options = SearchOptions(time_budget=100.0)
    times = Times.of(options, search_more=True, now=1000.0)
    assert (times.search, times.all) == (1070.0, 1100.0)
    assert Times.of(options, search_more=False, now=1000.0).search == 1100.0
    assert Times.of(SearchOptions(time_budget=100.0, no_confirm=True), search_more=True, now=0.0).search == 100.0


@pytest.mark.slow
def test_killed_amid_its_runs_a_confirmation_on_ray_goes_on_to_the_same_verdict(
    processes, cli, demo_cache, tracking_uri, tmp_path
):
    options = [
        "--data", "demo:120", "--cache", demo_cache, "--space", "smoke", "--trials", 3, "--epochs", 4, "--workers", 2,
        "--tracking-uri", tracking_uri, "--confirm-top", 1, "--confirm-folds", 2, "--confirm-seeds", 2,
    ]  # fmt: skip
    one_thread = (
        "--local",
        "--workers",
        1,
    )  # as each trial has on Ray: sums in another order differ in the last digits
    whole = cli("search", *options, *one_thread, "--study", tmp_path / "whole", "--json")
    assert whole.status == 0, whole.stderr

    folder = tmp_path / "killed"
    search, deadline = processes.start("search", *options, "--study", folder), time.monotonic() + 120
    while len(inner(entries_so_far(folder), "report")) < 6 and time.monotonic() < deadline:
        time.sleep(0.02)
    search.kill()
    search.wait()
    assert not inner(entries_so_far(folder), "verdict")
    ended = processes.run("search", "--resume", folder, "--workers", 1, "--json")

    assert ended.status == 0, ended.stderr
    assert ended.result["confirmation"]["verdict"] == whole.result["confirmation"]["verdict"]
    assert results(entries_so_far(folder)) == results(entries_so_far(tmp_path / "whole"))
    epochs = [(report["trial"], report["epoch"]) for report in inner(entries_so_far(folder), "report")]
    assert len(epochs) == len(set(epochs))  # none was trained or reported twice


def entries_so_far(folder: Path) -> list[dict]:
    try:
        return read_plain(folder)
    except UserError:
        return []  # not begun yet
