import json
import os
from pathlib import Path

import pytest

from trainable.data.folder_walk import check_utf8, find_files
from trainable.errors import UserError


def is_png(name: str) -> bool:
    return name.endswith(".png")


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def found_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_files(folder, is_png)[0]]


def test_hidden_and_service_folders_are_no_data_and_are_counted(tmp_path: Path) -> None:
    kept = ["a.png", "site/b.png"]
    hidden = [".git/c.png", ".ipynb_checkpoints/a.png", "@eaDir/a.png", "__MACOSX/site/b.png", "site/._b.png"]
    write(tmp_path, *kept, *hidden, "Thumbs.db", "notes.txt")
    files, left_out = find_files(tmp_path, is_png)
    assert [path.relative_to(tmp_path).as_posix() for path in files] == kept
    assert sorted(left_out.hidden) == hidden
    line = left_out.line(tmp_path, "image", with_others=True)
    assert line is not None
    assert line.startswith(f"left out of {tmp_path}: 5 images hidden or in hidden or service folders (")
    assert "2 files without the name of any image (Thumbs.db, notes.txt)" in line


def test_nothing_left_out_is_not_worth_a_line(tmp_path: Path) -> None:
    write(tmp_path, "a.png", "notes.txt")
    assert find_files(tmp_path, is_png)[1].line(tmp_path, "image", with_others=False) is None


def test_a_folder_within_a_hidden_one_may_be_asked_for_itself(tmp_path: Path) -> None:
    write(tmp_path, ".cache/data/a.png")
    assert found_in(tmp_path / ".cache") == ["data/a.png"]


def test_links_to_folders_are_followed_once_after_folders_proper(tmp_path: Path) -> None:
    write(tmp_path, "data/site/a.png", "elsewhere/b.png")
    for link, target in {
        "again": "site",
        "loop": ".",
        "other": "../elsewhere",
        "second": "../elsewhere",
        "up": "..",
        "site/back": "..",
    }.items():
        (tmp_path / "data" / link).symlink_to(target)
    (tmp_path / "data" / "gone.png").symlink_to("nothing")
    files, left_out = find_files(tmp_path / "data", is_png)
    assert [path.relative_to(tmp_path / "data").as_posix() for path in files] == ["other/b.png", "site/a.png"]
    assert left_out.repeated == ["again", "loop", "second", "site/back", "up"]
    assert left_out.broken == ["gone.png"]


LATIN1 = os.fsdecode(b"K\xe4fer")
"""A name as archives of old systems unpack to."""


@pytest.mark.parametrize(
    ("name", "shown_as"),
    [(f"ant/{LATIN1}.png", r"data/ant/K\xe4fer.png"), (f"{LATIN1}/1.png", r"data/K\xe4fer/1.png")],
)
def test_names_in_another_encoding_are_one_line_and_no_traceback(cli, tmp_path: Path, name: str, shown_as: str) -> None:
    write(tmp_path / "data", "ant/1.png", "bee/1.png", name)
    for verb in (["inspect"], ["extract", "--local", "--task", "demo-species", "--data"]):
        ended = cli(*verb, tmp_path / "data")
        problem = f"error: paths of data must be text in UTF-8, but {tmp_path}/{shown_as} is not; rename what is not"
        assert (ended.status, ended.stderr.splitlines()) == (2, [problem])


@pytest.mark.parametrize("table", ["metadata.csv", "metadata.jsonl", "train-00000-of-00001.parquet"])
def test_a_folder_of_data_named_in_another_encoding_is_one_line_and_no_traceback(
    cli, tmp_path: Path, table: str
) -> None:
    write(tmp_path / LATIN1, "a.png")
    (tmp_path / LATIN1 / table).write_text(
        '{"file_name": "a.png"}' if table.endswith("jsonl") else "file_name\na.png\n"
    )
    ended = cli("inspect", tmp_path / LATIN1)
    assert (ended.status, "paths of data must be text in UTF-8" in ended.stderr) == (2, True)


def test_names_of_any_language_in_utf8_are_data(tmp_path: Path) -> None:
    check_utf8([tmp_path / "Käfer.png", "甲虫/1.png"])
    with pytest.raises(UserError, match="and 1 more path; rename"):
        check_utf8([LATIN1, "Käfer", LATIN1])


def test_cells_of_json_lines_in_another_encoding_name_their_line_and_no_traceback(cli, tmp_path: Path) -> None:
    rows = [{"file_name": "a.png", "species": "K\U0001f41cfer"}, {"file_name": "b.png", "species": LATIN1}]
    (tmp_path / "metadata.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ended = cli("inspect", tmp_path)
    assert (ended.status, len(ended.stderr.splitlines())) == (2, 1)
    assert r'line 2 must be a JSON object: {"species": "K\xe4fer"} must be text in UTF-8' in ended.stderr
