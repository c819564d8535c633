"""Task files: what they say, that it is read and written alike, and every mistake with its line."""

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.beetles import LABEL_RANGE, TARGETS
from trainable.data.task import FOLDER, Task, beetles
from trainable.data.task_parts import Columns, RealTarget, Score
from trainable.errors import UserError
from trainable.yaml_source import file_names

TRAITS = """
about: two traits of leaves
columns: {image: photo, site: place, domain: region}
covariates: [genus]
targets:
  length: {real: [0, null], unit: mm, column: "length (mm)"}
  dry mass: {real: any, unit: g}
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def refused(tmp_path: Path, text: str) -> list[str]:
    path = written(tmp_path, text)
    with pytest.raises(UserError) as caught:
        Task.load(path)
    return [problem.replace(str(path), "mine.yaml") for problem in caught.value.problems]


def test_the_built_in_task_is_the_challenge():
    task = beetles()

    assert task.names == TARGETS
    assert {(target.low, target.high) for target in task.targets} == {LABEL_RANGE}
    assert all(target.is_standard for target in task.targets)
    assert task.score == Score(kind="crps", scale="raw")
    assert task.is_beetles


def test_a_file_of_another_kind_is_read_in_its_own_words(tmp_path):
    task = Task.load(written(tmp_path, TRAITS))

    assert task.columns == Columns(image="photo", site="place", domain="region")
    assert task.targets == (
        RealTarget(name="length", column="length (mm)", low=0.0, unit="mm"),
        RealTarget(name="dry mass", column="dry mass", unit="g"),
    )
    assert task.score == Score(kind="crps", scale="skill")
    assert task.required_columns == ("length (mm)", "dry mass", "region", "place", "genus")
    assert not task.is_beetles


@pytest.mark.parametrize("name", [*file_names(FOLDER), "mine"])
def test_a_task_is_written_as_it_is_read(name, tmp_path):
    task = Task.load(written(tmp_path, TRAITS) if name == "mine" else name)
    again = Task.load(written(tmp_path, yaml.safe_dump(task.to_dict(), sort_keys=False)))

    assert again == task
    assert again.fingerprint == task.fingerprint
    assert Task.from_dict(task.to_dict()) == task


def test_a_fingerprint_tells_tasks_apart_but_not_what_is_said_about_them():
    task = beetles()

    assert replace(task, about="something else").is_beetles
    for other in (
        replace(task, targets=task.targets[::-1]),
        replace(task, targets=(replace(task.targets[0], high=3.0), *task.targets[1:])),
        replace(task, columns=replace(task.columns, domain=None)),
        replace(task, covariates=()),
        replace(task, score=Score()),
    ):
        assert not other.is_beetles


def test_every_mistake_is_told_at_once_with_its_line(tmp_path):
    text = (
        "about: [1]\n"
        "columns: {immage: photo, site: ''}\n"
        "covariates: genus\n"
        "targets:\n"
        "  date: {real: any}\n"
        "  mass: {real: [2, 1]}\n"
        "  size: {real: [0, .inf], units: mm}\n"
        "  kind: {classes: auto}\n"
        "  bare: {unit: mm}\n"
        "score: {kind: log_loss, scale: rwa}\n"
        "sites: 3\n"
    )
    lines = refused(tmp_path, text)

    for number, part in [
        (11, "`sites` is not a key here; valid: about, columns, covariates, numbers, targets, score"),
        (1, "`about` must be a text, but got [1]"),
        (2, "`immage` is not a key here; did you mean `image`?; valid: image, event, site, domain, id, date"),
        (2, "`site` must be the name of a column, or be left out, but got ''"),
        (2, "`columns.image` must name the column of the photographs"),
        (3, "`covariates` must be a list of columns, but got 'genus'"),
        (5, "a target of numbers must not be called"),
        (6, "`low < high` must hold, but got [2, 1]"),
        (7, "`units` is not a key here; did you mean `unit`?"),
        (7, "`real` must be [low, high], finite numbers or null for no bound, or any, but got [0, inf]"),
        (
            8,
            "a target of classes must be the only one of its task, but this has `date`, `mass`, `size`, `kind`, `bare`",
        ),
        (9, "`bare` must have `real`"),
        (10, "`kind` must be one of crps for numbers, but got 'log_loss'"),
        (10, "`scale` must be one of raw, skill, but got 'rwa'; did you mean `raw`?"),
    ]:
        assert any(line.startswith(f"mine.yaml:{number}: {part}") for line in lines), (number, part, lines)
    assert len(lines) == 14


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("auto", "`species` must be a mapping such as"),
        ("{class: auto}", "`class` is not a key here; did you mean `classes`?; valid: classes, real, unit, column"),
        ("{column: name}", "`species` must have `real`, its bounds [low, high] or any; or `classes`, auto or a list"),
    ],
)
def test_a_target_that_does_not_say_what_it_is_is_not_taken_for_numbers(tmp_path, spec, problem):
    lines = refused(tmp_path, f"columns: {{image: a}}\ntargets: {{species: {spec}}}\nscore: {{kind: log_loss}}\n")
    assert any(line.startswith(f"mine.yaml:2: {problem}") for line in lines), lines
    assert not any("must not be called" in line or "for numbers" in line for line in lines)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("columns: {image: a}\n", "`targets` must be a mapping"),
        ("columns: {image: a}\ntargets: {}\n", "mine.yaml:2: `targets` must have 1 to 100 entries, but has 0"),
        ("columns: {image: a}\ntargets: {x: 3}\n", "mine.yaml:2: `x` must be a mapping"),
        ("columns: {image: a}\ntargets: {x: {real: [0, true]}}\n", "`real` must be [low, high]"),
        ("columns: {image: a}\ntargets: {x/y: {real: any}}\n", "name the column by `column`"),
        ("columns: {image: a}\ntargets: {x: {real: any}, x_mu: {real: any}}\n", "`x_mu` must be no target beside `x`"),
        ("columns: {image: a, site: x}\ntargets: {x: {real: any}}\n", "'x' is `columns.site` and target `x`"),
        ("columns: {image: a}\ncovariates: [x]\ntargets: {x: {real: any}}\n", "'x' is `covariates` and target `x`"),
        ("columns: {image: a}\ncovariates: [b, c]\ntargets: {x: {real: any}}\n", "one column at most so far"),
    ],
)
def test_what_no_task_can_be_is_refused(tmp_path, text, message):
    (line,) = refused(tmp_path, text)

    assert message in line


def test_a_name_that_there_is_not_lists_the_built_in_ones():
    with pytest.raises(UserError, match=r"a task must be one of .*beetles.*, but got 'birds'"):
        Task.load("birds")
