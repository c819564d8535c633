"""Classes of which a search can learn or measure little: they stay what they are, and are named."""

from collections.abc import Iterator, Sequence

import pandas as pd

from trainable.counts import counted
from trainable.data.task import Task
from trainable.data.task_words import groups_of

FEW_EVENTS = 5
"""Fewer are hardly one a fold."""

_SHOWN = 6


def rare_class_lines(frame: pd.DataFrame, task: Task) -> Iterator[str]:
    """What is to be said of classes that are listed and absent, of one site, or of few events.

    frame: `Specimens.frame`. task: with its classes. A class is told of once, by what is worst.
    """
    if not task.has_classes:
        return
    of_events = frame.drop_duplicates("event_id")
    n_events = of_events["label"].value_counts()
    n_sites = of_events.groupby("label")["site_id"].nunique()
    site = groups_of(task)[-1]
    absent = [name for name in task.classes if name not in n_events.index]
    of_one_site = [name for name in task.classes if n_sites.get(name) == 1] if site != "image" else []
    told = {*absent, *of_one_site}
    few = [name for name in task.classes if name not in told and n_events[name] < FEW_EVENTS]
    if absent:
        yield f"{_of(absent)} of {task.names[0]} without a specimen: {_named(absent)}; they keep a probability near 0"
    if of_one_site:
        yield (
            f"{_of(of_one_site)} of {task.names[0]} at one {site} alone: {_named(of_one_site)}; nothing of them is "
            f"left to train on where that {site} is held out"
        )
    if few:
        event = "image" if task.columns.event is None else "event"
        yield (
            f"{_of(few)} of {task.names[0]} with fewer than {FEW_EVENTS} {event}s: {_named(few)}; they are trained on "
            "and scored like any other, but of each alone a score says little"
        )


def _of(names: Sequence[str]) -> str:
    return counted(len(names), "class")


def _named(names: Sequence[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")
