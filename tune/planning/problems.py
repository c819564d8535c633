"""What stands against running a planned study, each problem with its remedy."""

import os
from pathlib import Path

from trainable.frozen.shards import room_for
from trainable.shown import size_text
from tune.planning.image_probe import nearest_folder
from tune.planning.study_plan import StudyPlan


def problems_of(plan: StudyPlan) -> list[str]:
    """What cannot work, each with its remedy."""
    problems = []
    extraction, trial, records = plan.extraction, plan.trial, plan.records
    needed = room_for(extraction.bytes)
    if needed > extraction.bytes_free:
        problems.append(
            f"`the disk of {extraction.store}` must have {size_text(needed)} free for the features, but has "
            f"{size_text(extraction.bytes_free)}; free some, name another --cache folder, or search fewer values of "
            f"tail.n_blocks{' or augment.image_copies' if extraction.n_copies else ''}"
        )
    free = records.bytes_free
    shared = needed if free is not None and _on_one_disk(Path(extraction.store), Path(records.study)) else 0
    if free is not None and records.checkpoint_bytes + shared > free and needed <= extraction.bytes_free:
        problems.append(
            f"`the disk of {records.study}` must have {size_text(records.checkpoint_bytes + shared)} free for "
            f"checkpoints{' and features' if shared else ''}, but has {size_text(free)}; free some or name another "
            "--study folder"
        )
    if not trial.fit_memory:
        problems.append(
            f"`a trial's memory` must fit {trial.device_name}, but the largest configuration takes "
            f"{size_text(trial.memory_bytes[1])} of {size_text(trial.device_bytes)}; search fewer values of "
            "tail.n_blocks or smaller optim.batch_size"
        )
    return problems


def _on_one_disk(one: Path, other: Path) -> bool:
    return os.stat(nearest_folder(one)).st_dev == os.stat(nearest_folder(other)).st_dev
