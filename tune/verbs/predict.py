"""Forecasts from image files with an exported model: a specimen an image, an event a folder.

sentinel-tune predict MODEL IMAGES.. [--domain ID] [--species NAME] [--numbers TABLE] [--csv FILE] [--json]

IMAGES are files, or folders that are searched with all below them. Images that lie in one folder are one event,
but for models of a task without events: there each is its own. TABLE (.csv, .parquet, .jsonl) has the paths of images,
relative to itself, in a column `file_name` or as the task calls it, and numbers that the model reads.
"""

import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from trainable.data.file_bytes import MISSING, file_bytes, why_absent
from trainable.data.folder_walk import find_files
from trainable.data.image_checks import check_images, scaled_line
from trainable.data.image_sources import ImageFiles
from trainable.data.lazy_images import LazyImages
from trainable.data.number_table import read_numbers
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.plain_values import LARGEST_WHOLE
from trainable.shown import brief
from tune.command_line.model_options import PredictOptions
from tune.command_line.outputs import file_problem, unwritten
from tune.command_line.parsing import Given
from tune.evaluation.far_numbers import far_numbers_line
from tune.evaluation.forecasting import targets_of_model
from tune.execution.session import local_device
from tune.models.model_source import absent_model, open_model
from tune.report.class_forecasts import ClassForecasts
from tune.report.console import Console
from tune.report.forecasts import CSV_COLUMNS, Forecasts, forecast_table, write_csv
from tune.report.image_progress import ImageProgress

if TYPE_CHECKING:
    from trainable.export.standalone import ExportedModel

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Files with these are images when a folder is given; a file given by itself may have any."""


def run(given: Given) -> int:
    """Predict, show and write; returns the exit status 0.

    Raises: UserError naming all images that are missing or cannot be read, before the first is predicted.
    """
    started = time.monotonic()
    options: PredictOptions = given.options()
    console = Console(json=options.json)
    files = _checked_places(options, console)
    _check_readable(files, options, console)
    model = open_model(options.model, options.tracking_uri, local_device(options), console, options.cache_folder)
    task = targets_of_model(model.config).task
    domain = domain_of(options.domain, model.known_domains, has_domains=task.columns.domain is not None)
    is_known = domain in model.known_domains
    if not is_known and task.columns.domain is not None:
        console.say(_unknown_domain(domain, model.known_domains))
    if (line := _species_line(options.species, model)) is not None:
        console.say(line)
    numbers = _numbers(options, model, task, files, console)
    events = events_of(files) if task.columns.event is not None else tuple(map(str, files))
    forecasts, images_per_second = _predict(model, files, events, domain, numbers, options)
    fault = _written(forecasts, options, domain)
    csv_file = options.csv if fault is None else None
    _finish(
        forecasts, csv_file, options, console, domain=domain, is_known=is_known, speed=images_per_second, since=started
    )
    if fault is not None:
        raise fault
    return 0


def _checked_places(options: PredictOptions, console: Console) -> tuple[Path, ...]:
    """The images; raises UserError for all that is wrong with them, the model, and where the forecasts are to go.

    No folder is gone through for a model that is not there.
    """
    problems = [] if (absent := absent_model(options.model)) is None else [absent]
    files: tuple[Path, ...] = ()
    if problems:
        problems += [problem for name in options.images if (problem := _image_problem(name)) is not None]
    else:
        try:
            files = find_images(options.images, console.say, known=(options.numbers, options.csv))
        except UserError as error:
            problems += error.problems
    if options.csv is not None:
        if (problem := file_problem(options.csv, "--csv")) is not None:
            problems.append(problem)
        elif options.csv.is_file() and any(options.csv.samefile(file) for file in files):
            problems.append(f"`--csv` must be none of the images, but got {options.csv}; give another place")
        elif (problem := file_problem(options.csv, "--csv", begins=",".join(CSV_COLUMNS))) is not None:
            problems.append(problem)
    if problems:
        raise UserError(problems)
    return files


def _written(
    forecasts: Forecasts | ClassForecasts, options: PredictOptions, domain: int | str | None
) -> UserError | None:
    """What kept the CSV file from being written, to be told after the forecasts themselves."""
    if options.csv is None:
        return None
    try:
        write_csv(options.csv, forecasts, domain=domain)
    except OSError as error:
        return unwritten(options.csv, "--csv", error)
    return None


def find_images(
    given: Sequence[str], say: Callable[[str], None], *, known: Sequence[Path | None] = ()
) -> tuple[Path, ...]:
    """Image files in the order given, those of a folder by name; each once. say: takes a line on what is left out.

    known: files with another part in the command, which are not left out.
    Raises: UserError naming all that is not there, and folders without images.
    """
    problems: list[str] = []
    files: dict[str, Path] = {}
    elsewhere = {_real_name(file) for file in known if file is not None}
    for name in given:
        path = Path(os.path.expanduser(name))
        found = [path]
        if os.path.isdir(path):
            found, left_out = find_files(path, lambda name: name.lower().endswith(SUFFIXES))
            left_out.others = [other for other in left_out.others if _real_name(path / other) not in elsewhere]
            line = left_out.line(path, "image", with_others=True)
            if not found:
                problem = f"IMAGES must hold images ({', '.join(SUFFIXES)}), but the folder {path} has none"
                problems.append(f"{problem} ({line})" if line else problem)
            elif line is not None:
                say(line)
        elif (absent := _image_problem(name)) is not None:
            problems.append(absent)
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    if problems:
        raise UserError(problems)
    return tuple(files.values())


def _image_problem(name: str) -> str | None:
    """Why one of IMAGES can be neither a file nor a folder."""
    path = Path(os.path.expanduser(name))
    if os.path.isdir(path) or (os.path.isfile(path) and "://" not in name):
        return None
    if "://" in name:
        return f"IMAGES must be files or folders, but {name} is an address; fetch it first"
    why = why_absent(str(path))
    said = f" is not there{why.removeprefix(MISSING)}" if why.startswith(MISSING) else f": {why}"
    return f"IMAGES must be files or folders, but {path}{said}"


def _real_name(file: Path) -> str:
    """One for each file, however its folder was spelt."""
    return os.path.join(os.path.realpath(file.parent), file.name)


def _check_readable(files: Sequence[Path], options: PredictOptions, console: Console) -> None:

    images = ImageFiles(tuple(map(str, files)))
    checks = check_images(
        images,
        n_threads=options.workers,
        cache_dir=options.cache_folder / "checked-images",
        progress=ImageProgress(sys.stderr, "checking").show,
    )
    if checks.faults:
        raise UserError(
            [f"{files[row]} must be a readable image, but: {fault}" for row, fault in sorted(checks.faults.items())]
        )
    if checks.scaled:
        console.say(scaled_line(len(checks.scaled)))


def _predict(
    model: "ExportedModel",
    files: Sequence[Path],
    names: tuple[str, ...],
    domain: int | str | None,
    numbers: list[dict[str, float]] | None,
    options: PredictOptions,
) -> tuple[Forecasts | ClassForecasts, float]:
    """The forecasts, and images a second; names: of the files' events."""
    import torch

    torch.set_num_threads(options.workers)
    progress = ImageProgress(sys.stderr, "predicting")
    progress.show(0, len(files))
    started = time.monotonic()
    domains = [domain] * len(files)
    images = LazyImages(len(files), lambda rows: [_bytes_of(files[row]) for row in rows])
    values = model.predict(images, domains, [options.species] * len(files), numbers, progress=progress.show)
    speed = len(files) / (time.monotonic() - started)
    events = {str(event): forecast for event, forecast in model.forecast(values, names, domains).items()}
    if not model.classes:
        return Forecasts(tuple(files), names, values.tolist(), events, model.targets), speed
    alone = model.forecast(values, range(len(files)), domains)
    of_classes = ClassForecasts(
        files=tuple(files),
        event_of_file=names,
        specimens=[forecast["probabilities"] for forecast in alone.values()],
        events={event: forecast["probabilities"] for event, forecast in events.items()},
        target=model.targets[0],
        classes=model.classes,
    )
    return of_classes, speed


def _bytes_of(file: Path) -> bytes:
    if not (encoded := file_bytes(str(file))):  # it was readable when it was checked
        raise UserError(f"{file} must stay readable while it is predicted, but: {why_absent(str(file))}")
    return encoded


def events_of(files: Sequence[Path]) -> tuple[str, ...]:
    """The event of each file: its folder, however that was spelt."""
    spelt: dict[str, str] = {}
    return tuple(spelt.setdefault(os.path.abspath(file.parent), str(file.parent)) for file in files)


def _finish(
    forecasts: Forecasts | ClassForecasts,
    csv_file: Path | None,
    options: PredictOptions,
    console: Console,
    *,
    domain: int | str | None,
    is_known: bool,
    speed: float,
    since: float,
) -> None:
    result = {
        "model": options.model,
        "domain": domain,
        "domain_is_known": is_known,
        "species": options.species,
        **({} if options.numbers is None else {"numbers": str(options.numbers)}),
        **forecasts.to_dict(),
        "csv": None if csv_file is None else str(csv_file),
        "images_per_second": round(speed, 1),
        "seconds": round(time.monotonic() - since, 1),
    }
    console.finish(text=forecast_table(forecasts, csv_file), json=result)


def domain_of(given: str | None, known: Sequence[int | str], *, has_domains: bool) -> int | str | None:
    """The domain that is given, as the model's are: a number, or a name.

    Raises: UserError for a model without domains, and for a name where they are numbers.
    """
    if given is None:
        return None
    if not has_domains:
        raise UserError(f"`--domain` must be left out for a model whose task has no domains, but got {brief(given)}")
    if any(isinstance(domain, str) for domain in known):
        return given.strip()
    if not (given.isascii() and given.isdecimal()) or int(given) > LARGEST_WHOLE:
        listed = ", ".join(map(str, known))
        raise UserError(
            f"`--domain` must be a whole number from 0 on, as this model's domains are ({listed}), but got "
            f"{brief(given)}"
        )
    return int(given)


def _unknown_domain(domain: int | str | None, known: Sequence[object]) -> str:
    listed = ", ".join(map(str, known))
    if domain is None:
        return f"no --domain is given: treated as unknown (trained on: {listed})"
    return f"domain {domain} was not trained on: treated as unknown (trained on: {listed})"


def _numbers(
    options: PredictOptions, model: "ExportedModel", task: Task, files: Sequence[Path], console: Console
) -> list[dict[str, float]] | None:
    """What is known of each file; says what is not.

    Raises: UserError with every problem of the table.
    """
    if not model.numbers:
        if options.numbers is not None:
            console.say("--numbers is given, but this model reads none")
        return None
    if options.numbers is None:
        console.say(f"no --numbers are given: {', '.join(model.numbers)} taken for missing")
        return None
    numbers, lines = read_numbers(options.numbers, files, model.numbers, task)
    for line in lines:
        console.say(line)
    if (far := far_numbers_line(model.config["numbers"], numbers)) is not None:
        console.say(f"warning: {far}")
    return numbers


def _species_line(species: str | None, model: "ExportedModel") -> str | None:
    """What becomes of the name, where that is not what was meant by giving or not giving one."""
    if not model.reads_species:
        return None if species is None else "--species is given, but this model does not read it"
    if species is None:
        return "no --species is given: treated as unknown"
    if model.species_indices([species]).item() == len(model.known_species):
        return (
            f"species {brief(species)} was not trained on: treated as unknown "
            f"(config.json of the model lists the {len(model.known_species)} that were)"
        )
    return None
