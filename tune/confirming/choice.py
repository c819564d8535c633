"""What is confirmed: a study's best trials, unlike one another, and the default, on equal folds and seeds."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import pandas as pd

from search_spaces.space import DEFAULT, SearchSpace
from search_spaces.variant import load_variant
from trainable.counts import counted
from trainable.data.splits import n_folds
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.command_line.options import SearchOptions
from tune.confirming.fresh_folds import FreshFolds, fresh_folds
from tune.confirming.planned_runs import Configuration, Plan
from tune.decisions.diversity import ScoredTrial, best_diverse
from tune.decisions.trial_record import TrialRecord
from tune.printed.next_command import option_words

DEFAULT_FOLDS = 3
"""The fewest at which the ensemble was better than the best single one beyond chance (benchmarks/ENSEMBLE.md); more
cost time, choose a little better and narrow the intervals.
"""


def reserved(frame: pd.DataFrame, options: SearchOptions) -> str:
    """What is kept for confirming from the start, in one line.

    frame: of the specimens.

    Raises: UserError when the data have no such folds, before any trial is run.
    """
    chosen, seeds, top = _folds(frame, options), options.confirm_seeds, options.confirm_top
    runs = n_runs_reserved(frame, options)
    share = f"; {options.confirm_share:.0%} of the time budget is kept for it" if options.time_budget else ""
    pairs = f"{counted(len(chosen.folds), 'fold')} x {counted(seeds, 'seed')}"
    return (
        f"then the best {top} and the default are confirmed on {pairs}: at most {counted(runs, 'run')} of "
        f"{counted(options.epochs, 'epoch')}, {_evidence(chosen)}{share}"
    )


FEW_EVENTS = 20
"""Below so many, forecasts of the same configuration differ as much as those of most configurations (assumption)."""


def thin_evidence(frame: pd.DataFrame, options: SearchOptions, *, is_begun: bool) -> str | None:
    """A warning with its remedy, where few events are left that the search does not choose by; None where enough are.

    is_begun: whether the study is, so that the folds it searches by stay.
    Raises: UserError when the data have no such folds.
    """
    chosen = _folds(frame, options)
    if not _is_thin(chosen):
        return None
    why = f"the verdict judges by only {counted(chosen.n_fresh, 'event')}, so that chance decides much of it"
    if chosen.n_seen:
        n_all = counted(chosen.n_seen + chosen.n_fresh, "event")
        share = f"{chosen.n_seen} of the" if chosen.n_fresh else "all"
        why = f"the search chooses by {share} {n_all} that the verdict judges by, which favours what it chose"
    return f"warning: {why}; {_remedy(frame, options, chosen, is_begun=is_begun)}"


def _is_thin(chosen: FreshFolds) -> bool:
    return chosen.n_seen > 0 or chosen.n_fresh < FEW_EVENTS


def _remedy(frame: pd.DataFrame, options: SearchOptions, chosen: FreshFolds, *, is_begun: bool) -> str:
    """The first option that leaves enough: more folds to confirm by, fewer to search by, another holdout."""
    count = n_folds(frame, holdout=options.holdout)
    ways = [replace(options, confirm_folds=n) for n in range(len(chosen.folds) + 1, count + 1)]
    ways += [replace(options, search_folds=n) for n in range(chosen.n_searched - 1, 0, -1)]
    for way in ways:
        with suppress(UserError):  # of a fold that holds nothing out
            if not _is_thin(found := _folds(frame, way)):
                name = "confirm_folds" if way.confirm_folds != options.confirm_folds else "search_folds"
                option, judged = option_words(**{name: getattr(way, name)}), counted(found.n_fresh, "event")
                begin = "begin a new study with" if is_begun and name == "search_folds" else "use"
                return f"{begin} {' '.join(option)}, which leaves {judged} to judge by"
    if options.holdout == "official":
        return f"{'begin a new study with' if is_begun else 'use'} --holdout both, whose folds hold out other events"
    return "data of more sites and domains would say more"


def _evidence(chosen: FreshFolds) -> str:
    """What the verdict will rest on."""
    fresh = f"judged by {counted(chosen.n_fresh, 'event')} that the search does not choose by"
    if not chosen.n_seen:
        return fresh
    shared = f"{counted(chosen.n_seen, 'event')} that the search chooses by, too, since no other fold is left"
    return f"{fresh}, and {shared}" if chosen.n_fresh else f"judged by {shared}"


def n_runs_reserved(frame: pd.DataFrame, options: SearchOptions) -> int:
    """Runs of a confirmation, if the search leaves enough trials to choose from.

    Raises: UserError when the data have no such folds.
    """
    return (options.confirm_top + 1) * len(_folds(frame, options).folds) * options.confirm_seeds


def make_plan(
    space: SearchSpace,
    trials: Sequence[TrialRecord],
    frame: pd.DataFrame,
    options: SearchOptions,
    earlier: Plan | None = None,
) -> Plan:
    """The best diverse trials and the default, on folds that the search did not score by as far as there are such.

    earlier: a plan that runs may have been done of; it keeps its folds if as many are wanted.
    Raises: UserError when no trial has a score, or more folds are asked for than the data have.
    """
    default = _default(space, options.epochs)
    ranked = _ranked(space, trials, options.epochs)
    if not ranked:
        raise UserError("`a study must have a scored trial to be confirmed`, but this one has none; search on first")
    rivals = best_diverse([c for c in ranked if c.config != default], space, n=options.confirm_top)
    of_default = next((c.record.trial_id for c in ranked if c.config == default), None)
    folds = _folds(frame, options).folds
    slowest_first = sorted(rivals, key=lambda c: -c.record.best_metrics.get("time/epoch_seconds", 0.0))  # none waits
    return Plan(
        configurations=(
            *(_configuration(c.record, c.config, earlier) for c in slowest_first),
            Configuration(name=DEFAULT, trial_id=of_default, config=default),
        ),
        folds=earlier.folds if earlier is not None and len(earlier.folds) == len(folds) else folds,
        seeds=tuple(options.seed + 1 + i for i in range(options.confirm_seeds)),
        epochs=options.epochs,
        with_ensemble=True,
        with_floors=True,
    )


def _default(space: SearchSpace, epochs: int) -> JsonObject:
    """The default that the study knows: since it began, the program may have come to another."""
    named = (space.base, *space.named)
    known = next((point.config for point in named if point.name == DEFAULT), None)
    config = load_variant(DEFAULT, epochs=epochs) if known is None else known.with_epochs(epochs)
    return config.to_dict()


def _ranked(space: SearchSpace, trials: Sequence[TrialRecord], epochs: int) -> list[ScoredTrial]:
    """Trials with a score, best first, each configuration once."""
    found: list[ScoredTrial] = []
    scored = [(r.best_score, r) for r in trials if r.best_score is not None and r.state != "failed" and not r.is_noise]
    for score, record in sorted(scored, key=lambda pair: (pair[0], pair[1].number)):
        config = record.trial_config().with_epochs(epochs)
        try:
            values = space.values_of(config)
        except UserError:
            values = None
        if config.to_dict() not in [candidate.config for candidate in found]:
            found.append(ScoredTrial(record, score, values, config.to_dict()))
    return found


def _folds(frame: pd.DataFrame, options: SearchOptions) -> FreshFolds:
    count = n_folds(frame, holdout=options.holdout)
    wanted = options.confirm_folds if options.confirm_folds is not None else max(1, min(DEFAULT_FOLDS, count - 1))
    return fresh_folds(
        frame,
        holdout=options.holdout,
        search_fold=options.fold,
        n_search_folds=options.search_folds,
        wanted=wanted,
    )


def _configuration(record: TrialRecord, config: JsonObject, earlier: Plan | None) -> Configuration:
    """As long as the search trained it, if that was past its best; of an earlier plan, as long as there."""
    known = next((c for c in earlier.configurations if c.config == config), None) if earlier is not None else None
    is_past_its_best = record.state == "completed" and record.epoch < record.max_epochs
    return Configuration(
        name=record.variant or record.trial_id,
        trial_id=record.trial_id,
        config=config,
        at_most=known.at_most if known is not None else record.epoch if is_past_its_best else None,
    )
