"""The files of an evaluation: each is written whole or stays as it was."""

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from trainable.errors import UserError
from trainable.whole_file import whole_file
from tune.command_line.outputs import folder_problem
from tune.evaluation.reports import Comparison, ModelReport
from tune.report.results import json_values

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
    """Beside the model where it is given and takes files, else in `out`; model: None for a download, or with --out."""
    return model.absolute() if model is not None and _takes_files(model) else out


def write_report(report: ModelReport, page: str, figures: Mapping[str, bytes], *, out: Path, results: Path) -> Written:
    """Write everything of one model to `out`, its `results.json` to the folder `results`."""
    written = Written(
        results=results / RESULTS,
        report=out / REPORT,
        page=out / PAGE,
        figures={name: out / FIGURES / f"{name}.png" for name in figures},
    )
    contents: dict[Path, str | bytes] = {written.figures[name]: png for name, png in figures.items()}
    contents |= {
        written.page: page,
        written.report: as_json(report.to_dict()),
        written.results: as_json(report.evaluation.seed_results()),
    }
    _write_all(contents)
    return written


def write_comparison(comparison: Comparison, page: str, figure: bytes, *, out: Path) -> list[Path]:
    """Write the comparison to `out`; returns its files, values, page and figure."""
    contents: dict[Path, str | bytes] = {
        out / COMPARISON: as_json(comparison.to_dict()),
        out / COMPARISON_PAGE: page,
        out / COMPARISON_FIGURE: figure,
    }
    _write_all(contents)
    return list(contents)


def _write_all(contents: Mapping[Path, str | bytes]) -> None:
    """Write each whole; of what was not there before nothing is left where one of them could not be written."""
    new: list[Path] = []
    try:
        for path, content in contents.items():
            new += reversed([folder for folder in path.parents if not folder.exists()])
            path.parent.mkdir(parents=True, exist_ok=True)
            if not path.exists():
                new.append(path)
            with whole_file(path) as temporary:
                temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    except OSError:
        for path in reversed(new):
            with suppress(OSError):  # of what is not there, and of a folder that somebody else put something into
                path.rmdir() if path.is_dir() else path.unlink()
        raise


def as_json(value: Mapping[str, object]) -> str:
    """Strict JSON: what is undefined is null."""
    return json.dumps(json_values(value), indent=2, allow_nan=False) + "\n"


def _takes_files(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)
