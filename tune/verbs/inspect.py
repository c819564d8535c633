"""What a folder of photographs holds, and a task proposed for it, with the reason of each guess.

sentinel-tune inspect DATA [--write] [--json]

Of a data set of the Hugging Face hub (hf://OWNER/NAME, hf://OWNER/NAME:CONFIG) the table alone is read: no photograph.
"""

import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from trainable.counts import counted
from trainable.data.column_facts import ColumnFacts, column_facts
from trainable.data.hub_name import HUB
from trainable.data.hub_table import read_hub_table
from trainable.data.image_sources import ImageFiles
from trainable.data.image_survey import survey_images
from trainable.data.raw_table import read_raw_table
from trainable.data.specimen_checks import Problems, note_bad_events, row_names, typed_frame
from trainable.data.specimen_schema import read_columns
from trainable.data.specimen_tables import read_table
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.splits import SPLIT_SEED, make_split, n_folds
from trainable.data.task import TASK_FILE, Task, beetles
from trainable.data.task_proposal import Proposal, propose
from trainable.data.task_words import groups_of
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.shown import shown
from trainable.whole_file import whole_file
from tune.command_line.options import InspectOptions
from tune.command_line.parsing import Given
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.report.image_facts import ALONE, image_facts
from tune.report.image_progress import ImageProgress

RANDOM_SHARE = 0.2
"""Of photographs that a random split would hold out."""


def run(given: Given) -> int:
    """Look, propose, and write the task if asked to; returns the exit status 0.

    Raises: UserError where no task can be proposed, or the folder has one that is not to be written over.
    """
    options: InspectOptions = given.options()
    console = Console(json=options.json)
    if options.data.startswith(HUB):
        return _inspect_hub(options, console)
    folder = Path(os.path.expanduser(options.data))
    file = folder / TASK_FILE
    if options.write and os.path.lexists(file):
        raise UserError(f"`--write` must not replace a task, but {file} is there; remove it first")
    table = read_raw_table(folder)
    columns = column_facts(table.rows, table.photographs, table.bare)
    proposal = propose(table.rows, columns, class_columns=table.classes)
    images = _looked_at(options, proposal.task)
    problems, specimens = _tried(options, proposal.task)
    lines = [*_column_lines(columns, proposal), "", "proposed task:", "", *_yaml_of(proposal).splitlines(), ""]
    facts = {} if specimens is None else split_facts(specimens.frame, proposal.task)
    lines += [*images.values(), *(f"warning: {problem}" for problem in (*proposal.doubts, *problems)), *facts.values()]
    is_known = set(beetles().required_columns) <= set(table.rows.columns)
    if is_known:
        lines.append(
            f"these are the columns of the built-in task `beetles`: without a {TASK_FILE} they are read by that, and "
            "scored as the challenge is; write one only to ask another question of them"
        )
    if options.write:
        with whole_file(file) as temporary:
            temporary.write_text(_yaml_of(proposal), encoding="utf-8")
        mend = "mend what the warnings above say, then " if specimens is None else ""
        lines.append(f"wrote {shown(file)}; {mend}go on with `{next_command('search', data=folder)}`")
    console.finish(
        text="\n".join(lines),
        json={"task": proposal.values, "reasons": proposal.reasons, "problems": list(problems), "splits": facts}
        | {"images": images, "doubts": list(proposal.doubts)}
        | ({"built_in": "beetles"} if is_known else {}),
    )
    return 0


def _inspect_hub(options: InspectOptions, console: Console) -> int:
    if options.write:
        raise UserError("`--write` must have a folder to write to, but DATA is of the hub; save what it prints")
    found = read_hub_table(options.data)
    columns = column_facts(found.table.rows, found.table.photographs)
    proposal, problems = propose(found.table.rows, columns, class_columns=found.table.classes), Problems()
    used = found.table.rows[["split", *read_columns(proposal.task)]]
    frame = typed_frame(used, proposal.task, problems)
    note_bad_events(frame, proposal.task, problems)
    facts = {} if problems.lines() else split_facts(frame, proposal.task)
    lines = [*found.lines, "", *_column_lines(columns, proposal), "", "proposed task:", "", _yaml_of(proposal)]
    lines += [*(f"warning: {problem}" for problem in (*proposal.doubts, *problems.lines())), *facts.values()]
    lines.append("photographs were not fetched: whether they can be read is told when they are")
    lines.append(f"save the task as a file and use it: `{next_command('search', data=options.data, task='FILE.yaml')}`")
    told = {"task": proposal.values, "reasons": proposal.reasons, "problems": problems.lines(), "splits": facts}
    console.finish(text="\n".join(lines), json=told | {"data_set": list(found.lines)})
    return 0


def _looked_at(options: InspectOptions, task: Task) -> dict[str, str]:
    """What the photographs are; nothing where the task's columns do not lead to them, which trying it tells."""
    try:
        table = read_table(options.data, cache_dir=options.cache_folder, task=task)
    except UserError:
        return {}
    progress = ImageProgress(sys.stderr, "looking at photographs")
    survey = survey_images(table.images, n_threads=options.workers, progress=progress.show)
    names = row_names(table.rows)
    if isinstance(table.images, ImageFiles):
        names = [os.path.relpath(path, os.path.expanduser(options.data)) for path in table.images.paths]
    column = task.columns.site or task.columns.event
    groups = names if column is None else table.rows[column].astype(str).tolist()
    return image_facts(survey, names, groups, ALONE if column is None else groups_of(task)[-1])


def _tried(options: InspectOptions, task: Task) -> tuple[tuple[str, ...], Specimens | None]:
    """What the data lack for this task, and the specimens where they lack nothing."""
    try:
        specimens = load_specimens(
            options.data,
            task=task,
            cache_dir=options.cache_folder,
            skip_bad_images=True,  # they are told of by name
            n_processes=options.workers,
        )
    except UserError as error:
        return error.problems, None
    return tuple(note.removeprefix("warning: ") for note in specimens.notes), specimens


def _column_lines(columns: dict[str, ColumnFacts], proposal: Proposal) -> list[str]:
    width = max(len(name) for name in columns)
    return [
        f"{name:<{width}}  {of.kind}, {of.n_values} different: {', '.join(of.examples)}\n"
        f"{'':<{width}}  -> {proposal.reasons[name]}"
        for name, of in columns.items()
    ]


def _yaml_of(proposal: Proposal) -> str:
    values: JsonObject = proposal.values
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)


def split_facts(frame: pd.DataFrame, task: Task) -> dict[str, str]:
    """How large the folds are, and what a random split would leak, a line each."""
    noun = "site" if task.columns.domain is not None else groups_of(task)[-1]
    facts: dict[str, str] = {}
    try:
        count = n_folds(frame, holdout="both")
        splits = [make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED) for fold in range(count)]
        sizes = ", ".join(str(split.n_held_out) for split in splits)
        facts["folds"] = f"held out in the {counted(count, 'fold')}: {sizes} of {counted(len(frame), 'photograph')}"
    except UserError as error:
        facts["folds"] = f"warning: {error}"
    for column, known in (("site_id", f"its {noun} is trained on too"), ("event_id", "its very labels are trained on")):
        share = leaking_share(frame[column])
        if share >= 0.005:
            facts[column] = f"a random split would leak: of {share:.0%} of what it holds out, {known}"
    return facts


def leaking_share(groups: pd.Series) -> float:
    """Of photographs that a random split holds out, those expected to have others of their group on the other side."""
    sizes = groups.map(groups.value_counts()).to_numpy(np.float64)
    return float((1 - RANDOM_SHARE ** (sizes - 1)).mean())
