"""One configuration to its end, in this process, without a search.

sentinel-tune train --variant lora [OPTIONS]
"""

import json
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.variant import trained_variant
from trainable.absent_settings import without_absent
from trainable.config import TrialConfig
from trainable.data.splits import n_search_folds
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.export.placing import check_export_place
from trainable.plain_values import JsonObject
from trainable.scoring.intervals import LEVEL, score_interval
from trainable.scoring.metrics import SCORE
from trainable.trial import StepResult, Trial, TrialTask
from trainable.whole_file import whole_file
from tune.command_line.options import TrainOptions
from tune.command_line.outputs import weights_folder_problem
from tune.command_line.parsing import Given
from tune.execution.session import local_device, request_for, with_precision
from tune.extraction.extraction import make_features
from tune.report.console import Console
from tune.report.failed_training import tell_failure
from tune.study.new_folder import claim_folder
from tune.study.study_data import StudyData, load_study_data, write_trial_data

if TYPE_CHECKING:
    from trainable.training.trainer import TailTrainer

RESULT, MODEL = "training.json", "model"


def run(given: Given) -> int:
    """Train, report every epoch, export the best one; returns the exit status: 0 done, 1 the trial failed.

    In `--out`: checkpoints/, training.json (the result), model/ (the best epoch's export).
    Raises: UserError, also when `--out` holds the checkpoints of another training.
    """
    started = time.monotonic()
    options: TrainOptions = given.options()
    console = Console(json=options.json)
    config = trained_variant(options.variant, options.epochs)
    wanted = options.out or _default_folder(options.variant)
    if (problem := weights_folder_problem(wanted, "--out")) is not None:
        raise UserError(problem)
    device = local_device(options)
    options = with_precision(options, device, trains_here=True)
    data = load_study_data(options, options, console)
    config = without_absent(config, data.specimens.task)
    request = request_for(
        options, data.specimens, n_blocks=(config.tail.n_blocks,), n_copies=config.augment.n_copies, device=device
    )
    features = make_features(request, on_ray=False, tell=console.extraction)
    console.features(features)
    folder = (wanted if options.out else claim_folder(wanted, mark=None)).absolute()
    check_export_place(folder / MODEL)
    write_trial_data(data, features, folder / "data")
    trial, steps = _train(options, config, folder, device, console, data.specimens.task)
    if (failure := steps[-1].failure) is not None:
        tell_failure(failure, f"failed at epoch {steps[-1].epoch}", folder, console)
        return 1
    assert trial.trainer is not None  # no step failed
    (trainer,) = trial.trainer.trainers  # the data are of one fold
    model = _export_best(options, trainer, data, folder / MODEL)
    precision, seconds = str(trainer.precision), time.monotonic() - started
    result = _result(options, config, steps, data, model=model, precision=precision, seconds=seconds)
    _write(folder / RESULT, result)
    n_folds = n_search_folds(data.specimens.frame, holdout=options.holdout)
    console.train_result(result, folder / RESULT, options, data.specimens.task, n_search_folds=n_folds)
    return 0


def _train(
    options: TrainOptions, config: TrialConfig, folder: Path, device: str, console: Console, task: Task
) -> tuple[Trial, list[StepResult]]:
    trial = Trial(
        TrialTask(
            trial_id=Path(options.variant).stem,
            config=config.to_dict(),
            seed=options.seed,
            data_folder=str(folder / "data"),
            checkpoint_folder=str(folder / "checkpoints"),
            device=device,
            precision=options.precision,
            n_threads=options.workers,
        )
    )
    steps: list[StepResult] = []
    while len(steps) < config.n_epochs and (not steps or steps[-1].failure is None):
        steps.append(trial.step())
        console.epoch(steps[-1], config.n_epochs, task)
    return trial, steps


def _export_best(options: TrainOptions, trainer: "TailTrainer", data: StudyData, folder: Path) -> Path:
    """Export the best epoch, with the sigmas and scores of the events that were held out from it."""
    from tune.models.exporting import (  # loads torch and open_clip
        ModelQuality,
        Trained,
        export_trainers,
        held_out_sigmas,
    )

    trainer.load_best()
    forecasts = trainer.scorer.forecasts(trainer.predict_held_out())
    name = Path(options.variant).stem
    return export_trainers(
        folder,
        [trainer],
        name=name,
        trained=[Trained(name=name, epochs=trainer.best_epoch)],
        backbone=options.backbone,
        specimens=data.specimens,
        sigmas=held_out_sigmas(forecasts),
        measured=ModelQuality(
            scores=trainer.history[trainer.best_epoch - 1],
            scores_of="held-out events",
            intervals=score_interval(forecasts, seed=0),
            interval_level=LEVEL,
            floors=data.floors,
        ),
    )


def _result(
    options: TrainOptions,
    config: TrialConfig,
    steps: list[StepResult],
    data: StudyData,
    *,
    model: Path,
    precision: str,
    seconds: float,
) -> JsonObject:
    best = min(steps, key=lambda step: step.metrics[SCORE])
    return {
        "variant": options.variant,
        "config": config.to_dict(),
        "holdout": options.holdout,
        "fold": options.fold,
        "seed": options.seed,
        "precision": precision,
        "n_leaked_events": int(data.split.n_leaked_events),
        "best": {"epoch": best.epoch, "score": best.metrics[SCORE], "metrics": best.metrics},
        "last": {"epoch": steps[-1].epoch, "score": steps[-1].metrics[SCORE], "metrics": steps[-1].metrics},
        "floors": data.floors,
        "model": str(model),
        "seconds": round(seconds, 1),
    }


def _default_folder(variant: str) -> Path:
    return Path("trained", f"{Path(variant).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}")


def _write(path: Path, result: JsonObject) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
