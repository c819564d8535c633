"""What every verb does with data first: load and check specimens, split them, measure the floors."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from trainable.counts import counted
from trainable.data.copies import shared_line
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.splits import SPLIT_SEED, Holdout, Split, make_split, n_search_folds, search_splits
from trainable.data.task import Task, beetles
from trainable.data.task_choice import named_task
from trainable.data.task_words import groups_of
from trainable.errors import UserError
from trainable.scoring.folds_scorer import floors
from trainable.scoring.targets import Targets
from trainable.storage.place import Place
from tune.command_line.model_options import EvaluateOptions
from tune.command_line.options import DataOptions, SearchOptions, SplitOptions
from tune.extraction.request import Features
from tune.report.console import Console
from tune.study.few_trained import few_trained


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyData:
    """Checked specimens, what of them is held out, and the scores of knowing nothing of the images.

    split: what the first training of a trial holds out. other_splits: of further ones. n_folds: whose events those
    are. floors: floor name -> the same metrics as a trial's.
    """

    specimens: Specimens
    split: Split
    floors: dict[str, dict[str, float]]
    other_splits: tuple[Split, ...] = ()
    n_folds: int = 1

    @property
    def splits(self) -> tuple[Split, ...]:
        """Of all trainings of a trial."""
        return self.split, *self.other_splits

    def of_fold(self, fold: int, *, holdout: Holdout) -> Self:
        """The same specimens, held out as in another fold of the same kind.

        Raises: UserError for a fold that there is not.
        """
        frame = self.specimens.frame
        split = make_split(frame, holdout=holdout, fold=fold, seed=SPLIT_SEED)
        return replace(self, split=split, other_splits=(), n_folds=1, floors=split_floors(self.specimens, [split]))


def load_study_specimens(
    options: DataOptions | EvaluateOptions, console: Console, task: Task | None = None, *, to_learn: bool = True
) -> Specimens:
    """Read and check the dataset; the demo is drawn on first use.

    options: with the data named. task: None for that of the options or the data. to_learn: as of `load_specimens`.
    Raises: UserError with every problem of the data, or of the task's file.
    """
    assert options.data is not None
    task = task or named_task(options.data, options.task)
    try:
        specimens = load_specimens(
            options.data,
            task=task,
            cache_dir=options.cache_folder,
            skip_bad_images=options.skip_bad_images,
            drop_duplicates=options.drop_duplicates,
            to_learn=to_learn,
            n_processes=options.workers,
        )
    except UserError as error:
        raise (_without_task(error) if task is None else error) from None
    frame = specimens.frame
    dropped = f", {counted(specimens.n_dropped, 'unreadable image')} dropped" if specimens.n_dropped else ""
    dropped += f", {counted(specimens.n_duplicates, 'duplicate')} dropped" if specimens.n_duplicates else ""
    sizes = [
        counted(len(frame), "specimen"),
        *(counted(frame[f"{noun}_id"].nunique(), noun) for noun in specimens.task.groups),
    ]
    console.say(f"data {specimens.source}: {', '.join(sizes)}{dropped}")
    if not specimens.task.is_beetles:
        console.say(f"task: {specimens.task.summary}")
    for note in specimens.notes:
        console.say(note)
    return specimens


def _without_task(error: UserError) -> UserError:
    """The same; where columns of the challenge's targets are missing, also how to name others."""
    if not any("must be there" in problem and beetles().names[0] in problem for problem in error.problems):
        return error
    remedy = (
        "data with other columns and targets than the beetles' need a task.yaml beside them, or `--task FILE`, that "
        "says what is predicted from what; see docs/your-data.md"
    )
    return UserError([*error.problems, remedy])


def load_study_data(
    options: DataOptions,
    split_options: SplitOptions,
    console: Console,
    task: Task | None = None,
    *,
    n_folds: int | None = 1,
    n_confirm_folds: int | None = None,
    train_each: bool = False,
) -> StudyData:
    """Load the dataset, hold events out, and score the floors on them.

    task: as `load_study_specimens` takes it. n_folds, n_confirm_folds, train_each: as `search_splits`
    takes them.

    Raises: UserError, also when a side of the split would be empty.
    """
    specimens = load_study_specimens(options, console, task)
    frame = specimens.frame
    holdout = split_options.holdout
    fold, n_folds = split_options.fold, n_search_folds(frame, holdout=holdout, wanted=n_folds)
    splits = search_splits(
        frame, holdout=holdout, fold=fold, n=n_folds, n_confirm=n_confirm_folds, train_each=train_each
    )
    for split in splits:
        words = f"fold {split.fold}" if len(splits) == n_folds else f"{n_folds} folds from {fold} on at once"
        _say_split(specimens, split, words, console)
    return StudyData(
        specimens=specimens,
        split=splits[0],
        other_splits=splits[1:],
        n_folds=n_folds,
        floors=split_floors(specimens, splits),
    )


def load_search_data(options: SearchOptions, console: Console, task: Task | None = None) -> StudyData:
    """The same for a search: of all folds that score its trials.

    Raises: UserError as `load_study_data`, also for folds to confirm on that the data do not have.
    """
    n_confirm = None if options.no_confirm else options.confirm_folds
    data = load_study_data(
        options, options, console, task,
        n_folds=options.search_folds, n_confirm_folds=n_confirm, train_each=options.train_each_fold,
    )  # fmt: skip
    if (few := few_trained(data.specimens.frame, options, n_folds=data.n_folds)) is not None:
        console.say(f"warning: {few}")
    return data


def _say_split(specimens: Specimens, split: Split, which: str, console: Console) -> None:
    console.say(
        f"split {split.policy}, {which}: {len(split.train)} of {len(specimens.frame)} specimens train; held out are "
        + _held_out_sides(specimens, split)
    )
    if split.warning:
        console.say(f"warning: {split.warning}")
    warn_of_shared(specimens, split, console)


def _held_out_sides(specimens: Specimens, split: Split) -> str:
    n_id, n_ood = len(split.id_), len(split.ood)
    if specimens.task.columns.domain is None:
        return f"{n_id} of unseen {groups_of(specimens.task)[-1]}s"
    if not n_id or not n_ood:
        return f"{n_id} of known domains (ID)" if n_id else f"{n_ood} of unseen domains (OOD)"
    return f"{n_id} of known domains (ID) and {n_ood} of unseen ones (OOD)"


def held_out(data: StudyData) -> dict[str, list[str] | list[int | str]]:
    """What the header says of the sites and domains that are held out, fold after fold."""
    return {
        "held_out_sites": [site for split in data.splits for site in split.held_out_sites],
        "held_out_domains": [domain for split in data.splits for domain in split.held_out_domains],
    }


def warn_of_shared(specimens: Specimens, split: Split, console: Console) -> None:
    """Say which photographs are on both sides of a split."""
    held_out = np.sort(np.concatenate([split.id_, split.ood]))
    line = shared_line(specimens.digests, specimens.names, split.train, held_out)
    if line is not None:
        console.say(f"warning: fold {split.fold}: {line}")


def targets_of(specimens: Specimens) -> Targets:
    """What the specimens' labels are of, and how large they are."""
    return Targets.of(specimens.task, specimens.labels, specimens.ids("event_id"))


def split_floors(specimens: Specimens, splits: Sequence[Split]) -> dict[str, dict[str, float]]:
    """The floors on the specimens' folds, judged together: name -> the same metrics as a trial's."""
    frame = specimens.frame
    return floors(
        labels=specimens.labels,
        event_ids=frame["event_id"].to_numpy(),
        site_ids=frame["site_id"].to_numpy(),
        domain_ids=frame["domain_id"].to_numpy(),
        species=frame["species"].to_numpy(),
        splits=splits,
        targets=targets_of(specimens),
    )


def write_trial_data(data: StudyData, features: Features, folder: Place) -> None:
    """Write what trials read, besides the features themselves, to `folder`."""
    from trainable.frozen.features import FeatureStore  # loads torch
    from trainable.training.trial_data import TrialData

    specimens = data.specimens
    TrialData(
        store=FeatureStore.open(features.path),
        labels=specimens.labels.astype(np.float32),
        domain_ids=specimens.ids("domain_id"),
        event_ids=specimens.ids("event_id"),
        site_ids=specimens.frame["site_id"].to_numpy(str),
        species=specimens.frame["species"].to_numpy(str),
        numbers=specimens.numbers,
        targets=targets_of(specimens),
        split=data.split,
        other_splits=data.other_splits,
        remote_store=None if features.remote is None else str(features.remote),
        copies=tuple(FeatureStore.open(copy.path) for copy in features.copies),
        remote_copies=tuple(str(copy.remote) for copy in features.copies if copy.remote is not None),
    ).save(folder)
