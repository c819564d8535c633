"""The confirmed configuration on all of a study's data, exported and registered.

sentinel-tune retrain STUDY [--trial ID | --config FILE | --leading] [--seeds K] [--out DIR] [OPTIONS]

A killed command run again goes on where it stopped, and ends in the same weights. One that could train but not register
registers, run again, without training.
"""

import re
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from trainable.counts import counted
from trainable.data.task import Task
from trainable.data.task_words import score_keys
from trainable.plain_values import JsonObject
from trainable.scoring.best_floor import best_floor, not_better_words
from trainable.shown import shown
from tune.command_line.model_options import RetrainOptions
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.confirming.outcome import confirmed_of
from tune.execution.session import local_device, with_precision
from tune.journal.entries import JournalEntry, StudyBegun, study_of
from tune.journal.journal import read_entries
from tune.journal.study_task import task_of_study
from tune.models.model_source import open_model
from tune.models.recipe import Recipe, recipe_of
from tune.models.registry import Registered, Registry
from tune.models.retrain_folder import MODEL_NAME, check_folder, read_histories
from tune.models.retrain_run import Entry
from tune.report.console import Console
from tune.report.next_steps import after_training
from tune.report.results import duration
from tune.study.kept_options import kept_options
from tune.tracking.uri import chosen_tracking_uri

EXIT_DONE, EXIT_FAILED = 0, 1

BEETLES = "sentinel-beetles"
"""What models of the challenge's task are registered as."""


def run(given: Given) -> int:
    """Run the verb; returns the exit status: 0 done, 1 the training failed.

    Raises: UserError, before training for all that can be known then.
    """
    started = time.monotonic()
    options: RetrainOptions = given.options()
    console = Console(json=options.json)
    entries = read_entries(options.study)
    options = with_precision(_in_precision_of(entries, options), local_device(options), trains_here=False)
    recipe, task = recipe_of(options, entries), task_of_study(study_of(entries).header)
    folder = (options.out or Path("retrained", f"{options.study.resolve().name}-{recipe.name}")).absolute()
    options = replace(options, name=options.name or usual_name(entries, options.study.resolve().name))
    registry = _registry(options, entries)
    identity = _identity(recipe, study_of(entries), precision=options.precision)
    _tell_recipe(recipe, task, console)
    check_folder(folder, identity)
    if (folder / MODEL_NAME).is_dir():
        open_model(str(folder / MODEL_NAME), None, "cpu", console)  # whole, or refused
        console.say(f"trained and exported already: {folder / MODEL_NAME}")
    else:
        from tune.models.retraining import make_model  # loads torch and open_clip

        if not make_model(options, recipe, entries, folder, identity, console):
            return EXIT_FAILED
    registered = None if registry is None else _register(registry, options, recipe, entries, folder, console)
    steps = after_training(options, folder / MODEL_NAME, kept_options(entries), task=task)
    _finish(recipe, folder, registered, steps, console, task=task, seconds=time.monotonic() - started)
    return EXIT_DONE


def usual_name(entries: Sequence[JournalEntry], study: str) -> str:
    """The registered name of a study's models where none is given: the challenge's, or that of the study's folder."""
    if task_of_study(study_of(entries).header).is_beetles:
        return BEETLES
    return re.sub(r"[^\w. -]+", "-", study).strip()[:200] or "model"


def _in_precision_of(entries: Sequence[JournalEntry], options: RetrainOptions) -> RetrainOptions:
    """Epochs and sigma were measured in the study's, which is kept unless another is asked for."""
    asked = kept_options(entries).get("precision", "auto") if options.precision == "auto" else options.precision
    return replace(options, precision=asked)


def _identity(recipe: Recipe, study: StudyBegun, *, precision: str) -> JsonObject:
    """What makes two retrainings the same, as plain values."""
    header = study.header
    return {
        "study_id": study.study_id,
        "data_fingerprint": header["data_fingerprint"],
        "backbone_fingerprint": header["backbone_fingerprint"],
        **_trained(recipe),
        "seeds": list(recipe.seeds),
        "precision": precision,
        "sigmas": recipe.sigmas,
        **({"floor_shares": recipe.floor_shares} if recipe.floor_shares else {}),
    }


def _trained(recipe: Recipe) -> JsonObject:
    of_each = [{"config": part.config.to_dict(), "epochs": part.epochs} for part in recipe.parts]
    return of_each[0] if len(of_each) == 1 else {"members": of_each}


def _registry(options: RetrainOptions, entries: Sequence[JournalEntry]) -> Registry | None:
    """The registry, which answers now; None when it is to be left alone."""
    if options.no_register:
        return None

    kept = kept_options(entries)
    uri = chosen_tracking_uri(options.tracking_uri or kept.get("tracking_uri"))
    registry = Registry(uri, kept.get("experiment") or SearchOptions().experiment)
    registry.check(str(options.name), task_of_study(study_of(entries).header))
    return registry


def _tell_recipe(recipe: Recipe, task: Task, console: Console) -> None:
    if recipe.verdict:
        console.say(f"confirmation: {recipe.verdict}")
    seeds = ", ".join(map(str, recipe.seeds))
    for part in recipe.parts:
        which = part.name if len(recipe.parts) == 1 else f"{part.name} of the {recipe.name}"
        members = f"{len(recipe.seeds)} members with seeds" if len(recipe.seeds) > 1 else "seed"
        console.say(
            f"retraining {which} on all data for {part.epochs} of {counted(part.config.n_epochs, 'epoch')}, "
            f"{members} {seeds}"
        )
    if words := _not_better(recipe):
        console.say(f"warning: {words}")
    if recipe.evidence is None:
        calibration = "temperature" if task.has_classes else "sigma"
        console.say(
            f"note: {recipe.name} was not confirmed; its scores and {calibration} are of the held-out events that the "
            "search chose it by, and so too good"
        )


def _register(
    registry: Registry,
    options: RetrainOptions,
    recipe: Recipe,
    entries: Sequence[JournalEntry],
    folder: Path,
    console: Console,
) -> Registered:
    from trainable.export.standalone import read_config  # loads torch and open_clip

    confirmed = confirmed_of(entries) if recipe.evidence is not None else None
    entry = Entry(
        name=str(options.name),
        folder=folder / MODEL_NAME,
        facts=read_config(folder / MODEL_NAME)["facts"],
        study_id=study_of(entries).study_id,
        trial_id=recipe.trial_id,
        histories=read_histories(folder, n_members=len(recipe.members), say=console.say),
        table=confirmed.to_dict() if confirmed is not None else None,
        is_winner=recipe.is_winner,
    )
    return registry.register(entry, force=options.force)


def _finish(
    recipe: Recipe,
    folder: Path,
    registered: Registered | None,
    steps: Sequence[str],
    console: Console,
    *,
    task: Task,
    seconds: float,
) -> None:
    model = folder / MODEL_NAME
    lines = [f"{recipe.name} trained on all data in {duration(seconds)}: {shown(model)}", *_score_lines(recipe, task)]
    if recipe.floor_shares:
        floors = ", ".join(f"{share:.0%} of the floor {name}" for name, share in recipe.floor_shares.items())
        lines.insert(1, f"forecasts for known domains are made of it and {floors}")
    result: JsonObject = {
        "model": str(model),
        "registry_uri": None,
        "run_id": None,
        "scores": recipe.scores,
        "scores_of": recipe.scores_of,
        "intervals": recipe.intervals,
        "floors": recipe.floors,
        "seeds": recipe.seeds,
        "epochs": recipe.epochs,
        "members": [{"name": part.name, "epochs": part.epochs, "seed": seed} for part, seed in recipe.members],
        "floor_shares": recipe.floor_shares,
        "champion": None,
        "seconds": round(seconds, 1),
    }
    if registered is not None:
        champion = registered.champion
        lines.append(f"{'registered' if registered.is_new else 'registered already'}: {registered.uri}")
        lines.append(f"champion: {'it is now this one' if champion.moves else 'not moved'}: {champion.reason}")
        result |= {
            "registry_uri": registered.uri,
            "run_id": registered.run_id,
            "champion": {"moved": champion.moves, "reason": champion.reason},
        }
    lines += ["", "To go on:", *(f"  {command}" for command in steps)]
    console.finish(text="\n".join(lines), json=result)


def _score_lines(recipe: Recipe, task: Task) -> list[str]:
    shown = []
    for name in score_keys(task):
        if name in recipe.scores:
            low_high = recipe.intervals.get(name)
            interval = f" [{low_high[0]:.3f}, {low_high[1]:.3f}]" if low_high else ""
            shown.append(f"{name.partition('/')[2]} {recipe.scores[name]:.3f}{interval}")
    if not shown:
        return []
    floor, words = best_floor(recipe.floors), _not_better(recipe)
    beside = f"; the best floor there, {floor.name}, {floor.score:.3f}" if floor is not None else ""
    return [f"score of its {recipe.scores_of}: {'  '.join(shown)}{beside}", *([words] if words else [])]


def _not_better(recipe: Recipe) -> str:
    return not_better_words({recipe.name: recipe.scores["score/all"]}, recipe.floors)
