"""Forecasts from image files with an exported model: a specimen an image, an event a folder.

sentinel-tune predict MODEL IMAGES.. [--domain ID] [--csv FILE] [--json]

IMAGES are files, or folders that are searched with all below them. Images that lie in one folder are one event.
"""

import csv
import os
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from trainable.errors import UserError
from trainable.whole_file import whole_file
from tune.command_line.model_options import PredictOptions
from tune.execution.session import local_device
from tune.models.model_source import open_model
from tune.report.console import Console
from tune.report.image_progress import ImageProgress

if TYPE_CHECKING:
    from trainable.export.standalone import ExportedModel
    from tune.command_line.parsing import Given

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""Files with these are images when a folder is given; a file given by itself may have any."""

SHOWN_SPECIMENS = 40
"""More of them are left to --csv and --json."""


@dataclass(frozen=True)
class Forecasts:
    """What was predicted: files, their events and values [n, 3], and event -> "mu" and "sigma", [3] each."""

    files: tuple[Path, ...]
    event_of_file: tuple[str, ...]
    values: list[list[float]]
    events: dict[str, dict[str, list[float]]]
    targets: tuple[str, ...]

    @property
    def rows(self) -> list[tuple[Path, str, list[float]]]:
        """File, event and values of each specimen."""
        return list(zip(self.files, self.event_of_file, self.values, strict=True))


class _FileBytes(Sequence[bytes]):
    """Files read one by one as they are asked for."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = files

    def __len__(self) -> int:
        return len(self._files)

    @overload
    def __getitem__(self, row: int) -> bytes: ...
    @overload
    def __getitem__(self, row: slice) -> Sequence[bytes]: ...
    def __getitem__(self, row: int | slice) -> bytes | Sequence[bytes]:
        return _FileBytes(self._files[row]) if isinstance(row, slice) else self._files[row].read_bytes()


def run(given: "Given") -> int:
    """Predict, show and write; returns the exit status 0.

    Raises: UserError naming all images that are missing or cannot be read, before the first is predicted.
    """
    started = time.monotonic()
    options: PredictOptions = given.options()
    console = Console(json=options.json)
    files = find_images(options.images)
    _check_readable(files, options)
    if options.csv is not None and options.csv.is_dir():
        raise UserError(f"`--csv` must be a file, but {options.csv} is a folder")
    model = open_model(options.model, options.tracking_uri, local_device(options), console, options.cache_folder)
    is_known = options.domain in model.known_domains
    if not is_known:
        console.say(_unknown_domain(options.domain, model.known_domains))
    forecasts, images_per_second = _predict(model, files, options)
    if options.csv is not None:
        write_csv(options.csv, forecasts, domain=options.domain)
    _finish(forecasts, options, console, is_known=is_known, speed=images_per_second, since=started)
    return 0


def find_images(given: Sequence[str]) -> tuple[Path, ...]:
    """Image files in the order given, those of a folder by name; each once.

    Raises: UserError naming all that is not there, and folders without images.
    """
    problems: list[str] = []
    files: dict[str, Path] = {}
    for name in given:
        path = Path(name).expanduser()
        if path.is_dir():
            found = sorted(file for file in path.rglob("*") if _is_image(file))
            if not found:
                problems.append(f"IMAGES must hold images ({', '.join(SUFFIXES)}), but the folder {path} has none")
        elif path.is_file():
            found = [path]
        else:
            found = []
            problems.append(f"IMAGES must be files or folders, but {path} is not there")
        for file in found:
            files.setdefault(os.path.abspath(file), file)
    if problems:
        raise UserError(problems)
    return tuple(files.values())


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()


def _check_readable(files: Sequence[Path], options: PredictOptions) -> None:
    from trainable.data.image_checks import check_images
    from trainable.data.image_sources import ImageFiles

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


def _predict(model: "ExportedModel", files: Sequence[Path], options: PredictOptions) -> tuple[Forecasts, float]:
    """The forecasts, and images a second."""
    import torch

    torch.set_num_threads(options.workers)
    progress = ImageProgress(sys.stderr, "predicting")
    progress.show(0, len(files))
    started = time.monotonic()
    domains = [options.domain] * len(files)
    values = model.predict(_FileBytes(files), domains, progress=progress.show)
    speed = len(files) / (time.monotonic() - started)
    names = events_of(files)
    events = {str(event): forecast for event, forecast in model.forecast(values, names, domains).items()}
    return Forecasts(tuple(files), names, values.tolist(), events, model.targets), speed


def events_of(files: Sequence[Path]) -> tuple[str, ...]:
    """The event of each file: its folder, however that was spelt."""
    spelt: dict[str, str] = {}
    return tuple(spelt.setdefault(os.path.abspath(file.parent), str(file.parent)) for file in files)


def write_csv(path: Path, forecasts: Forecasts, *, domain: int | None) -> None:
    """A row a specimen, then a row an event, whole or not at all; only events have a sigma."""
    n_of_event = Counter(forecasts.event_of_file)
    sigmas = [f"{target}_sigma" for target in forecasts.targets]
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["level", "event", "image", "domain", "n_specimens", *forecasts.targets, *sigmas])
        for image, event, values in forecasts.rows:
            writer.writerow(["specimen", event, image, domain, 1, *values, *("" for _ in sigmas)])
        for event, forecast in forecasts.events.items():
            writer.writerow(["event", event, "", domain, n_of_event[event], *forecast["mu"], *forecast["sigma"]])


def _finish(
    forecasts: Forecasts, options: PredictOptions, console: Console, *, is_known: bool, speed: float, since: float
) -> None:
    targets, n_of_event = forecasts.targets, Counter(forecasts.event_of_file)
    result: dict[str, Any] = {
        "model": options.model,
        "domain": options.domain,
        "domain_is_known": is_known,
        "specimens": [
            {"image": str(image), "event": event, **dict(zip(targets, values, strict=True))}
            for image, event, values in forecasts.rows
        ],
        "events": [
            {
                "event": event,
                "n_specimens": n_of_event[event],
                **{
                    target: {"mu": mu, "sigma": sigma}
                    for target, mu, sigma in zip(targets, forecast["mu"], forecast["sigma"], strict=True)
                },
            }
            for event, forecast in forecasts.events.items()
        ],
        "csv": None if options.csv is None else str(options.csv),
        "images_per_second": round(speed, 1),
        "seconds": round(time.monotonic() - since, 1),
    }
    console.finish(text=_table(forecasts, options.csv), json=result)


def _table(forecasts: Forecasts, csv_file: Path | None) -> str:
    n_of_event = Counter(forecasts.event_of_file)
    lines = [f"{'':<44}" + "".join(f"{target:>18}" for target in forecasts.targets)]
    if len(forecasts.files) <= SHOWN_SPECIMENS:
        for image, _, values in forecasts.rows:
            lines.append(f"{_short(str(image)):<44}" + "".join(f"{value:>18.3f}" for value in values))
    else:
        lines.append(f"{len(forecasts.files)} specimens are left to --csv and --json")
    for event, forecast in forecasts.events.items():
        pairs = zip(forecast["mu"], forecast["sigma"], strict=True)
        name = _short(f"event {event} ({n_of_event[event]})")
        lines.append(f"{name:<44}" + "".join(f"{f'{mu:.3f} ± {sigma:.3f}':>18}" for mu, sigma in pairs))
    return "\n".join([*lines, *([str(csv_file)] if csv_file else [])])


def _short(name: str, width: int = 43) -> str:
    return name if len(name) <= width else f"...{name[3 - width :]}"


def _unknown_domain(domain: int | None, known: Sequence[int]) -> str:
    listed = ", ".join(map(str, known))
    if domain is None:
        return f"no --domain is given: treated as unknown (trained on: {listed})"
    return f"domain {domain} was not trained on: treated as unknown (trained on: {listed})"


if __name__ == "__main__":
    from tune.cli import main

    sys.exit(main(["predict", *sys.argv[1:]]))
