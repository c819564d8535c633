"""A covariate that tells the label: then no image is needed, and a score speaks of a table."""

import pandas as pd

from trainable.config import NO_NAME
from trainable.data.task import Task


def telling_line(frame: pd.DataFrame, task: Task) -> str | None:
    """What is to be said of targets that follow from the covariate alone; None if there are none.

    frame: `Specimens.frame`. Only names that several events have tell something.
    """
    if not task.covariates:
        return None
    # an event may have specimens of several names, and each of them must tell it
    events = frame[frame["species"] != NO_NAME].drop_duplicates(["event_id", "species"])
    shared = events[events["species"].duplicated(keep=False)]
    told = [
        target
        for target, column in zip(task.names, task.label_columns, strict=True)
        if shared[column].nunique() > 1 and (shared.groupby("species")[column].nunique() == 1).all()
    ]
    if not told:
        return None
    return (
        f"{task.covariates[0]} tells {', '.join(told)} by itself: all events of a name have the same label, so that a "
        "model needs no image"
    )
