"""What this program's speed is made of: figures with a limit, a target and their parts, measured side by side.

python -m benchmarks [--device cpu|cuda] [--quick] [--only 1,5] [--backbone tiny,vit-ti] [--json FILE]

Every figure is a ratio of two arms that take turns in one process; on a CPU the clock is the process's CPU time on one
thread, on CUDA events on the device. A figure that cannot be measured here is named with its reason. The exit status
tells whether everything ran, not whether the targets were met.
"""

import argparse
import json
import sys
import traceback
from dataclasses import asdict, dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from benchmarks.figure import Figure
from benchmarks.machine import this_machine
from benchmarks.setting import NotHere, Setting
from trainable.whole_file import whole_file
from tune.command_line.outputs import file_problem


@dataclass(frozen=True, slots=True)
class Script:
    """A module of this package with `measure(setting: Setting) -> list[Figure]`.

    needs: packages without which it cannot run. devices: on which it can.
    """

    module: str
    needs: tuple[str, ...] = ()
    devices: tuple[str, ...] = ("cpu", "cuda")


SCRIPTS: dict[int, Script] = {
    1: Script("extraction_rate"),
    2: Script("extraction_flops"),
    3: Script("extraction_taps"),
    4: Script("stored_bytes"),
    5: Script("feed_stall"),
    6: Script("tail_step"),
    7: Script("class_row"),
    8: Script("turnaround", needs=("ray", "optuna", "mlflow"), devices=("cpu",)),
    9: Script("scheduling", needs=("ray", "optuna", "mlflow"), devices=("cpu",)),
    10: Script("colocated", devices=("cuda",)),
    11: Script("whole_search", devices=("cpu",)),
    12: Script("growth", needs=("ray", "optuna", "mlflow"), devices=("cpu",)),
    13: Script("cluster_overhead", needs=("ray", "optuna"), devices=("cpu",)),
    14: Script("folding"),
    15: Script("precision"),
    16: Script("forecasts", devices=("cpu",)),
}
"""By the number of the figure."""


def measure(number: int, setting: Setting) -> list[Figure]:
    """The figures of one script.

    Raises: NotHere with the reason.
    """
    script = SCRIPTS[number]
    if lacking := [name for name in script.needs if find_spec(name) is None]:
        raise NotHere(f"needs {', '.join(lacking)}, which is not installed")
    if setting.device not in script.devices:
        raise NotHere(f"needs --device {' or '.join(script.devices)}")
    figures: list[Figure] = import_module(f"benchmarks.{script.module}").measure(setting)
    return figures


def main(words: list[str] | None = None) -> int:
    """Measure, print a line a figure, write the JSON; 1 when a benchmark failed."""
    arguments = _parse(words)
    backbones = tuple(arguments.backbone.split(",")) if arguments.backbone else ()
    setting = Setting(device=arguments.device, quick=arguments.quick, backbones=backbones)
    machine = this_machine(setting.device)
    print(f"on {machine}{', quick: sizes too small to judge by' if setting.quick else ''}", flush=True)
    _use_one_thread(setting.device)
    figures: list[Figure] = []
    skipped: dict[int, str] = {}
    failed: dict[int, str] = {}
    for number in arguments.only or sorted(SCRIPTS):
        name = SCRIPTS[number].module
        try:
            found = measure(number, setting)
        except NotHere as reason:
            skipped[number] = str(reason)
            print(f"{number:>2} {name}: skipped, {reason}", flush=True)
            continue
        except Exception as error:  # one broken benchmark must not cost the others
            failed[number] = repr(error)
            traceback.print_exc()
            print(f"{number:>2} {name}: FAILED, {error!r}", flush=True)
            continue
        figures += found
        for figure in found:
            print(figure, flush=True)
    if arguments.json is not None:
        content = {
            "machine": asdict(machine),
            "setting": asdict(setting),
            "figures": [{**asdict(figure), "is_met": figure.is_met} for figure in figures],
            "skipped": skipped,
            "failed": failed,
        }
        with whole_file(arguments.json, in_place=True) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return 1 if failed else 0


def _parse(words: list[str] | None) -> Any:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--quick", action="store_true", help="a few minutes at most: does everything run?")
    parser.add_argument("--only", type=_numbers, metavar="1,5", help=f"of {', '.join(map(str, sorted(SCRIPTS)))}")
    parser.add_argument("--backbone", metavar="tiny,vit-ti", help="of tiny, vit-ti, vit-l")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures with their parts there, too")
    arguments = parser.parse_args(words)
    if arguments.json is not None and (problem := file_problem(arguments.json, "--json")) is not None:
        parser.error(problem)
    if arguments.device == "cuda":
        import torch

        if not torch.cuda.is_available():
            parser.error("`--device cuda` must have a CUDA device, but torch sees none; leave it out to use the CPU")
    return arguments


def _numbers(text: str) -> list[int]:
    asked = [int(word) for word in text.split(",")]
    if unknown := [number for number in asked if number not in SCRIPTS]:
        raise argparse.ArgumentTypeError(f"there is no figure {', '.join(map(str, unknown))}; there are {[*SCRIPTS]}")
    return asked


def _use_one_thread(device: str) -> None:
    """On a CPU, where CPU time is what is compared."""
    if device == "cpu":
        import torch

        torch.set_num_threads(1)


if __name__ == "__main__":
    sys.exit(main())
