from pathlib import Path

from trainable.data.folder_walk import find_files


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
