"""A model in another form, or given on: a submission, a torch program, ONNX, a checked copy of the folder, the hub.

sentinel-tune export MODEL [--submission DIR] [--out DIR]
sentinel-tune export MODEL --format torch-export --out FILE.pt2, or --format onnx --out FILE.onnx
sentinel-tune export MODEL --push OWNER/NAME [--licence mit] [--private]

A submission is written twice: as the folder DIR, and as DIR.zip beside it, which is what is uploaded.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.data.hub_name import HUB
from trainable.errors import UserError
from trainable.export.hub_card import NO_LICENCE
from trainable.export.onnx_packages import check_packages
from trainable.export.placing import archive_of
from tune.command_line.model_options import ExportOptions
from tune.command_line.outputs import file_problem, weights_folder_problem
from tune.command_line.parsing import Given
from tune.evaluation.forecasting import targets_of_model
from tune.models.hub_repository import HubRepository, writable_repository
from tune.models.model_source import local_model, open_model
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.report.results import duration

if TYPE_CHECKING:
    from trainable.export.standalone import ExportedModel
    from tune.models.hub_push import Pushed


SUFFIXES = {"torch-export": ".pt2", "onnx": ".onnx"}
"""Of the formats that are one file each."""


def run(given: Given) -> int:
    """Write what is asked for; returns the exit status 0.

    Raises: UserError for options that do not fit together, a model that cannot be read, a place that is taken.
    """
    started = time.monotonic()
    options: ExportOptions = given.options()
    console = Console(json=options.json)
    if problems := list(_problems(options)):
        raise UserError(problems)
    if options.format == "onnx":
        check_packages()
    repository = None if options.push is None else writable_repository(options.push, private=options.private)
    model = local_model(options.model, tracking_uri=options.tracking_uri, console=console)
    if problems := list(_overlaps(model, options)):
        raise UserError(problems)
    loaded = open_model(str(model), None, "cpu", console)  # whole, or refused before anything is written
    submission, archive = _write_submission(model, options.submission) if options.submission else (None, None)
    out, about = _write_out(model, loaded, options, console) if options.out else (None, "")
    pushed = None if repository is None else _push(model, loaded, repository, options, console)
    seconds = time.monotonic() - started
    written = (("submission", submission), ("to upload", archive), (options.format, out))
    lines = [f"{what}: {path}" for what, path in written if path] + [about] * bool(about)
    if pushed is not None:
        lines += _pushed_lines(pushed)
    console.finish(
        text="\n".join([*lines, f"exported and checked in {duration(seconds)}"]),
        json={
            "model": str(model),
            "submission": None if submission is None else str(submission),
            "submission_zip": None if archive is None else str(archive),
            "format": options.format,
            "out": None if out is None else str(out),
            "pushed": None if pushed is None else asdict(pushed),
            "seconds": round(seconds, 1),
        },
    )
    return 0


def _problems(options: ExportOptions) -> Iterator[str]:
    if (suffix := SUFFIXES.get(options.format)) is not None:
        if options.out is None:
            yield f"`--format {options.format}` needs `--out FILE{suffix}`, but got none"
        elif options.out.suffix != suffix:
            yield f"`--out` must be a {suffix} file for `--format {options.format}`, but got {options.out}"
    elif options.out is None and options.submission is None and options.push is None:
        yield "`export` must be told what to write: any of `--submission DIR`, `--out DIR`, `--push OWNER/NAME`"
    if options.push is None:
        for option, is_given in (("--licence", options.licence is not None), ("--private", options.private)):
            if is_given:
                yield f"`{option}` is of a push, but there is no `--push OWNER/NAME`; give it, or leave {option} out"
    for option, place in (("--submission", options.submission), ("--out", options.out)):
        seen = file_problem if option == "--out" and options.format in SUFFIXES else weights_folder_problem
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


def _write_out(model: Path, loaded: "ExportedModel", options: ExportOptions, console: Console) -> tuple[Path, str]:
    """What was written, and a line about it, or none."""
    from trainable.export import exporter, onnx_program, torch_program  # load torch and open_clip

    assert options.out is not None
    if options.format == "folder":
        return exporter.copy_export(model, options.out), ""
    console.say("tracing the model, which takes up to some minutes for a large one")
    if options.format == "torch-export":
        return torch_program.write_program(loaded, options.out), ""
    written = onnx_program.write_onnx(loaded, options.out, sizes=targets_of_model(loaded.config).spread.tolist())
    return written.path, (
        f"opset {written.opset}; onnxruntime is within {written.difference:.1e} of the model, in SDs of labels or as a "
        f"share of larger values; rounding alone may make it {written.bound:.1e}"
    )


def _push(
    model: Path, loaded: "ExportedModel", repository: HubRepository, options: ExportOptions, console: Console
) -> "Pushed":
    from tune.models.hub_push import push_model  # loads torch and open_clip

    licence, private = options.licence, options.private
    return push_model(loaded, model, repository, licence=licence, private=private, say=console.say)


def _pushed_lines(pushed: "Pushed") -> list[str]:
    lines = [f"pushed to {pushed.repository}{' (new)' * pushed.is_new}: {pushed.commit}"]
    if pushed.licence == NO_LICENCE:
        lines.append(
            f"its licence is stated as `{NO_LICENCE}`: choose one by --licence or on its page, so that it may be used"
        )
    return [*lines, f"to use it: `{next_command('predict', HUB + pushed.repository, 'photographs')}`"]
