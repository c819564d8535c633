"""Files with lines: what is refused, and where it says so."""

import random
from pathlib import Path

import pytest
import yaml

from trainable.errors import UserError
from trainable.yaml_source import find_file, read_document


def refused(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UserError) as caught:
        read_document(path)
    return str(caught.value).replace(str(path), "mine.yaml")


def test_every_value_knows_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("a: 1\nb:\n  c: [x,\n      y]\n", encoding="utf-8")
    document = read_document(path)
    assert document.values == {"a": 1, "b": {"c": ["x", "y"]}}
    assert document.problem(("b", "c", 1), "wrong") == f"{path}:4: wrong"
    assert document.problem(("b", "c", 7), "wrong") == f"{path}:3: wrong"
    assert document.problem(("b", "absent"), "wrong") == f"{path}:2: wrong"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "mine.yaml:3: `a` must stand once, but stands on line 1 already"),
        ("a: [1\n", "mine.yaml:2: must be valid YAML"),
        ("- a\n", "mine.yaml:1: must be a mapping of keys, but got ['a']"),
        ("", "mine.yaml: must be a mapping of keys, but got nothing"),
        ("a: 1\nyes: 2\n", "mine.yaml:2: a key must be text, but got 'yes'"),
        ("a: &x [1]\nb: *x\n", "YAML aliases (*name) must not be used"),
        ("a: 1\nb: !!python/object:os.system x\n", "mine.yaml:2: 'x' must be a plain value"),
        ("a: 2020-13-45\n", "mine.yaml:1: '2020-13-45' must be a plain value"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_line(tmp_path: Path, text: str, message: str) -> None:
    assert message in refused(tmp_path, text)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match="must be a readable text file"):
        read_document(path)


def test_an_unknown_name_lists_the_known_ones(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").touch()
    assert find_file("two", tmp_path, "a thing") == tmp_path / "two.yaml"
    assert find_file(tmp_path / "one.yaml", tmp_path, "a thing") == tmp_path / "one.yaml"
    with pytest.raises(UserError, match="a thing must be one of one, two, or the path of a YAML file, but got 'three'"):
        find_file("three", tmp_path, "a thing")


PIECES = (
    "a: 1", "b: [1, 2]", "- x", '  c: "\u00e9\\u00e9"', "\t d: 2", "*x", "&x 1", "? a", "a: b: c", "# c", "", "  - 1e3",
    "1: 2", "!!python/object:os 1", "{a: 1, b: ]", "---", "...", '"\\x"', "%YAML 1.1", "null: 1", "a: !!set {b}",
    "<<: {a: 1}", '"a\\\nb": c', "|", "  text", ">-", "\ufeff", "a: \x07", "d: 2020-01-01", "a:\tb", "[",
    "a:  |\n  x\n   y\n", "a: @b", "a: &a\n  b: 1", "a:", "e: {}", "- ", "'q': 'v'", "? b\n: c",
    "a: " + "[" * 25 + "]" * 25,
)  # fmt: skip


@pytest.mark.skipif(not yaml.__with_libyaml__, reason="PyYAML was built without libyaml")
def test_libyaml_changes_no_value_no_line_and_no_message(tmp_path: Path, monkeypatch) -> None:
    rng, file = random.Random(0), tmp_path / "some.yaml"

    def read() -> object:
        try:
            found = read_document(file)
        except UserError as error:
            return error.problems
        return repr(found.values), found.lines

    n_read = 0
    for _ in range(400):
        file.write_text("\n".join(rng.choice(PIECES) for _ in range(rng.randint(1, 4))), encoding="utf-8")
        with monkeypatch.context() as without:
            fast = read()
            without.delattr(yaml, "CSafeLoader")
            assert read() == fast, file.read_text(encoding="utf-8")
        n_read += isinstance(fast, tuple)
    assert n_read > 20
