"""Whether specimens can be learnt from: typed values, labels on the scale, events of one place, readable images."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from trainable.config import LABEL_RANGE, TARGETS
from trainable.data.specimen_schema import MAX_LINES

LABEL_TOLERANCE = 0.005
"""How far a label may lie outside of LABEL_RANGE: the published bounds have two decimals."""

_INTEGERS = {"event_id": "eventID", "domain_id": "domainID"}
_STRINGS = {"site_id": "siteID", "date": "collectDate"}


class Problems:
    """Problems by kind, in the order found."""

    def __init__(self) -> None:
        self._kinds: dict[str, list[str]] = {}

    def add(self, kind: str, line: str) -> None:
        """Note one problem; kind groups those that are cut to `MAX_LINES` together."""
        self._kinds.setdefault(kind, []).append(line)

    def lines(self) -> list[str]:
        """All problems, each kind cut to its first `MAX_LINES` and a count of the rest."""
        found: list[str] = []
        for kind, lines in self._kinds.items():
            found += lines[:MAX_LINES]
            if len(lines) > MAX_LINES:
                found.append(f"and {len(lines) - MAX_LINES} more: {kind}")
        return found


def typed_frame(rows: pd.DataFrame, problems: Problems) -> pd.DataFrame:
    """`Specimens.frame` of rows in the hub's columns; what cannot be typed is noted, and NaN, -1 or "" in the frame."""
    names = row_names(rows)
    frame = pd.DataFrame({"split": rows["split"].astype(str)})
    for column, source in _INTEGERS.items():
        frame[column] = _integers(rows[source], source, names, problems)
    for column, source in _STRINGS.items():
        frame[column] = _strings(rows[source])
        for row in np.flatnonzero(frame[column] == ""):
            problems.add(
                f"{source} missing", f"{names[row]}: {source} must be given, but is {_shown(rows[source].iloc[row])}"
            )
    species = _strings(rows["scientificName"])
    frame["species"] = species.where(species != "", "unknown")  # an insect that nobody could identify is no mistake
    given = _strings(rows["public_id"]) if "public_id" in rows.columns else pd.Series("", index=rows.index)
    frame["specimen_id"] = given.where(given != "", pd.Series(names, index=rows.index).str.replace(" row ", "-"))
    for target in TARGETS:
        frame[target] = _labels(rows[target], target, names, problems)
    order = ["split", "event_id", "domain_id", "site_id", "species", "date", "specimen_id", *TARGETS]
    return frame[order]


def row_names(rows: pd.DataFrame) -> list[str]:
    """ "train row 0", ...: a row's number in its split."""
    numbers = rows.groupby("split").cumcount()
    return [f"{split} row {number}" for split, number in zip(rows["split"], numbers, strict=True)]


def note_bad_events(frame: pd.DataFrame, problems: Problems) -> None:
    """Note events of several sites or labels, and sites of several domains.

    An event of several dates passes: traps are left out for days, and nothing here depends on it.
    """
    names = row_names(frame)
    known = frame[(frame["event_id"] >= 0) & (frame["site_id"] != "")]
    _check_one(known, "event_id", "site_id", "event {} must be of one site, but is of {}", names, problems)
    of_domain = frame[(frame["domain_id"] >= 0) & (frame["site_id"] != "")]
    _check_one(of_domain, "site_id", "domain_id", "site {} must be in one domain, but is in {}", names, problems)
    labelled = frame[(frame["event_id"] >= 0) & frame[list(TARGETS)].notna().all(axis=1)]
    values = [tuple(triple) for triple in labelled[list(TARGETS)].to_numpy()]
    triples = labelled.assign(labels=pd.Series(values, index=labelled.index, dtype=object))
    rule = f"event {{}} must have one label each for {', '.join(TARGETS)}, but has {{}}"
    _check_one(triples, "event_id", "labels", rule, names, problems)


def note_bad_images(
    frame: pd.DataFrame, faults: Mapping[int, str], where: Callable[[int], str], problems: Problems
) -> None:
    """Note unreadable images. faults: row -> what is wrong with it. where: row -> the file it lies in."""
    names = row_names(frame)
    for row, fault in sorted(faults.items()):
        found = (
            f"{names[row]} ({frame['specimen_id'].iloc[row]}): the image must be readable, but {where(row)}: {fault}"
        )
        problems.add("images unreadable", found)
    if faults:
        problems.add("remedy", "mend unreadable images, or leave them out with --skip-bad-images")


def _check_one(frame: pd.DataFrame, of: str, value: str, rule: str, names: list[str], problems: Problems) -> None:
    """Note each group that has several values, with the first row of each value."""
    firsts = frame[[of, value]].drop_duplicates()
    for key, group in firsts[firsts.duplicated(of, keep=False)].groupby(of):
        several = list(zip(group.index.to_numpy(np.int64), group[value], strict=True))
        found = ", ".join(f"{_shown(v)} ({names[row]})" for row, v in several[:5])
        problems.add(rule.format("...", "several"), rule.format(key, found))


def _integers(values: pd.Series, source: str, names: list[str], problems: Problems) -> NDArray[np.int64]:
    numbers = pd.to_numeric(values, errors="coerce")
    is_whole = (numbers.notna() & (numbers % 1 == 0) & (numbers >= 0) & (numbers < 2**63)).to_numpy(bool)
    for row in np.flatnonzero(~is_whole):
        shown = _shown(values.iloc[row])
        problems.add(
            f"{source} is no number", f"{names[row]}: {source} must be an integer of 0 or more, but is {shown}"
        )
    return numbers.where(is_whole, -1).to_numpy(np.int64)


def _strings(values: pd.Series) -> pd.Series:
    """Text without surrounding blanks, "" where missing; dates as 2019-07-31."""
    if pd.api.types.is_datetime64_any_dtype(values):
        values = values.dt.strftime("%Y-%m-%d")
    return values.where(values.notna(), "").astype(str).str.strip()


def _labels(values: pd.Series, target: str, names: list[str], problems: Problems) -> NDArray[np.float64]:
    numbers = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    low, high = LABEL_RANGE
    with np.errstate(invalid="ignore"):
        is_good = (numbers >= low - LABEL_TOLERANCE) & (numbers <= high + LABEL_TOLERANCE)
    for row in np.flatnonzero(~is_good):
        shown = _shown(values.iloc[row])
        problems.add(
            f"{target} out of range", f"{names[row]}: `{low} <= {target} <= {high}` must hold, but got {shown}"
        )
    return np.where(is_good, numbers, np.nan)


def _shown(value: Any) -> str:
    if isinstance(value, tuple):
        return "/".join(f"{v:g}" for v in value)
    return repr(value) if isinstance(value, str) else str(value)
