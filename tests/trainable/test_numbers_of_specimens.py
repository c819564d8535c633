"""Numbers known when predicting, as they stand in a task and a table: typed, checked, missing where a cell is empty."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from tests.leaves import draw_leaves, leaf_data, read_leaves
from tests.trainable.test_specimens import make_rows, write_image_folder, write_shards
from tests.trainable.test_task import refused
from trainable.data.number_table import read_numbers
from trainable.data.specimens import load_specimens
from trainable.data.task import Task, beetles
from trainable.errors import UserError
from trainable.training.trial_data import TrialData

NUMBERS = ["size_mm", "elevation"]
TASK = Task.from_dict({**beetles().to_dict(), "numbers": NUMBERS})
SIZES = ["12.5", "", " 7 ", "1e3", "0", "-3.25", "", "8"]
READ = [12.5, np.nan, 7.0, 1000.0, 0.0, -3.25, np.nan, 8.0]


def read(folder: Path, *, task: Task = TASK, to_learn: bool = True):
    return load_specimens(str(folder), task=task, cache_dir=folder.parent / "cache", n_processes=1, to_learn=to_learn)


def problems_of(folder: Path, **options) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        read(folder, **options)
    return caught.value.problems


def image_folder(tmp_path: Path, sizes: list, metadata: str = "metadata.csv", **columns) -> Path:
    columns = {"elevation": list(range(8)), **columns}
    return write_image_folder(tmp_path / "i", make_rows(8), metadata=metadata, size_mm=sizes, **columns)


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.parquet", "metadata.jsonl"])
def test_numbers_are_read_and_empty_cells_are_missing(tmp_path, metadata):
    sizes = SIZES if metadata.endswith("csv") else [None if np.isnan(size) else size for size in READ]
    specimens = read(image_folder(tmp_path, sizes, metadata))

    np.testing.assert_array_equal(specimens.numbers, np.stack([READ, np.arange(8.0)], axis=1))
    assert specimens.notes == ()


def test_shards_have_numbers_too_and_a_number_may_be_called_like_a_target(tmp_path):
    rows = [{**row, "SPEI": None if i == 3 else 2 + i // 4, "date": 1.5 + i // 4} for i, row in enumerate(make_rows(8))]
    task = Task.from_dict({**TASK.to_dict(), "numbers": ["SPEI", "date"]})
    of_mass = {"mass": {"real": "any", "column": "SPEI_30d"}, "date2": {"real": "any", "column": "SPEI_2y"}}
    task = Task.from_dict({**task.to_dict(), "targets": of_mass, "numbers": ["SPEI", "date"]})
    specimens = read(write_shards(tmp_path / "d", rows[:6], rows[6:]), task=task)

    assert specimens.numbers[:, 0].tolist()[:3] == [2, 2, 2]
    assert np.flatnonzero(np.isnan(specimens.numbers)).tolist() == [6]
    assert not {1.5, 2.5} & set(specimens.frame["date"])


def test_other_numbers_are_other_data_on_the_same_photographs(tmp_path):
    folder = image_folder(tmp_path, SIZES)
    first, without = read(folder), read(folder, task=beetles())
    other = read(image_folder(tmp_path, ["12.6", *SIZES[1:]]))

    assert len({first.fingerprint, other.fingerprint, without.fingerprint}) == 3
    assert first.features_fingerprint == other.features_fingerprint
    assert without.numbers is None


def test_a_number_that_is_the_same_everywhere_is_refused_to_learn_from(tmp_path):
    folder = image_folder(tmp_path, ["5", "", *["5"] * 6])

    assert "column size_mm must have different numbers, or no part in `numbers`, but has 5 alone" in problems_of(folder)
    assert read(folder, to_learn=False).numbers[0, 0] == 5


def test_a_duration_is_no_number(tmp_path):
    elapsed = pd.to_timedelta([1, 2, None, 4, 5, 6, 7, 8], unit="D")
    found = problems_of(image_folder(tmp_path, list(elapsed), "metadata.parquet", SPEI_2y=list(elapsed)))

    assert len([problem for problem in found if "size_mm must be a number" in problem]) == 7
    assert any("SPEI_2y" in problem and "1 day" in problem for problem in found)


def test_an_integer_beyond_any_number_and_lines_nested_too_deeply_are_told_in_one_line(tmp_path):
    folder = image_folder(tmp_path, SIZES, "metadata.jsonl")
    lines = (folder / "metadata.jsonl").read_text().splitlines()
    values = json.loads(lines[0])
    huge = json.dumps({**values, "size_mm": 10**400, "SPEI_2y": 10**400})
    (folder / "metadata.jsonl").write_text("\n".join([huge, *lines[1:]]))
    assert any("size_mm must be a number within" in problem for problem in problems_of(folder))
    (folder / "metadata.jsonl").write_text("\n".join(["[" * 100_000, *lines[1:]]))
    assert any("line 1 must be a JSON object" in problem for problem in problems_of(folder))


def test_all_that_is_wrong_with_numbers_is_told_at_once(tmp_path):
    sizes = ["12.5", "large", "inf", "3,5", "-3.4e38", "NA", "", "1"]
    found = problems_of(image_folder(tmp_path, sizes, elevation=[""] * 8, SPEI_1y=["x"] * 8))

    rule = "size_mm must be a number within 1e+30, or an empty cell where it is not known, but got"
    for row, cell in ((1, "'large'"), (2, "'inf'"), (3, "'3,5'"), (4, "'-3.4e38'"), (5, "'NA'")):
        assert f"train row {row}: {rule} {cell}" in found
    assert "column elevation must have a number in some rows, but has none in any" in found
    assert any("SPEI_1y" in problem for problem in found)


@pytest.mark.parametrize("kind", ["csv", "shards", "class folders"])
def test_a_column_that_is_absent_is_an_error_to_learn_from_and_a_line_to_forecast_from(kind, tmp_path):
    task = TASK
    if kind == "csv":
        folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv", size_mm=SIZES)
    elif kind == "shards":
        folder = write_shards(tmp_path / "d", [{**row, "size_mm": 1.5} for row in make_rows(6)], make_rows(2, first=6))
    else:
        folder = tmp_path / "c"
        for row in make_rows(8):
            (folder / row["siteID"]).mkdir(parents=True, exist_ok=True)
            (folder / row["siteID"] / f"{row['public_id']}.png").write_bytes(row["file_path"]["bytes"])
        values = {"columns": {"image": "file_name"}, "numbers": NUMBERS, "targets": {"label": {"classes": "auto"}}}
        task = Task.from_dict(values)

    missing = [problem for problem in problems_of(folder, task=task) if "must be there" in problem]
    assert len(missing) == {"csv": 1, "shards": 3, "class folders": 1}[kind]
    assert all("elevation must be there" in problem for problem in missing)

    specimens = read(folder, task=task, to_learn=False)
    lacking = "size_mm, elevation" if kind == "class folders" else "elevation"
    assert [note for note in specimens.notes if "column" in note] == [
        f"the table has no column {lacking}: taken for missing"
    ]
    assert np.isnan(specimens.numbers[:, 1]).all()


def test_a_task_file_is_checked_line_by_line(tmp_path):
    head = "columns: {image: photo, date: day}\ntargets:\n  mass: {real: any}\n"
    for value, part in [
        ("size", "`numbers` must be a list of columns, but got 'size'"),
        ("[1]", "`numbers` must be a list of columns, but got [1]"),
        ("[size, event]", "a number must not be called image, domain, species, event, but one is `event`"),
        ("[size, size]", "a column must have one meaning, but 'size' is `numbers` and `numbers`"),
        ("[split]", "a column called split says train or validation, and can have no other meaning"),
        ("[file_name]", "a column called file_name names photographs, and can have no other meaning"),
        ("[day]", "a column must have one meaning, but 'day' is `columns.date` and `numbers`"),
        ("[mass]", "a column must have one meaning, but 'mass' is `numbers` and target `mass`"),
        (str([f"n{i}" for i in range(101)]), "`numbers` must name 100 columns at most, but got 101"),
    ]:
        (line,) = refused(tmp_path, f"{head}numbers: {value}\n")
        assert part in line
        assert line.startswith("mine.yaml:")


def test_a_task_without_numbers_is_written_as_before_and_one_with_them_is_another():
    one, other = Task.load("demo-one"), Task.load("demo-size")

    assert "numbers" not in one.to_dict()
    assert other.numbers == ("size_mm",)
    assert other.differences(one) == ("numbers: ['size_mm'], absent",)
    assert Task.from_dict(yaml.safe_load(yaml.safe_dump(other.to_dict()))) == other


def test_numbers_reach_the_trials_by_their_file(tmp_path):
    draw_leaves(tmp_path)
    table = pd.read_csv(tmp_path / "metadata.csv", keep_default_na=False)
    table.assign(height=[f"{row / 2}" if row % 5 else "" for row in range(len(table))]).to_csv(
        tmp_path / "metadata.csv", index=False
    )
    values = {"columns": {"image": "file_name", "site": "place"}, "targets": {"mass": {"real": "any"}}}
    plain, with_numbers = (
        read_leaves(tmp_path, Task.from_dict({**values, **more}), tmp_path / "cache")
        for more in ({}, {"numbers": ["height"]})
    )
    leaf_data(plain, tmp_path / "cache", holdout="both")
    assert TrialData.load(tmp_path / "cache" / "data").numbers is None
    data = leaf_data(with_numbers, tmp_path / "cache", holdout="both")

    np.testing.assert_array_equal(data.numbers, with_numbers.numbers)
    assert np.isnan(data.numbers).any()
    np.testing.assert_array_equal(data.folds[0].numbers, data.numbers)


# --- a table beside photographs


def photographs(tmp_path: Path) -> list[Path]:
    return [tmp_path / "photos" / f"{name}.png" for name in "abc"]


def numbers_of(tmp_path: Path, text: str, suffix: str = ".csv"):
    table = tmp_path / f"sizes{suffix}"
    table.write_text(text)
    return read_numbers(table, photographs(tmp_path), NUMBERS, TASK)


def test_a_table_names_photographs_beside_itself_and_what_it_lacks_is_said(tmp_path):
    text = "file_name,size_mm,site\nphotos/c.png,3,x\nphotos/a.png,,y\nother.png,9,z\n"
    known, lines = numbers_of(tmp_path, text)

    np.testing.assert_equal([row["size_mm"] for row in known], [np.nan, np.nan, 3.0])
    assert all(np.isnan(row["elevation"]) for row in known)
    table = tmp_path / "sizes.csv"
    assert lines == (
        f"{table} has no column elevation: taken for missing",
        f"{table} has empty cells for size_mm of 1 of 3: taken for missing",
        f"1 photograph of 3 is not in {table}: its numbers are taken for missing",
    )


def test_the_photographs_column_may_be_that_of_the_task_and_the_table_json_lines(tmp_path):
    text = '{"file_path": "photos/b.png", "size_mm": 2.5, "elevation": null}\n'
    known, (empty, line) = numbers_of(tmp_path, text, ".jsonl")

    assert known[1]["size_mm"] == 2.5
    assert "empty cells for elevation of 1 of 3" in empty
    assert "2 photographs of 3 are not in" in line


def test_a_table_that_names_none_of_the_photographs_is_refused(tmp_path):
    with pytest.raises(
        UserError, match=r"names none of the 3 given: it has .*elsewhere/a\.png, and .*a\.png was looked for"
    ):
        numbers_of(tmp_path, "file_name,size_mm,elevation\nelsewhere/a.png,3,4\n")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("name,size_mm\na,1\n", ["column file_name or file_path must be there, but has name, size_mm"]),
        ("file_name;size_mm\na;1\n", ["must be separated by commas"]),
        (
            "file_name,size_mm,elevation\na,big,1\na,2,high\n,3,4\n",
            [
                "sizes.csv: line 2: size_mm must be a number",
                "sizes.csv: line 3: elevation must be a number",
                "sizes.csv: line 3: file_name must name each photograph once, but line 2 has a too",
                "sizes.csv: line 4: file_name must be the path of a photograph",
            ],
        ),
    ],
)
def test_all_that_is_wrong_with_a_table_of_numbers_is_told_at_once(text, parts, tmp_path):
    with pytest.raises(UserError) as caught:
        numbers_of(tmp_path, text)

    assert len(caught.value.problems) == len(parts)
    for part in parts:
        assert any(part in problem for problem in caught.value.problems), (part, caught.value.problems)


@pytest.mark.parametrize(
    ("text", "suffix", "place"),
    [
        ("file_name,size_mm\r\n\r\n  \r\na,1\r\n\r\nb,big\r\n", ".csv", "line 6"),
        ('file_name,size_mm,site\na,1,"by the\n\nbrook"\nb,big,"in\nreed"\n', ".csv", "line 5"),
        ('\ufefffile_name,"size_mm"\n"a, b",1\nb,big', ".csv", "line 3"),
        ('{"file_name": "a", "size_mm": 1}\n\n{"file_name": "b", "size_mm": "big"}\n', ".jsonl", "line 3"),
    ],
)
def test_a_row_is_named_by_the_line_where_an_editor_shows_it(text, suffix, place, tmp_path):
    with pytest.raises(UserError, match=f"{suffix}: {place}: size_mm must be a number"):
        numbers_of(tmp_path, text, suffix)


def test_a_row_of_a_parquet_file_which_has_no_lines_is_counted_from_0(tmp_path):
    table = tmp_path / "sizes.parquet"
    pd.DataFrame({"file_name": ["a", "b"], "size_mm": ["1", "big"]}).to_parquet(table)
    with pytest.raises(UserError, match=r"\.parquet: row 1: size_mm must be a number"):
        read_numbers(table, photographs(tmp_path), NUMBERS, TASK)


@pytest.mark.parametrize("name", ["absent.csv", "photos", "sizes.xlsx"])
def test_what_is_no_table_is_refused(name, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "sizes.xlsx").touch()
    with pytest.raises(UserError, match=r"`--numbers` must be a table \(\.csv, \.parquet, \.jsonl\), but got "):
        read_numbers(tmp_path / name, photographs(tmp_path), NUMBERS, TASK)
