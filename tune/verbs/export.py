"""A model in another form: the challenge's submission, a torch program, or a checked copy of the folder.

sentinel-tune export MODEL [--submission DIR] [--out DIR] [--format torch-export --out FILE.pt2]

A submission is written twice: as the folder DIR, and as DIR.zip beside it, which is what is uploaded.
"""

import time
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.errors import UserError
from trainable.export.placing import archive_of
from tune.command_line.model_options import ExportOptions
from tune.command_line.outputs import file_problem, folder_problem
from tune.command_line.parsing import Given
from tune.models.model_source import local_model, open_model
from tune.report.console import Console
from tune.report.results import duration

if TYPE_CHECKING:
    from trainable.export.standalone import ExportedModel


def run(given: Given) -> int:
    """Write what is asked for; returns the exit status 0.

    Raises: UserError for options that do not fit together, a model that cannot be read, a place that is taken.
    """
    started = time.monotonic()
    options: ExportOptions = given.options()
    console = Console(json=options.json)
    if problems := list(_problems(options)):
        raise UserError(problems)
    model = local_model(options.model, tracking_uri=options.tracking_uri, console=console)
    if problems := list(_overlaps(model, options)):
        raise UserError(problems)
    loaded = open_model(str(model), None, "cpu", console)  # whole, or refused before anything is written
    submission, archive = _write_submission(model, options.submission) if options.submission else (None, None)
    out = _write_out(model, loaded, options, console) if options.out else None
    seconds = time.monotonic() - started
    written = (("submission", submission), ("to upload", archive), (options.format, out))
    lines = [f"{what}: {path}" for what, path in written if path]
    console.finish(
        text="\n".join([*lines, f"exported and checked in {duration(seconds)}"]),
        json={
            "model": str(model),
            "submission": None if submission is None else str(submission),
            "submission_zip": None if archive is None else str(archive),
            "format": options.format,
            "out": None if out is None else str(out),
            "seconds": round(seconds, 1),
        },
    )
    return 0


def _problems(options: ExportOptions) -> Iterator[str]:
    if options.format == "torch-export":
        if options.out is None:
            yield "`--format torch-export` needs `--out FILE.pt2`, but got none"
        elif options.out.suffix != ".pt2":
            yield f"`--out` must be a .pt2 file for `--format torch-export`, but got {options.out}"
    elif options.out is None and options.submission is None:
        yield "`export` must be told what to write: `--submission DIR`, `--out DIR`, or both"
    for option, place in (("--submission", options.submission), ("--out", options.out)):
        seen = file_problem if option == "--out" and options.format == "torch-export" else folder_problem
        if place is not None and (problem := seen(place, option)) is not None:
            yield problem


def _overlaps(model: Path, options: ExportOptions) -> Iterator[str]:
    """A place is emptied before it is written to, so that none may be another's."""
    places = {"MODEL": [model]}
    if options.submission is not None:
        places["--submission"] = [options.submission, archive_of(options.submission)]
    if options.out is not None:
        places["--out"] = [options.out]
    for (other_name, others), (name, given) in combinations(places.items(), 2):
        pairs = [(path.resolve(), other.resolve()) for path in given for other in others]
        for path, other in [pair for pair in pairs if _overlap(*pair)][:1]:
            yield f"`{name}` must be apart from {other_name}, but got {path} and {other}"


def _overlap(path: Path, other: Path) -> bool:
    return path == other or path in other.parents or other in path.parents


def _write_submission(model: Path, folder: Path) -> tuple[Path, Path]:
    """The folder and the zip beside it."""
    from trainable.export.submission import write_submission  # loads torch and open_clip

    return write_submission(model, folder), archive_of(folder)


def _write_out(model: Path, loaded: "ExportedModel", options: ExportOptions, console: Console) -> Path:
    assert options.out is not None
    if options.format == "folder":
        from trainable.export.exporter import copy_export  # loads torch and open_clip

        return copy_export(model, options.out)
    from trainable.export.torch_program import write_program  # loads torch and open_clip

    console.say("tracing the model, which takes up to some minutes for a large one")
    return write_program(loaded, options.out)


if __name__ == "__main__":
    import sys

    from tune.cli import main

    sys.exit(main(["export", *sys.argv[1:]]))
