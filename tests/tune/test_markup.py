"""Pages hold any name: as text, not as markup, and nothing in it that moves a cursor or cannot be encoded."""

import pytest

from tune.evaluation import markup as html

NAME = "K\udce4fer \x1b[2J <b>&\u202e"
SHOWN = r"K\xe4fer \x1b[2J &lt;b&gt;&amp;\u202e"


@pytest.mark.parametrize(
    "part",
    [
        html.heading(NAME),
        html.paragraph(NAME),
        html.warning(NAME),
        html.cards([(NAME, NAME, NAME)]),
        html.table([NAME], [[NAME]], caption=NAME, above=[(NAME, 1)]),
        html.picture(b"png", alt=NAME, caption=NAME),
        html.details(NAME, NAME),
        html.page(NAME, []),
    ],
    ids=["heading", "paragraph", "warning", "cards", "table", "picture", "details", "page"],
)
def test_a_name_is_shown_as_text_wherever_it_stands(part):
    assert SHOWN in part
    assert "\x1b" not in part
    assert "<b>&" not in part
    part.encode()


def test_line_breaks_of_preformatted_text_stay():
    assert "one\ntwo" in html.details("text", "one\ntwo")
