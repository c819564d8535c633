"""A study on object storage from end to end: searched, killed, gone on with elsewhere, confirmed, retrained, scored."""

import re
import subprocess
import time
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import Plain, entries_of, read_plain
from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from trainable.training.checkpoint import load_latest
from tune.decisions.differences import differences
from tune.journal.journal import owner_of

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

WORKERS = re.compile(r"ray::\w*Trainable")
OPTIONS = {
    "--data": "demo:120", "--space": "smoke", "--trials": 4, "--epochs": 4, "--seed": 11, "--workers": 1,
    "--confirm-top": 1, "--confirm-folds": 2,
}  # fmt: skip


def events_of(study: Place) -> list[Plain]:
    try:
        return read_plain(study)
    except UserError:
        return []  # not begun yet


def learned(study: Place) -> list[tuple]:
    """Asks, results, ends and confirming runs in order, without what clocks and processes have to do with."""
    found = []
    for entry in read_plain(study):
        of = entry["of"] if entry["event"] == "confirm" else entry
        kept = {name: of.get(name) for name in ("event", "trial", "origin", "values", "epoch", "state", "value")}
        metrics = {k: v for k, v in of.get("metrics", {}).items() if not k.startswith("time/")}
        if of["event"] in ("ask", "report", "tell", "verdict"):
            found.append((kept, metrics))
    return found


def wait_for_reports(study: RemoteFolder, n_reports: int, *, runs: subprocess.Popen) -> None:
    deadline = time.monotonic() + 240
    while sum(entry["event"] == "report" for entry in events_of(study)) < n_reports:
        assert runs.poll() is None, "the search ended before it reported"
        assert time.monotonic() < deadline, "the search reported nothing"
        time.sleep(0.1)


def test_a_study_on_object_storage_is_killed_gone_on_with_elsewhere_confirmed_retrained_and_scored(
    processes, cli, remote, storage_server, demo_cache, tracking_uri, tmp_path, secrets_of_storage, monkeypatch
):
    assert storage_server.endpoint
    words = [word for pair in OPTIONS.items() for word in pair]
    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(demo_cache))
    driver = processes.start("search", *words, "--study", remote, "--tracking-uri", tracking_uri)
    wait_for_reports(remote, 3, runs=driver)
    for worker in processes.living(WORKERS):
        worker.suspend()  # so that the search has not ended when it is killed

    second = cli("search", "--resume", remote, "--local")
    assert second.status == 2
    assert f"`one process at a time may write a study`, but {remote} is being written by process {driver.pid}" in (
        second.stderr.replace("\n", " ")
    )
    driver.kill()
    processes.wait(driver)
    before = read_plain(remote)
    assert before[-1]["event"] != "end"
    assert owner_of(remote) is None  # it was a process of this machine

    # Another machine has neither the cache nor the working folder of the first.
    elsewhere = tmp_path / "cache of another machine"
    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(elsewhere))
    ended = cli("search", "--resume", remote, "--local", "--json")
    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(demo_cache))
    assert ended.status == 0, ended.stderr
    assert ended.result["study"] == str(remote)
    entries = read_plain(remote)
    assert entries[: len(before)] == before
    assert differences(SearchSpace.load("smoke"), entries_of(entries)) == []
    assert not [entry for entry in entries if entry["event"] in ("error", "retry")]
    for trial in {entry["trial"] for entry in entries if entry["event"] == "tell"}:
        assert load_latest(remote / "checkpoints" / trial)[0] is not None
        assert len((remote / "checkpoints" / trial).sizes()) <= 2
    assert {"study.yaml", "optuna.log"} <= remote.sizes().keys()

    local = cli("search", *words, "--study", tmp_path / "local", "--local", "--tracking-uri", tracking_uri)
    assert local.status == 0, local.stderr
    assert learned(remote) == learned(tmp_path / "local")

    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(elsewhere))
    status = cli("status", remote, "--json")
    assert status.result["state"] == "ended"
    assert status.result["best"]["interval"] is not None
    model = tmp_path / "out" / "model"
    tracked = ("--workers", 1, "--tracking-uri", tracking_uri)
    retrained = cli("retrain", remote, "--out", model.parent, *tracked)
    assert retrained.status == 0, retrained.stderr
    evaluated = cli("evaluate", model, "--data", "demo:120", *tracked)
    assert evaluated.status == 0, evaluated.stderr

    written = {name: remote.read(name) for name in remote.sizes()}
    database = Path(tracking_uri.removeprefix("sqlite:///"))
    files = [file for file in [database, *tmp_path.rglob("*")] if file.is_file()]
    written |= {str(file): file.read_bytes() for file in files}
    shown = {"second": second, "ended": ended, "local": local, "status": status, "evaluated": evaluated}
    written |= {name: repr(outcome).encode() for name, outcome in shown.items()}
    assert len(files) > 10
    assert [(name, s) for s in secrets_of_storage for name, text in written.items() if s.encode() in text] == []


def test_verbs_name_the_uri_and_a_missing_bucket_is_told_before_anything_is_done(cli, remote, demo_search, tmp_path):
    ended = demo_search("--study", remote, "--json")
    assert ended.status == 0, ended.stderr
    assert ended.result["study"] == str(remote)
    warm = demo_search("--study", remote / "warm", "--warm-start", remote, "--trials", 2)
    assert warm.status == 0, warm.stderr
    assert f"warm start from {remote.name}" in warm.stderr
    assert "MLflow lacks" not in warm.stderr
    header = read_plain(remote / "warm")[0]["header"]
    assert header["options"]["warm_start"] == [str(remote)]
    again = cli("search", "--resume", remote / "warm", "--local", "--trials", 3)
    assert again.status == 0, again.stderr

    shown = cli("status", remote)
    assert shown.stdout.startswith(f"{remote}: ended")
    assert f"sentinel-tune search --resume {remote}" in shown.stdout
    assert cli("replay", remote).status == 0
    assert cli("sync", remote, "--json").result["study"] == str(remote)
    unconfirmed = cli("retrain", remote)
    assert (unconfirmed.status, f"sentinel-tune confirm {remote}" in unconfirmed.stderr) == (2, True)

    missing = demo_search("--study", "s3://no-such-bucket/study", "--cache", tmp_path / "unused")
    assert missing.status == 2
    assert missing.stdout == ""
    assert missing.stderr.count("\n") == 1
    assert "s3://no-such-bucket/study" in missing.stderr
    assert not (tmp_path / "unused").exists()
    for verb in ("status", "replay", "sync", "retrain", "confirm"):
        nothing = cli(verb, remote / "nothing")
        assert nothing.status == 2
        assert f"{remote}/nothing" in nothing.stderr
