"""Values out of JSON files that were altered: each leaf is checked, and named where it is wrong."""

import copy
import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any, Literal, TypedDict

import pytest

from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from trainable.frozen.shards import read_record
from trainable.plain_values import misfits, parse_json
from trainable.scoring.out_of_fold import OutOfFold

STRANGE: tuple[Any, ...] = (
    None, True, -1, 0.5, 10**400, float("inf"), float("nan"), "", "x", [], [None], ["a", "b"], [[1]], {}, {"x": 1},
)  # fmt: skip


@dataclass
class Beetle:
    name: str
    length_mm: float
    legs: tuple[int, ...] = (3, 3)
    place: tuple[float, float] | None = None
    colour: Literal["black", "green"] = "black"


class Trap(TypedDict):
    beetles: tuple[Beetle, ...]
    counts: dict[str, int]


GOOD: dict[str, Any] = {
    "beetles": [{"name": "Carabus", "length_mm": 21, "place": [47.1, 8]}, {"name": "x", "length_mm": 1.5, "later": 1}],
    "counts": {"a": 1},
}


def test_what_is_as_it_must_be_has_no_misfits() -> None:
    assert list(misfits(GOOD, Trap, "trap")) == []


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["counts", "a"], 1.0, "`trap.counts.a` must be a whole number, but is 1.0"),
        (["counts", "a"], True, "`trap.counts.a` must be a whole number, but is true"),
        (["counts"], [1], "`trap.counts` must be an object, but is [1]"),
        (["beetles"], "many", "`trap.beetles` must be a list, each an object, but is 'many'"),
        (["beetles", 1, "name"], None, "`trap.beetles[1].name` must be a text, but is nothing"),
        (["beetles", 0, "length_mm"], float("nan"), "`trap.beetles[0].length_mm` must be a finite number, but is nan"),
        (["beetles", 0, "length_mm"], "21", "`trap.beetles[0].length_mm` must be a finite number, but is '21'"),
        (["beetles", 0, "place"], [1], "place` must be a list of 2, each a finite number or null, but is [1]"),
        (["beetles", 0, "colour"], "red", "`trap.beetles[0].colour` must be one of black, green, but is 'red'"),
        (["beetles", 0, "legs"], [3, "3"], "`trap.beetles[0].legs[1]` must be a whole number, but is '3'"),
        (["beetles", 0], {"name": "x"}, "`trap.beetles[0].length_mm` must be given, but is not"),
    ],
)  # fmt: skip
def test_a_leaf_of_another_type_is_named(place: list[str | int], value: Any, message: str) -> None:
    (problem,) = misfits(put(GOOD, place, value), Trap, "trap")

    assert message in problem


def test_all_misfits_are_told_at_once() -> None:
    altered = put(put(GOOD, ["counts", "a"], "x"), ["beetles", 0, "name"], 3)

    assert len(list(misfits(altered, Trap, "trap"))) == 2


def test_json_that_is_nested_too_deep_is_a_wrong_one_like_any_other() -> None:
    with pytest.raises(ValueError, match="nested too deep"):
        parse_json("[" * 200_000)


def test_whatever_one_value_of_the_facts_is_they_are_facts_or_lines_that_say_why_not(exports) -> None:
    facts = exports.facts(exports.config("lora", 2), intervals={"score/all": (0.4, 0.6)}, interval_level=0.9)
    good, problems = facts.to_dict(), []
    for place, value in product(places({name: value for name, value in good.items() if name != "config"}), STRANGE):
        try:
            read = ModelFacts.from_dict(put(good, place, value))
        except UserError as error:
            problems += error.problems
            continue
        json.dumps(read.to_dict(), allow_nan=False)
        assert f"{read.n_specimens:d} {read.interval_level:.0%} {', '.join(read.held_out_sites)}"

    assert len(problems) > 200
    assert [line for line in problems if not line.startswith("`facts.") or not line.isprintable()] == []


def test_intervals_without_their_level_are_refused(exports) -> None:
    facts = exports.facts(exports.config("lora", 2), intervals={"score/all": (0.4, 0.6)}, interval_level=None)

    with pytest.raises(UserError, match=r"`facts\.interval_level` must be given where there are intervals"):
        ModelFacts.from_dict(facts.to_dict())


RECORD = {"n_bytes": 8, "sha256": "0" * 64, "dtype": "float16", "count": 1, "mean": "", "m2": ""}


@pytest.mark.parametrize(
    "altered",
    [{"count": "x"}, {"count": 0}, {"n_bytes": 8.0}, {"sha256": None}, {"dtype": "int8"}, {"m2": "AAAAAAAAAAA="}],
)
def test_a_record_of_a_shard_with_a_value_that_cannot_be_is_none(tmp_path: Path, altered: dict[str, Any]) -> None:
    (tmp_path / "tap-01").mkdir()
    (tmp_path / "tap-01" / "shard-00000.npy").write_bytes(b"12345678")
    file = tmp_path / "tap-01" / "shard-00000.json"
    file.write_text(json.dumps(RECORD))
    assert read_record(tmp_path, 1, 0) is not None
    file.write_text(json.dumps(RECORD | altered))

    assert read_record(tmp_path, 1, 0) is None


ROWS = {"folds": [1, 1], "event_ids": [7, 8], "sites": ["a", "b"], "labels": [[0, 0, 0]] * 2, "crps": [[1, 1, 1]] * 2}
FORECASTS = {"id": {**ROWS, "mu": [[[0.5, 0, 0]] * 2]}}


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("labels", [[0, 0, 0]], "`folds` must be of shape"),
        ("mu", [[[0, 0]] * 2], "`mu` must be of shape"),
        ("mu", [], "`mu` must be of shape"),
        ("crps", [[1, 1, float("nan")]] * 2, "`crps` must be finite"),
        ("event_ids", [7], "`event_ids` must be of shape"),
    ],
)
def test_forecasts_that_do_not_fit_each_other_are_refused(name: str, value: Any, message: str) -> None:
    assert OutOfFold.from_dict(FORECASTS).parts["id"].mu.shape == (1, 2, 3)

    with pytest.raises(ValueError, match=message):
        OutOfFold.from_dict(put(FORECASTS, ["id", name], value))


def put(values: Any, place: list[str | int], value: Any) -> Any:
    """A copy with another value at a place."""
    changed = copy.deepcopy(values)
    *groups, last = place
    group = changed
    for name in groups:
        group = group[name]
    group[last] = value
    return changed


def places(values: Any, prefix: tuple[str | int, ...] = ()) -> list[list[str | int]]:
    """Of every value, groups and lists as a whole first."""
    found: list[list[str | int]] = []
    for name, value in values.items() if isinstance(values, dict) else enumerate(values[:1]):
        found.append([*prefix, name])
        if isinstance(value, dict | list):
            found += places(value, (*prefix, name))
    return found
