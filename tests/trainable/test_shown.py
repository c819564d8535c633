"""Names of files and other text of strangers, shown in one harmless line."""

import os

import pytest

from trainable.shown import brief, shown, spreadsheet_cell, well_formed


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Käfer 3.png", "Käfer 3.png"),
        (os.fsdecode(b"K\xe4fer.png"), r"K\xe4fer.png"),
        ("two\nlines\t\r", r"two\nlines\t\r"),
        ("\x1b[31mred\x07\x7f\x9b", r"\x1b[31mred\x07\x7f\x9b"),
        ("gpj.\u202etxt", r"gpj.\u202etxt"),
        ("half \ud83d", r"half \ud83d"),
        ("\U0001f468\u200d\U0001f469\u3000.png", "\U0001f468\u200d\U0001f469\u3000.png"),
    ],
)
def test_what_moves_the_cursor_or_is_no_text_is_escaped_and_all_else_stays(text, wanted):
    assert shown(text) == wanted
    shown(text).encode()


def test_utf8_that_was_read_in_another_locale_is_decoded():
    assert shown("Käfer".encode().decode("ascii", errors="surrogateescape")) == "Käfer"


def test_lines_are_kept_where_they_are_meant():
    assert shown("a\nb\x1b", keep="\n") == "a\nb\\x1b"


def test_well_formed_text_differs_only_where_no_encoding_could_hold_it():
    assert well_formed("ä\n\x1b") == "ä\n\x1b"
    assert well_formed("ä\udce4\ud800") == r"ä\xe4\ud800"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=HYPERLINK()", "'=HYPERLINK()"),
        ("+1", "'+1"),
        ("-1.png", "'-1.png"),
        ("@eaDir/a.png", "'@eaDir/a.png"),
        (" =1", "' =1"),
        ("\t=1", r"\t=1"),
        ("\r=1", r"\r=1"),
        ("a=1", "a=1"),
        ("", ""),
    ],
)
def test_a_cell_is_never_a_formula(text, cell):
    assert spreadsheet_cell(text) == cell


@pytest.mark.parametrize(
    ("value", "words"), [(None, "nothing"), (True, "true"), (False, "false"), ("true", "'true'"), (0, "0")]
)
def test_a_value_in_a_message_is_as_a_user_wrote_it(value, words):
    assert brief(value) == words
