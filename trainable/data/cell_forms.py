"""What the cells of a column look like: numbers, dates, photographs' names, or what is none of these but nearly is."""

import re

import pandas as pd

from trainable.data.class_folders import SUFFIXES

PLACE = (
    "site|place|plot|location|station|camera|hospital|patient|subject|region|country|domain|block|farm|event|trap|slide"
)
"""Words for a place, an occasion, or who was looked at."""

_DATE = re.compile(
    r"\d{4}([-/.:])\d\d?\1\d\d?([T ].*)?"  # 2019-06-01, and as cameras write it, 2019:06:01 12:00:00
    r"|\d\d?([./-])\d\d?\3\d{4}( .*)?"  # 01.06.2019, 6/1/2019
    r"|(19|20)\d\d(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])"  # 20190601
)
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]*://.*", re.IGNORECASE)
_WRITTEN = re.compile(r"[+-]?\d+(?P<comma>,)?[\d.]*\s*(?P<unit>[A-Za-zµμ%°²³/]{0,6})")
_NUMBERED_PLACE = re.compile(rf"({PLACE})s?[\s_-]*\w{{0,4}}", re.IGNORECASE)


NOT_READ = {
    "lists": "its values are no plain ones",
    "addresses": "it holds addresses; photographs are read from files: fetch them, and name their files",
    "written numbers": "its numbers are no plain ones: write 3.5 for 3,5 or 3.5 mm; the header may have the unit",
    "bytes": "it holds bytes alone; photographs in Parquet are {bytes, path}, as `datasets` writes an `Image()`",
}
"""Why a column of such a kind is of no use as it is."""


def kind_of(given: pd.Series) -> str:
    """A column's kind, of `ColumnFacts`; given: texts, none of them empty."""
    if given.empty:
        return "nothing"
    if _all(given, _ADDRESS):
        return "addresses"
    if given.str.lower().str.endswith(SUFFIXES).all():
        return "photographs"
    if _all(given, _DATE):
        return "dates"
    numbers = pd.to_numeric(given, errors="coerce")
    if numbers.notna().all() and not given.str.fullmatch(r"0\d+").any():  # 0012 is a name
        return "whole numbers" if given.str.fullmatch(r"[+-]?\d+(\.0+)?").all() else "numbers"
    return "written numbers" if _are_written_numbers(given) else "text"


def name_places(given: pd.Series) -> bool:
    """Whether all are such as `site 3` and `camera_B`."""
    return not given.empty and _all(given, _NUMBERED_PLACE)


def _are_written_numbers(given: pd.Series) -> bool:
    """Whether all are numbers with one unit behind them, or with commas for decimal points."""
    found = [_WRITTEN.fullmatch(text) for text in given]
    matches = [match for match in found if match is not None]
    if len(matches) < len(found) or len({match["unit"] for match in matches}) > 1:
        return False
    return bool(matches[0]["unit"]) or any(match["comma"] for match in matches)


def _all(given: pd.Series, form: re.Pattern[str]) -> bool:
    return all(form.fullmatch(text) is not None for text in given)
