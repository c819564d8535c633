"""One odd cell changes what a column seems to be: it is told by name."""

import pandas as pd

from trainable.data.column_facts import column_facts
from trainable.data.odd_cells import odd_cells, spellings
from trainable.data.task_proposal import propose


def table(**changed: list[str]) -> pd.DataFrame:
    plots = [f"p{i}" for i in range(12) for _ in range(2)]
    return pd.DataFrame({"plot": plots, "genus": ["Acer", "Acer", "Tilia", "Tilia"] * 6} | changed)


def test_a_table_without_odd_cells_raises_no_doubt():
    assert list(odd_cells(table(), ["plot", "genus"])) == []


def test_spellings_of_one_value_and_the_group_that_they_break_are_told():
    rows = table(genus=["acer", "Acer", *(["Tilia", "Tilia", "Acer", "Acer"] * 6)[:22]])
    assert spellings(pd.Series(["a b", "A  B", "c"])) == [("A  B", "a b")]
    assert list(odd_cells(rows, ["plot", "genus"])) == [
        "genus: 'Acer' and 'acer' may be one value",
        "genus is the same throughout each plot, but for 1 of 12: 'p0' has 'Acer', 'acer'",
    ]


def test_cells_that_stand_for_no_value_leave_numbers_numbers():
    photographs = [f"{i}.png" for i in range(24)]
    rows = table(image=photographs, mass=["NA", *(str(0.1 * i) for i in range(23))])
    assert column_facts(rows)["mass"].kind == "numbers"
    proposal = propose(rows, column_facts(rows))
    assert proposal.reasons["mass"].startswith("left out: 1 of 24 rows have no value, and every row needs one; ")
    assert proposal.doubts == ("mass: 1 cell with 'NA', which may stand for no value",)
