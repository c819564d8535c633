import contextlib
import os
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainable.data.file_bytes import file_bytes, why_absent


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"picture")
    return path


@contextlib.contextmanager
def as_another_user() -> Iterator[None]:
    """Root may read everything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that another user can enter, too."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize(
    ("there", "asked", "difference"),
    [
        ("img/b0001.png", "img\\b0001.png", "slashes for backslashes"),
        ("Bilder/img/b0001.png", "Bilder\\IMG\\b0001.png", "slashes for backslashes"),
        ("img/b0001.png", "img/B0001.PNG", "other case"),
        ("Img/b0001.png", "img/b0001.png", "other case"),
        ("img/Ka\u0308fer.png", "img/K\u00e4fer.png", "another Unicode form"),
        ("img/K\u00e4fer.png", "img/Ka\u0308fer.png", "another Unicode form"),
        ("img/b0001.jpg", "img/b0001.png", "another ending"),
    ],
)
def test_a_missing_file_is_said_to_be_so_with_the_one_that_may_be_meant(
    tmp_path: Path, there: str, asked: str, difference: str
) -> None:
    found = write(tmp_path / there)
    name = str(tmp_path / asked)
    assert file_bytes(name) == b""
    assert why_absent(name) == f"there is no such file; did you mean {found}? ({difference})"


def test_a_missing_file_like_none_or_like_several_is_said_to_be_missing(tmp_path: Path) -> None:
    write(tmp_path / "img" / "a.png")
    assert why_absent(str(tmp_path / "img" / "b.png")) == "there is no such file"
    assert why_absent(str(tmp_path / "new" / "b.png")) == f"there is no such file, nor the folder {tmp_path / 'new'}"
    (tmp_path / "link.png").symlink_to("gone.png")
    assert why_absent(str(tmp_path / "link.png")) == "it is a link to gone.png, which is not there"
    assert "zero byte" in why_absent(str(tmp_path / "a\0.png"))
    assert "name too long" in why_absent(str(tmp_path / ("a" * 256))).lower()


def test_what_is_no_file_gives_no_bytes_and_is_not_waited_for(tmp_path: Path) -> None:
    (tmp_path / "folder.png").mkdir()
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "device.png").symlink_to("/dev/zero")
    write(tmp_path / "empty.png").write_bytes(b"")
    with socket.socket(socket.AF_UNIX) as listener, contextlib.chdir(tmp_path):
        listener.bind("socket.png")
        for name, kind in (("folder", "a folder"), ("pipe", "a pipe"), ("device", "a device"), ("socket", "a socket")):
            assert file_bytes(f"{name}.png") == b""
            assert why_absent(f"{name}.png") == f"it is {kind} and no file"
        assert why_absent("empty.png") == "the file is empty"


def test_a_closed_file_and_a_closed_folder_are_named(open_folder: Path) -> None:
    write(open_folder / "a.png").chmod(0)
    inside = write(open_folder / "private" / "b.png")
    inside.parent.chmod(0)
    with as_another_user():
        assert file_bytes(str(open_folder / "a.png")) == b""
        assert why_absent(str(open_folder / "a.png")) == (
            "permission denied: the file is closed to this user (mode 000)"
        )
        assert why_absent(str(inside)) == f"permission denied: the folder {inside.parent} is closed to this user"
    inside.parent.chmod(0o755)
