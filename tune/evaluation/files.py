"""The files of an evaluation: each is written whole or stays as it was."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainable.errors import UserError
from trainable.whole_file import whole_file
from tune.command_line.outputs import folder_problem
from tune.evaluation.reports import Comparison, ModelReport
from tune.report.report import json_values

RESULTS, REPORT, PAGE = "results.json", "report.json", "report.html"
COMPARISON, COMPARISON_PAGE, COMPARISON_FIGURE = "comparison.json", "comparison.html", "comparison.png"
FIGURES = "figures"


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """Where a model's evaluation lies; figures: by name."""

    results: Path
    report: Path
    page: Path
    figures: dict[str, Path]


def checked_folder(folder: Path) -> Path:
    """`folder`, absolute, which is there and takes files, or can be made; it is not made yet.

    Raises: UserError when that cannot be.
    """
    folder = Path(os.path.expanduser(folder)).absolute()
    if (problem := folder_problem(folder, "--out")) is not None:
        raise UserError(problem)
    return folder


def results_folder(model: Path | None, out: Path) -> Path:
    """Beside the model where it is the user's own folder and takes files, else in `out`."""
    return model.absolute() if model is not None and _takes_files(model) else out


def write_report(report: ModelReport, page: str, figures: Mapping[str, bytes], *, out: Path, results: Path) -> Written:
    """Write everything of one model to `out`, its `results.json` to the folder `results`."""
    written = Written(
        results=results / RESULTS,
        report=out / REPORT,
        page=out / PAGE,
        figures={name: out / FIGURES / f"{name}.png" for name in figures},
    )
    (out / FIGURES).mkdir(parents=True, exist_ok=True)
    for name, png in figures.items():
        _write(written.figures[name], png)
    _write(written.page, page)
    _write(written.report, as_json(report.to_dict()))
    _write(written.results, as_json(report.evaluation.seed_results()))
    return written


def write_comparison(comparison: Comparison, page: str, figure: bytes, *, out: Path) -> list[Path]:
    """Write the comparison to `out`; returns its files, values, page and figure."""
    contents: dict[str, str | bytes] = {
        COMPARISON: as_json(comparison.to_dict()),
        COMPARISON_PAGE: page,
        COMPARISON_FIGURE: figure,
    }
    out.mkdir(parents=True, exist_ok=True)
    for name, content in contents.items():
        _write(out / name, content)
    return [out / name for name in contents]


def _write(path: Path, content: str | bytes) -> None:
    with whole_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def as_json(value: Mapping[str, Any]) -> str:
    """Strict JSON: what is undefined is null."""
    return json.dumps(json_values(value), indent=2, allow_nan=False) + "\n"


def _takes_files(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
