"""One configuration to its end, in this process, without a search.

sentinel-tune train --variant lora [OPTIONS]
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.space import load_variant
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.trial import StepResult, Trial, TrialTask
from tune.console import Console
from tune.extraction import make_features
from tune.options import TrainOptions
from tune.report.standings import SCORE
from tune.session import local_device, request_for
from tune.study_data import StudyData, load_study_data, write_trial_data

if TYPE_CHECKING:
    from tune.command_line import Given


def run(given: "Given") -> int:
    """Train, report every epoch, write `results.json`; returns the exit status: 0 done, 1 the trial failed.

    Raises: UserError, also when `--out` holds the checkpoints of another training.
    """
    started = time.monotonic()
    options: TrainOptions = given.options()
    console = Console(json=options.json)
    config = load_variant(options.variant, epochs=options.epochs)
    data, device = load_study_data(options, options, console), local_device(options)
    request = request_for(options, data.specimens, n_blocks=(config.tail.n_blocks,), device=device)
    features = make_features(request, on_ray=False, tell=console.extraction)
    console.features(features)
    folder = (options.out or _default_folder(options.variant)).absolute()
    write_trial_data(data, features, folder / "data")
    steps = _train(options, config, folder, device, console)
    if (failure := steps[-1].failure) is not None:
        if failure["type"] == UserError.__name__:
            raise UserError(failure["message"].splitlines())
        console.say(f"failed at epoch {steps[-1].epoch}: {failure['message']}")
        console.say(failure["traceback_tail"])
        return 1
    result = _result(options, config, steps, data, seconds=time.monotonic() - started)
    _write(folder / "results.json", result)
    console.train_result(result, folder)
    return 0


def _train(options: TrainOptions, config: TrialConfig, folder: Path, device: str, console: Console) -> list[StepResult]:
    trial = Trial(
        TrialTask(
            trial_id=Path(options.variant).stem,
            config=config.to_dict(),
            seed=options.seed,
            data_folder=str(folder / "data"),
            checkpoint_folder=str(folder / "checkpoints"),
            device=device,
            n_threads=options.workers,
        )
    )
    steps: list[StepResult] = []
    while len(steps) < config.epochs and (not steps or steps[-1].failure is None):
        steps.append(trial.step())
        console.epoch(steps[-1], config.epochs)
    return steps


def _result(
    options: TrainOptions, config: TrialConfig, steps: list[StepResult], data: StudyData, *, seconds: float
) -> dict[str, Any]:
    best = min(steps, key=lambda step: step.metrics[SCORE])
    return {
        "variant": options.variant,
        "config": config.to_dict(),
        "holdout": options.holdout,
        "fold": options.fold,
        "seed": options.seed,
        "n_leaked_events": int(data.split.n_leaked_events),
        "best": {"epoch": best.epoch, "score": best.metrics[SCORE], "metrics": best.metrics},
        "last": {"epoch": steps[-1].epoch, "score": steps[-1].metrics[SCORE], "metrics": steps[-1].metrics},
        "floors": data.floors,
        "seconds": round(seconds, 1),
    }


def _default_folder(variant: str) -> Path:
    return Path("trained", f"{Path(variant).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}")


def _write(path: Path, result: dict[str, Any]) -> None:
    temporary = path.with_name(path.name + ".tmp")
    temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    temporary.replace(path)
