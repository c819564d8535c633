"""Files written whole or not at all; links, pipes and devices stay what they are."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from trainable.whole_file import whole_file


def write(path: Path, text: str, *, in_place: bool = False) -> None:
    with whole_file(path, in_place=in_place) as temporary:
        temporary.write_text(text)


def test_a_block_that_raises_leaves_the_file_of_before_and_nothing_else(tmp_path):
    (tmp_path / "a").write_text("of before")

    def fail() -> None:
        with whole_file(tmp_path / "a") as temporary:
            temporary.write_text("half")
            raise ValueError("half")

    with pytest.raises(ValueError, match="half"):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a", "of before")]


def test_a_link_stays_and_leads_to_the_new_content(tmp_path):
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "real").write_text("of before")
    (tmp_path / "link").symlink_to("other")
    (tmp_path / "other").symlink_to("far/real")
    (tmp_path / "dangling").symlink_to("far/new")

    write(tmp_path / "link", "new")
    write(tmp_path / "dangling", "new")

    assert (os.readlink(tmp_path / "link"), os.readlink(tmp_path / "dangling")) == ("other", "far/new")
    assert sorted((path.name, path.read_text()) for path in (tmp_path / "far").iterdir()) == [
        ("new", "new"),
        ("real", "new"),
    ]


def test_links_in_a_circle_are_an_error_and_stay(tmp_path):
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(OSError, match="symbolic links"):
        write(tmp_path / "a", "new")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


@pytest.mark.parametrize("name", ["pipe", "link-to-pipe"])
def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path, name):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.append((tmp_path / "pipe").read_text()))
    reader.start()
    write(tmp_path / name, "rows")
    reader.join()

    assert got == ["rows"]
    assert (tmp_path / "pipe").is_fifo()


def test_a_device_is_written_to_and_stays_a_device():
    write(Path("/dev/null"), "rows")
    with pytest.raises(OSError, match="No space left"):
        write(Path("/dev/full"), "rows")

    assert Path("/dev/null").is_char_device()
    assert Path("/dev/full").is_char_device()


def test_an_open_file_is_written_on_where_it_stands(tmp_path):
    code = (
        "from pathlib import Path\nfrom trainable.whole_file import whole_file\n"
        "print('first', flush=True)\n"
        "with whole_file(Path('/dev/stdout')) as file: file.write_text('rows\\n')\n"
        "print('last')"
    )
    with (tmp_path / "out").open("wb") as out:
        subprocess.run([sys.executable, "-c", code], stdout=out, check=True)
    piped = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=True)

    assert (tmp_path / "out").read_bytes() == piped.stdout == b"first\nrows\nlast\n"


def test_further_names_of_a_file_are_kept_in_place_alone(tmp_path):
    (tmp_path / "a").write_text("of before")
    os.link(tmp_path / "a", tmp_path / "b")

    write(tmp_path / "a", "new", in_place=True)
    assert (tmp_path / "b").read_text() == "new"
    write(tmp_path / "a", "newer")
    assert (tmp_path / "b").read_text() == "new"


def test_who_may_read_a_file_stays_as_it_was(tmp_path):
    (tmp_path / "a").touch(mode=0o600)
    write(tmp_path / "a", "new")
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o600


def test_the_longest_name_that_a_system_takes_is_no_hindrance(tmp_path):
    write(tmp_path / ("a" * 255), "new")
    assert (tmp_path / ("a" * 255)).read_text() == "new"
