"""What of a page a narrow window does not show."""

from pathlib import Path
from typing import Any

PHONE, DESK = 400, 1200
"""Widths of a window, in pixels."""

_CUT_OFF = """
[...document.body.querySelectorAll("*")].filter(element => {
    const scrolled = element.parentElement.closest(".scroll, pre");
    const is_beyond = element.getBoundingClientRect().right > document.documentElement.clientWidth + 1;
    return scrolled ? element.matches("caption, figcaption, p") : is_beyond;
}).map(element => element.outerHTML.slice(0, 100))
"""


def cut_off(page: Any, file: Path, *, width: int) -> list[str]:
    """The elements of a page in a file that are wider than a window of so many pixels; what moves within a frame of its
    own may be, but for captions and paragraphs.
    """
    before = page.viewport_size
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(file.as_uri())
    assert page.locator("figcaption").count()
    found: list[str] = page.evaluate(_CUT_OFF)
    page.set_viewport_size(before)
    return found
