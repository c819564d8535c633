"""What stands against running a planned study, each problem with its remedy."""

import os
from pathlib import Path

from tune.planning.image_probe import nearest_folder
from tune.planning.plan_text import size
from tune.planning.study_plan import StudyPlan

ROOM = 1.01
"""Of the features' bytes: records beside them, the tail's weights (as the extraction itself asks)."""


def problems_of(plan: StudyPlan) -> list[str]:
    """What cannot work, each with its remedy."""
    problems = []
    extraction, trial, records = plan.extraction, plan.trial, plan.records
    needed = int(extraction.bytes * ROOM)
    if needed > extraction.bytes_free:
        problems.append(
            f"`the disk of {extraction.store}` must have {size(needed)} free for the features, but has "
            f"{size(extraction.bytes_free)}; free some, name another --cache folder, or search fewer values of "
            "tail.n_blocks"
        )
    free = records.bytes_free
    shared = needed if free is not None and _on_one_disk(Path(extraction.store), Path(records.study)) else 0
    if free is not None and records.checkpoint_bytes + shared > free and needed <= extraction.bytes_free:
        problems.append(
            f"`the disk of {records.study}` must have {size(records.checkpoint_bytes + shared)} free for checkpoints"
            f"{' and features' if shared else ''}, but has {size(free)}; free some or name another "
            "--study folder"
        )
    if not trial.fit_memory:
        problems.append(
            f"`a trial's memory` must fit {trial.device_name}, but the largest configuration takes "
            f"{size(trial.memory_bytes[1])} of {size(trial.device_bytes)}; search fewer values of tail.n_blocks or "
            "smaller optim.batch_size"
        )
    return problems


def _on_one_disk(one: Path, other: Path) -> bool:
    return os.stat(nearest_folder(one)).st_dev == os.stat(nearest_folder(other)).st_dev
