"""Variant files: read, or refused with file, line and allowed values."""

import re
from pathlib import Path

import pytest

from search_spaces.variant import list_variants, load_variant, read_variant
from trainable.errors import UserError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_may_leave_out_what_has_a_default(tmp_path: Path) -> None:
    path = write(tmp_path, "about: mine\nepochs: 9\nconfig:\n  optim: {lr: 0.002}\n")
    assert read_variant(path).name == "mine"
    assert load_variant(path).flat() == load_variant(path, epochs=9).flat()
    assert load_variant(path, epochs=4).epochs == 4
    assert load_variant(path).optim.lr == 0.002


def test_all_mistakes_are_named_at_once_with_their_lines(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        "about: mine\nepochs: 0\nconfig:\n  optim:\n    lr: 1e-4\n    mometum: 0.9\n"
        "  adapter:\n    kind: qlora\nmend: []\n",
    )
    with pytest.raises(UserError) as caught:
        read_variant(path)
    problems = [problem.replace(str(path), "mine.yaml") for problem in caught.value.problems]
    assert len(problems) == 5
    assert problems[0] == "mine.yaml:9: `mend` is not a key here; valid: about, epochs, config, mended"
    text = "\n".join(problems)
    assert "mine.yaml:2: `epochs` must be in [1, 1e+06], but got 0" in text
    assert "mine.yaml:5: `optim.lr` must be a number, but got '1e-4' as text (YAML reads 1e-4 as text" in text
    assert "mine.yaml:6: `optim.mometum` is not a configuration key; valid: optim.name" in text
    assert "mine.yaml:8: `adapter.kind` must be one of full, lora, dora, but got 'qlora'" in text


def test_missing_and_mistyped_keys_are_named(tmp_path: Path) -> None:
    path = write(tmp_path, "epochs: ten\nmended: all\n")
    with pytest.raises(UserError) as caught:
        read_variant(path)
    text = str(caught.value)
    for message in (
        "`about` must be given",
        "`epochs` must be a whole number",
        "`config` must be given",
        "`mended` must be",
    ):
        assert message in text


def test_a_length_inside_the_configuration_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "about: mine\nepochs: 5\nconfig: {epochs: 6}\n")
    with pytest.raises(UserError, match=":3: `epochs` must stand beside `config`, not in it"):
        read_variant(path)


def test_an_unknown_variant_lists_the_known_ones() -> None:
    with pytest.raises(UserError, match="a variant must be one of combined, data_aug, default, ft_did, lora"):
        load_variant("lorra", epochs=3)


def test_a_length_below_one_is_refused() -> None:
    with pytest.raises(UserError, match=r"`epochs` must be in \[1"):
        load_variant("lora", epochs=0)


@pytest.mark.parametrize("name", list_variants())
def test_a_shown_variant_has_no_word_of_python(name):
    text = read_variant(name).text()

    assert re.search(r"adapter\.rank_stabilized +(true|false)\n", text)
    assert not re.search(r"\b(None|True|False)\b", text)
