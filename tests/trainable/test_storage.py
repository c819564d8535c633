"""Folders by URI against a real S3 server."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.tune.plain_entries import make_entry, read_plain
from trainable.errors import UserError
from trainable.storage.place import file_names, place_of, read_as_file, write_file, written_as_file
from trainable.storage.remote_folder import RemoteFolder, StorageError
from trainable.training.checkpoint import load_latest, save_checkpoint
from tune.journal.journal import Journal

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("s3:/bucket/study", "s3://BUCKET/FOLDER"),
        ("S3://bucket/study", "s3://BUCKET/FOLDER"),
        ("hdfs://bucket/study", "s3://BUCKET/FOLDER"),
        ("file:///tmp/study", "a path, s3://"),
        ("s3://", "must name a bucket"),
        ("s3:///study", "must name a bucket"),
        ("s3://Bucket!/study", "must name a bucket"),
        ("s3://bucket", "a folder inside of its bucket"),
        ("s3://bucket/", "a folder inside of its bucket"),
        ("s3://bucket/a//b", "plain folder names"),
        ("s3://bucket/../b", "plain folder names"),
        ("s3://bucket/a\nb", "plain folder names"),
        ("s3://bucket/a#b", "plain folder names"),
        ("s3://bucket/a?access_key=AKIA&secret_key=hush", "come from the environment"),
        ("s3://bucket/a?scheme=ftp", "http or https"),
        ("s3://bucket/a?endpoint_override=http://u:hush@host", "HOST:PORT"),
        ("s3://bucket/a?scheme=http&scheme=https", "twice"),
        ("s3://bucket/a?nonsense", "NAME=VALUE"),
        ("gs://bucket/a?region=us", "endpoint_override, scheme"),
        ("s3://AKIA:hush@bucket/a", "environment"),
        ("http://AKIA:hush@bucket/a", "s3://BUCKET/FOLDER"),
    ],
)
def test_a_uri_that_is_none_is_refused_with_the_rule_and_shows_no_secret(uri, words):
    with pytest.raises(UserError) as refused:
        place_of(uri, what="--study")
    assert words in str(refused.value)
    assert str(refused.value).startswith("`--study`")
    assert "hush" not in str(refused.value)


names = st.from_regex(r"[a-zA-Z0-9_=@~+-]{1,12}", fullmatch=True)


@pytest.mark.seconds
@settings(max_examples=40, deadline=None)
@given(st.sampled_from(["s3", "gs"]), st.lists(names, min_size=1, max_size=4), st.booleans(), names)
def test_a_uri_says_itself_and_is_gone_into_like_a_path(scheme, folder, has_query, name):
    query = "?endpoint_override=http://127.0.0.1:9000&scheme=http" if has_query else ""
    text = f"{scheme}://bucket/{'/'.join(folder)}{query}"
    place = place_of(text)

    assert str(place) == text
    assert place_of(str(place / name)) == place / name
    assert str(place / name) == f"{scheme}://bucket/{'/'.join([*folder, name])}{query}"
    assert (place / name).name == name
    assert place.absolute() == place.resolve() == place


@pytest.mark.parametrize("text", ["studies/a", "/tmp/x:y", "a b/c", "~/study", "C3/a:b"])
def test_everything_else_is_a_path(text):
    assert place_of(text) == Path(text)


def test_what_is_written_is_read_listed_and_deleted_in_both_kinds_of_places(remote, tmp_path):
    for place in (remote, tmp_path / "study"):
        assert file_names(place) == []
        write_file(place, "a.json", b"first")
        write_file(place, "a.json", b"second")
        write_file(place / "deep", "b.bin", bytes(range(256)))
        with written_as_file(place, "c.txt") as file:
            file.write_text("written here")
        assert sorted(file_names(place)) == ["a.json", "c.txt"]
        with read_as_file(place, "a.json") as file:
            assert file.read_bytes() == b"second"
    assert remote.sizes() == {"a.json": 6, "c.txt": 12, "deep/b.bin": 256}
    assert remote.read_all(["deep/b.bin", "a.json"]) == [bytes(range(256)), b"second"]
    remote.delete("a.json")
    remote.delete("a.json")
    (remote / "deep").delete_all()
    (remote / "deep").delete_all()
    assert remote.sizes() == {"c.txt": 12}
    with pytest.raises(FileNotFoundError):
        remote.read("a.json")


def test_a_block_that_fails_publishes_nothing(remote):
    def fail():
        with written_as_file(remote, "a.txt") as file:
            file.write_text("half")
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        fail()
    assert remote.sizes() == {}


@pytest.fixture
def google(tmp_path):
    """An empty folder on an emulator of Google's storage, as a process of its own."""
    program = shutil.which("gcp-storage-emulator")
    if program is None:
        pytest.skip("gcp-storage-emulator is not installed: `pip install gcp-storage-emulator`")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    words = [program, "start", "--host", "127.0.0.1", "--port", str(port), "--in-memory", "--default-bucket", "beetles"]
    with (tmp_path / "emulator.log").open("wb") as log:
        server = subprocess.Popen(words, stdout=log, stderr=log)
    query = f"endpoint_override=127.0.0.1:{port}&scheme=http"
    yield RemoteFolder(RemoteFolder.parse(f"gs://beetles/study?{query}").uri, patience_seconds=20.0)
    server.kill()
    server.wait()


@pytest.mark.slow
def test_googles_storage_holds_a_study_too(google):
    google.write("a.json", b"first")
    google.write("a.json", bytes(range(256)) * 40_000)
    assert google.read("a.json") == bytes(range(256)) * 40_000
    with Journal.create(google, {}, study_id="s") as journal:
        journal.append(make_entry("note", number=1))
    with Journal.open(google, say=pytest.fail) as journal:
        journal.append(make_entry("note", number=2))
    assert [event.get("number") for event in read_plain(google)] == [None, 1, 2]
    google.delete("a.json")
    google.delete("a.json")
    (google / "journal").delete_all()
    (google / "journal").delete_all()
    assert google.sizes().keys() <= {"journal.owner.json"}
    with pytest.raises(FileNotFoundError):
        google.read("a.json")
    with pytest.raises(UserError, match="GOOGLE_APPLICATION_CREDENTIALS"):
        RemoteFolder.parse(str(google).replace("beetles", "no-such-bucket")).check_usable(what="--study")


UPLOADER = """
import sys
from trainable.storage.remote_folder import RemoteFolder
folder = RemoteFolder.parse(sys.argv[1])
for n in range(1000):
    folder.write("big", bytes([n % 256]) * 20_000_000)
    print(n, flush=True)
"""


@pytest.mark.slow
def test_a_writer_killed_in_the_middle_leaves_the_old_object_or_the_new_one_whole(remote):
    writer = subprocess.Popen(
        [sys.executable, "-c", UPLOADER, str(remote)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "0\n"
    time.sleep(0.05)
    writer.kill()
    writer.communicate()
    content = remote.read("big")
    assert len(content) == 20_000_000
    assert len(set(content)) == 1


@pytest.mark.slow
def test_a_short_outage_is_a_delay_and_a_long_one_an_error_without_secrets(remote, storage_server):
    remote.write("a", b"1")
    storage_server.shut_gate()
    try:
        with pytest.raises(StorageError) as failed:
            replace(remote, patience_seconds=0.0).read("a")
        timer = threading.Timer(0.5, storage_server.open_gate)
        timer.start()
        assert remote.read("a") == b"1"
        timer.join()
    finally:
        if storage_server._gate is None:
            storage_server.open_gate()
    assert os.environ["AWS_SECRET_ACCESS_KEY"] not in str(failed.value)


@pytest.mark.slow
def test_a_place_that_cannot_be_used_is_told_in_one_line_with_the_remedy(storage_server):
    started = time.monotonic()
    for uri in ("s3://no-such-bucket/study", "s3://beetles/study?endpoint_override=http://127.0.0.1:9"):
        with pytest.raises(UserError) as refused:
            RemoteFolder.parse(uri).check_usable(what="--study")
        (problem,) = refused.value.problems
        assert "\n" not in problem
        assert uri in problem
        assert "AWS_ACCESS_KEY_ID" in problem
        assert storage_server.endpoint not in problem
    with pytest.raises(StorageError, match="NO_SUCH_BUCKET"):
        RemoteFolder.parse("s3://no-such-bucket/study").sizes()
    assert time.monotonic() - started < 30  # a refusal is not asked about for a minute


def test_checkpoints_go_to_the_storage_keep_two_and_a_damaged_one_is_passed_over(remote):
    import torch

    def state(epoch):
        return {"tensors": {"w": torch.full((3,), float(epoch))}, "values": {"epoch": epoch}}

    assert load_latest(remote / "t0000") == (None, [])
    for epoch in (1, 2, 3):
        kept = save_checkpoint(remote / "t0000", state(epoch))
    assert str(kept) == f"{remote}/t0000/epoch-000003.safetensors"
    assert sorted((remote / "t0000").sizes()) == ["epoch-000002.safetensors", "epoch-000003.safetensors"]
    found, skipped = load_latest(remote / "t0000")
    assert found is not None
    assert found["tensors"]["w"].tolist() == [3.0, 3.0, 3.0]
    assert skipped == []

    whole = (remote / "t0000").read("epoch-000003.safetensors")
    (remote / "t0000").write("epoch-000003.safetensors", whole[:-4] + b"\0\0\0\0")
    found, skipped = load_latest(remote / "t0000")
    assert found is not None
    assert found["values"]["epoch"] == 2
    assert "checksum" in skipped[0]


def test_a_local_folder_loads_nothing_of_object_storage():
    code = (
        "import sys; from pathlib import Path; from tempfile import mkdtemp\n"
        "from tune.journal.entries import OtherEntry\n"
        "from tune.journal.journal import Journal, owner_of, read_entries\n"
        "folder = Path(mkdtemp())\n"
        "Journal.create(folder, {}, study_id='s').close()\n"
        "Journal.open(folder, say=print).append(OtherEntry(kind='note'))\n"
        "read_entries(folder); owner_of(folder)\n"
        "print(*sorted(n for n in sys.modules if n.startswith('pyarrow') or n == 'tune.journal.remote_journal'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert done.stdout.split() == []
