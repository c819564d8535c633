"""What the columns of a table hold that nobody has described, and what their names say of them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd

from trainable.data.cell_forms import PLACE, kind_of, name_places
from trainable.data.odd_cells import NO_VALUE
from trainable.shown import brief

_IDENTITY = re.compile(r"(^|_)(id|uuid|index|key)$|(?<=[a-z])(ID|Id)$")
_COORDINATE = re.compile(
    r"(decimal)?_?(lat|lon|lng|latitude|longitude|x|y|elevation|altitude|year|month|day|hour)"
    r"|[xy]_?(min|max|coord|coordinate|pos|position)?|(coord|pos)_?[xy]",
)
_PLACE = re.compile(PLACE)
_PERSON = re.compile(
    r"user|login|observer|photographer|collector|annotator|author|rights_holder|(recorded|identified|taken|created)_by"
)
_CATEGORY = re.compile(
    r"species|genus|family|taxon|scientific|common_name|variety|cultivar|breed|sex|stage|scanner|device"
    r"|^(kingdom|phylum|order)$"
)
_LABEL = re.compile(
    r"(class|cls|class_label|label|(gt|true|ground_truth)_label|ground_truth|target|category|y)(_name|_id)?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnFacts:
    """One column. kind: "photographs", "numbers", "whole numbers", "dates", "text", "lists", or "nothing"; or what is
    not read: "addresses" of the web, "written numbers" (3,5 or 3 mm), "bytes" that nothing says to be photographs.

    counts_rows: whether it holds 0, 1, 2, ... or 1, 2, 3, ... as a table that was saved with its index does.
    names_places: whether each value is such as `site 3`.
    """

    name: str
    kind: str
    n_values: int
    n_missing: int
    examples: tuple[str, ...]
    counts_rows: bool = False
    names_places: bool = False

    @property
    def is_identity(self) -> bool:
        """Whether its name says that it tells rows, or groups of them, apart."""
        return _IDENTITY.search(self.name) is not None or _IDENTITY.search(self._words) is not None

    @property
    def is_place(self) -> bool:
        """Whether its name, or each of its values, is that of a place, an occasion, or who was looked at."""
        return self.names_places or _PLACE.search(self._words) is not None

    @property
    def is_person(self) -> bool:
        """Whether its name is that of who took a photograph, or told what it shows."""
        return _PERSON.search(self._words) is not None

    @property
    def is_coordinate(self) -> bool:
        """Whether its name tells place or time in numbers."""
        return _COORDINATE.fullmatch(self._words) is not None

    @property
    def is_category(self) -> bool:
        """Whether its name is that of a kind of things."""
        return _CATEGORY.search(self._words) is not None

    @property
    def is_label(self) -> bool:
        """Whether it is called as labels are."""
        return not self.names_places and _LABEL.fullmatch(self._words) is not None

    @property
    def may_be_group(self) -> bool:
        """Whether rows may belong together by it: words, or numbers whose name says so."""
        return self.kind == "text" or self.is_identity or (self.kind == "whole numbers" and self.is_place)

    @property
    def _words(self) -> str:
        """Its name as `location_id`, however it is written: `Location ID`, `locationId`, `location-id`."""
        apart = re.sub(r"(?<=[a-z])(?=[A-Z][a-z])", "_", self.name.strip())
        return re.sub(r"[\s.-]+", "_", apart).lower()


def column_facts(
    rows: pd.DataFrame, photographs: Sequence[str] = (), bare: Sequence[str] = ()
) -> dict[str, ColumnFacts]:
    """What each column holds; photographs, bare: those with encoded images and with bytes, which `rows` lacks."""
    encoded = {
        name: ColumnFacts(name=name, kind=kind, n_values=len(rows), n_missing=0, examples=())
        for kind, names in (("photographs", photographs), ("bytes", bare))
        for name in names
    }
    return encoded | {str(name): _facts(str(name), rows[name]) for name in rows.columns if name != "split"}


def cell_text(value: object) -> str:
    """A cell as it is read: "" for none; of lists and mappings what they look like."""
    return "" if value is None or value != value else str(value).strip()


def _facts(name: str, values: pd.Series) -> ColumnFacts:
    text = values.map(cell_text)
    given = text[text != ""]
    if kind_of(given) == "text" and "numbers" in kind_of(without := given[~given.str.fullmatch(NO_VALUE)]):
        given = without
    kind = "lists" if values.map(lambda value: isinstance(value, list | dict)).any() else kind_of(given)
    return ColumnFacts(
        name=name,
        kind=kind,
        n_values=given.nunique(),
        n_missing=len(values) - len(given),
        examples=tuple(brief(value) for value in given.unique()[:3]),
        counts_rows=kind == "whole numbers" and len(given) == len(values) and _counts_rows(given),
        names_places=kind == "text" and name_places(given),
    )


def _counts_rows(given: pd.Series) -> bool:
    numbers = pd.to_numeric(given).to_numpy()
    return len(numbers) > 1 and numbers[0] in (0, 1) and bool((numbers[1:] - numbers[:-1] == 1).all())
