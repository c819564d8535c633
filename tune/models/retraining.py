"""Training on all of a study's data, and exporting what came of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from trainable.data.specimens import Specimens
from trainable.data.splits import whole
from trainable.errors import UserError
from trainable.storage.remote_folder import RemoteFolder
from trainable.training.precision import Precision
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
from trainable.trial import Trial, TrialTask
from tune.command_line.model_options import RetrainOptions
from tune.command_line.options import DataOptions
from tune.execution.session import local_device, request_for
from tune.extraction.extraction import make_features
from tune.extraction.request import Features
from tune.journal.entries import JournalEntry, study_of
from tune.journal.study_task import task_of_study
from tune.models.exporting import ModelQuality, Trained, export_trainers
from tune.models.recipe import Recipe
from tune.models.retrain_folder import MODEL_NAME, checkpoint_folder, claim_retrain_folder
from tune.report.console import Console
from tune.report.failed_training import tell_failure
from tune.study.kept_options import kept_options
from tune.study.study_data import StudyData, load_study_specimens, write_trial_data


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What is learned from: the study's specimens, their features, and where it is done, "cpu" or "cuda"."""

    specimens: Specimens
    features: Features
    device: str


def make_model(
    options: RetrainOptions,
    recipe: Recipe,
    entries: Sequence[JournalEntry],
    folder: Path,
    identity: Mapping[str, object],
    console: Console,
) -> bool:
    """Train the members on all data and export them; False when the training failed.

    Raises: UserError when data or backbone are not those of the study any more.
    """
    material = _material(options, recipe, entries, console)
    specimens = material.specimens
    claim_retrain_folder(folder, identity)
    data = StudyData(specimens=specimens, split=whole(specimens.frame), floors=recipe.floors)
    write_trial_data(data, material.features, folder / "data")
    trainers = train_members(recipe, folder, material.device, options, console)
    if trainers is None:
        return False
    console.say("exporting")
    export_trainers(
        folder / MODEL_NAME,
        trainers,
        name=recipe.name,
        trained=[Trained(name=part.name, epochs=part.epochs) for part, _ in recipe.members],
        backbone=kept_options(entries)["backbone"],
        specimens=specimens,
        sigmas=recipe.sigmas,
        floor_shares=recipe.floor_shares,
        measured=_measured(recipe),
        evidence=recipe.evidence,
        study_id=study_of(entries).study_id,
    )
    return True


def _measured(recipe: Recipe) -> ModelQuality:
    return ModelQuality(
        scores=recipe.scores,
        scores_of=recipe.scores_of,
        intervals=recipe.intervals,
        interval_level=recipe.interval_level,
        floors=recipe.floors,
        verdict=recipe.verdict,
    )


def _material(options: RetrainOptions, recipe: Recipe, entries: Sequence[JournalEntry], console: Console) -> Material:

    kept, header = kept_options(entries), study_of(entries).header
    data_options = DataOptions(
        data=kept["data"],
        backbone=kept["backbone"],
        features=None if kept.get("features") is None else RemoteFolder.parse(kept["features"]),
        skip_bad_images=kept["skip_bad_images"],
        drop_duplicates=kept.get("drop_duplicates", False),  # a study of before the option has none
        seed=kept["seed"],
        cache=options.cache,
        device=options.device,
        workers=options.workers,
    )
    specimens = load_study_specimens(data_options, console, task_of_study(header))
    if specimens.fingerprint != header["data_fingerprint"]:
        raise UserError(
            f"the data of {options.study} must be what they were, but their fingerprint was "
            f"{header['data_fingerprint']} and is {specimens.fingerprint} (of {kept['data']}); search and confirm again"
        )
    device = local_device(data_options)
    Precision.on(device, options.precision)  # raises where this processor cannot, before features are extracted
    n_blocks = tuple(dict.fromkeys(part.config.tail.n_blocks for part in recipe.parts))
    n_copies = max(part.config.augment.n_copies for part in recipe.parts)
    request = request_for(data_options, specimens, n_blocks=n_blocks, n_copies=n_copies, device=device)
    features = make_features(request.of_study(header), on_ray=False, tell=console.extraction)
    console.features(features)
    return Material(specimens=specimens, features=features, device=device)


def train_members(
    recipe: Recipe, folder: Path, device: str, options: RetrainOptions, console: Console
) -> list[TailTrainer] | None:
    """Train one member after the other, or resume them; None when one failed, which is said.

    Raises: UserError for what the user can mend.
    """
    data = TrialData.load(folder / "data")
    trainers: list[TailTrainer] = []
    for member, (part, seed) in enumerate(recipe.members):
        which = f" member {member + 1}/{len(recipe.members)}" if len(recipe.members) > 1 else ""
        name = part.name + which
        task = TrialTask(
            trial_id=name,
            config=part.config.to_dict(),
            seed=seed,
            data_folder=str(folder / "data"),
            checkpoint_folder=str(checkpoint_folder(folder, member)),
            device=device,
            precision=options.precision,
            n_threads=options.workers,
        )
        trial = Trial(task, data)
        for _ in range(part.epochs):
            step = trial.step()
            console.epoch(step, part.epochs, data.targets.task)
            if step.failure is not None:
                tell_failure(step.failure, f"{name} failed at epoch {step.epoch}", folder, console)
                return None
        if (unwritten := trial.close()) is not None and unwritten.failure is not None:
            tell_failure(unwritten.failure, f"{name} could not be saved", folder, console)
            return None
        assert trial.trainer is not None  # no step failed
        trainers += trial.trainer.trainers  # one: the data are of one fold
    return trainers
