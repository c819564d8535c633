"""Whether a search's trials see too little, since all folds that score them are held out at once."""

from collections.abc import Iterator
from dataclasses import replace

import pandas as pd

from trainable.data.splits import search_splits
from tune.command_line.options import SearchOptions
from tune.printed.next_command import option_words

FEWEST = 1 / 3
"""Of the specimens: what is trained on fewer is another matter than the models that follow, which see all of them
(assumption). Of the demo two folds leave 37 %.
"""


def few_trained(frame: pd.DataFrame, options: SearchOptions, *, n_folds: int) -> str | None:
    """A warning with its remedy; None where trials see enough, or by one fold alone.

    frame: of the specimens. n_folds: that score each trial, as `--search-folds` comes to.
    """
    if options.train_each_fold or n_folds == 1:
        return None
    (n_trained,) = _n_trained(frame, options, n_folds=n_folds)
    if n_trained >= FEWEST * len(frame):
        return None
    begin = "begin a new study with" if options.resume is not None else "use"
    why = f"each trial trains on only {n_trained} of {len(frame)} specimens, without those of all {n_folds} folds"
    return f"{why}; {begin} {' or '.join(_ways(frame, options, n_folds))}"


def _ways(frame: pd.DataFrame, options: SearchOptions, n_folds: int) -> Iterator[str]:
    """Options with which trials train on more, and on how many: a training for each fold, or the most folds that do."""
    each = _n_trained(frame, replace(options, train_each_fold=True), n_folds=n_folds)
    yield f"--train-each-fold ({min(each)} to {max(each)}, {n_folds} trainings a trial)"
    for n in range(n_folds - 1, 0, -1):
        if (found := _n_trained(frame, options, n_folds=n)[0]) >= FEWEST * len(frame):
            yield f"{' '.join(option_words(search_folds=n))} ({found})"
            return


def _n_trained(frame: pd.DataFrame, options: SearchOptions, *, n_folds: int) -> list[int]:
    """Of each training of a trial."""
    splits = search_splits(
        frame, holdout=options.holdout, fold=options.fold, n=n_folds, train_each=options.train_each_fold
    )
    return [len(split.train) for split in splits]
