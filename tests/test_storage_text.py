"""docs/storage.md says nothing that is not so: its commands are understood, its figures are those of the code."""

import re
import shlex
from pathlib import Path

import pytest

from trainable.storage.remote_folder import PATIENCE_SECONDS, RemoteFolder
from tune.cli import parse_command
from tune.journal.lease import LeaseTimes
from tune.journal.segments import BLOCK_ENTRIES, segment_name

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "storage.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```$", TEXT, flags=re.DOTALL | re.MULTILINE)
COMMANDS = [shlex.split(line) for block in BLOCKS for line in block.splitlines() if line.startswith("sentinel-tune")]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_the_command_line_understands(words):
    _, given = parse_command(words[1:])
    options = given.options()
    places = [value for value in vars(options).values() if isinstance(value, RemoteFolder)]
    assert places
    assert all(str(place) in words for place in places)


def test_its_figures_are_those_of_the_code():
    times = LeaseTimes()
    assert len(COMMANDS) >= 8
    assert f"renews it every {times.renew_seconds:.0f} s" in TEXT.replace("\n", " ")
    assert f"nobody renews for {times.stale_seconds:.0f} s" in TEXT.replace("\n", " ")
    assert f"could not renew for {times.safe_seconds:.0f} s" in TEXT.replace("\n", " ")
    assert f"for every {BLOCK_ENTRIES} entries" in TEXT
    assert "for a minute" in TEXT
    assert PATIENCE_SECONDS == 60
    for name in (segment_name(2, 0, 122), segment_name(2, 123, 122 + BLOCK_ENTRIES)):
        assert f"journal/{name}" in TEXT
