"""What `retrain` makes: which configuration of a study, for how many epochs, with which seeds, on what evidence.

The evidence is what the model's sigma, and its claim to be any good, rest on: a confirmation's out-of-fold forecasts,
or, for a trial that was never confirmed, the held-out events that the search itself scored it on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from search_spaces.variant import load_variant
from trainable.config import TrialConfig
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.scoring.out_of_fold import calibrated_sigmas
from trainable.scoring.targets import kinds_of
from tune.command_line.model_options import RetrainOptions
from tune.command_line.options import TrainOptions, plain_options
from tune.confirming.floors import floors_of
from tune.confirming.outcome import ENSEMBLE, Confirmed, ConfirmedConfiguration, confirmed_of, evidence, out_of_fold_of
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.entries import JournalEntry, study_of
from tune.journal.study_task import task_of_study
from tune.printed.next_command import next_command
from tune.study.kept_options import kept_options


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is trained with each seed. config: of full length, to which schedules are laid out; it stops after `epochs`.

    name: "t0017" or a variant's name.
    """

    name: str
    config: TrialConfig
    epochs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A model to be made.

    name: that of its part, or an ensemble's. parts: one, or an ensemble's. floor_shares: floor -> its share of the
    forecast. sigmas: "known" and "unknown" (domains) ->
    one a target, of classes a temperature. scores, intervals: measured on events held out of training, as `scores_of`
    says: "confirmation" or "held-out events". floors: name -> metrics of a forecast without images on the same events,
    where they are known. evidence: the forecasts behind them, None without a confirmation.
    is_winner: the confirmation decided for it.
    """

    name: str
    trial_id: str | None
    parts: tuple[Part, ...]
    floor_shares: dict[str, float]
    seeds: tuple[int, ...]
    sigmas: dict[str, list[float]]
    scores: dict[str, float]
    scores_of: str
    intervals: dict[str, tuple[float, float]]
    interval_level: float | None
    floors: dict[str, dict[str, float]]
    evidence: JsonObject | None
    is_winner: bool
    verdict: str

    @property
    def members(self) -> list[tuple[Part, int]]:
        """Every training, with its seed."""
        return [(part, seed) for part in self.parts for seed in self.seeds]

    @property
    def epochs(self) -> int:
        """Of the longest training."""
        return max(part.epochs for part in self.parts)


TRAINED_WITH = (
    "data", "task", "backbone", "features", "skip_bad_images", "drop_duplicates", "epochs", "holdout", "fold", "seed",
    "cache",
)  # fmt: skip
"""Options of a study that a training beside it needs, to be measured alike."""


def recipe_of(options: RetrainOptions, entries: Sequence[JournalEntry]) -> Recipe:
    """The confirmed winner, or what `--trial`, `--config` or `--leading` asks for.

    Raises: UserError when there is no such thing, or when nothing is known of its errors on events held out.
    """
    confirmed, standings = confirmed_of(entries), Standings.of(entries)
    trials = standings.trials
    header = study_of(entries).header
    if options.config is not None:
        chosen = _of_config(options.config, confirmed, trials, kept_options(entries), epochs=header["max_epochs"])
    elif options.trial is not None:
        chosen = _of_trial(options.trial, confirmed, trials)
    else:
        chosen = _decided_for(confirmed, options, local=standings.is_local)
    if isinstance(chosen, ConfirmedConfiguration):
        assert confirmed is not None
        return _from_candidate(options, chosen, confirmed, study_seed=header["seed"], local=standings.is_local)
    return _from_trial(options, chosen, standings)


def _decided_for(confirmed: Confirmed | None, options: RetrainOptions, *, local: bool) -> ConfirmedConfiguration:
    if confirmed is None:
        raise UserError(
            f"`retrain` needs a confirmed winner, but {options.study} has no confirmation; run "
            f"`{next_command('confirm', options.study, local=local)}`, or name a --trial, whose sigma then comes from "
            "the held-out events that the search chose it by"
        )
    chosen = confirmed.candidate(confirmed.leader if options.leading else confirmed.winner)
    assert chosen is not None
    return chosen


def _of_trial(
    name: str, confirmed: Confirmed | None, trials: Mapping[str, TrialRecord]
) -> ConfirmedConfiguration | TrialRecord:
    candidate = confirmed.candidate(name) if confirmed is not None else None
    if candidate is not None:
        return candidate
    usable = [trial.trial_id for trial in trials.values() if trial.best_score is not None]
    names = [c.name for c in confirmed.candidates if c.name not in usable] if confirmed is not None else []
    if name not in trials:
        rule = f"`--trial` must be a trial of the study, but got {name!r}"
        if name == ENSEMBLE:
            rule = (
                f"`--trial {ENSEMBLE}` must be of a confirmation on two folds or more, with a candidate beside the "
                "default, but this study's latest is none"
            )
        raise UserError(f"{rule}; valid: {', '.join(names + usable)}")
    if name not in usable:
        raise UserError(
            f"`--trial` must have a score, but {name} has none ({trials[name].reason or trials[name].state}); "
            f"valid: {', '.join(names + usable)}"
        )
    return trials[name]


def _of_config(
    file: Path,
    confirmed: Confirmed | None,
    trials: Mapping[str, TrialRecord],
    study: JsonObject,
    *,
    epochs: int,
) -> ConfirmedConfiguration | TrialRecord:
    """The candidate or trial that ran this configuration: of any other, nothing is known on events held out."""
    config = load_variant(file, epochs=epochs).to_dict()
    candidates = confirmed.candidates if confirmed is not None else ()
    known = [c for c in candidates if c.config == config]
    scored = [t for t in trials.values() if t.config == config and t.best_score is not None]
    if not known and not scored:
        usual = plain_options(TrainOptions())
        same = {name: study[name] for name in TRAINED_WITH if study.get(name) not in (None, usual[name])}
        command = next_command("train", variant=file, **same)
        raise UserError(
            f"`--config` must be a configuration that this study ran at its full length of {epochs} epochs, but it "
            f"never ran {file}, so its errors on held-out events, and with them sigma, are unknown; "
            f"`{command}` measures them, and a search that starts from it can confirm it"
        )
    return known[0] if known else min(scored, key=lambda trial: trial.best_score or 0.0)


def _from_candidate(
    options: RetrainOptions, chosen: ConfirmedConfiguration, confirmed: Confirmed, *, study_seed: int, local: bool
) -> Recipe:
    members = confirmed.members_of(chosen)
    forecasts = out_of_fold_of(options.study, confirmed, chosen, local=local)
    sigmas = calibrated_sigmas(forecasts, n_members=options.seeds)
    return Recipe(
        name=chosen.name,
        trial_id=chosen.trial_id,
        parts=tuple(_part(options, member.name, member.config, default=member.epoch) for member in members),
        floor_shares=chosen.floor_shares,
        seeds=_seeds(options.seeds, first=confirmed.seeds, study_seed=study_seed),
        sigmas={kind: [float(value) for value in values] for kind, values in sigmas.items()},
        scores=chosen.metrics,
        scores_of="confirmation",
        intervals=chosen.intervals,
        interval_level=confirmed.interval_level,
        floors=floors_of(options.study, confirmed),
        evidence=evidence(confirmed, chosen, forecasts),
        is_winner=chosen.name == confirmed.winner,
        verdict=confirmed.verdict,
    )


def _from_trial(options: RetrainOptions, trial: TrialRecord, standings: Standings) -> Recipe:
    assert trial.best_epoch is not None
    header = standings.header
    name = trial.variant or trial.trial_id
    own_seed = header["seed"] if trial.seed is None else trial.seed
    metrics, task = trial.best_metrics, task_of_study(header)
    kept = ("score/", *(f"{kind}_" for kind in kinds_of(task)[:-1]))
    return Recipe(
        name=name,
        trial_id=trial.trial_id,
        parts=(_part(options, name, trial.trial_config().to_dict(), default=trial.best_epoch),),
        floor_shares={},
        seeds=_seeds(options.seeds, first=(own_seed,), study_seed=header["seed"]),
        sigmas=_sigmas_of_metrics(metrics, task),
        scores={name: value for name, value in metrics.items() if name.startswith(kept)},
        scores_of="held-out events",
        intervals={},
        interval_level=None,
        floors=standings.floors,
        evidence=None,
        is_winner=False,
        verdict="",
    )


def _sigmas_of_metrics(metrics: Mapping[str, float], task: Task) -> dict[str, list[float]]:
    """A kind of domain that the search did not hold out gets the other's sigma; of classes a temperature."""
    *_, kind = kinds_of(task)
    found = {
        part: [float(metrics[f"{kind}_{part}/{target}"]) for target in task.names]
        for part in ("id", "ood")
        if f"{kind}_{part}/{task.names[0]}" in metrics
    }
    known = found.get("id") or found["ood"]
    return {"known": known, "unknown": found.get("ood", known)}


def _part(options: RetrainOptions, name: str, values: JsonObject, *, default: int) -> Part:
    config = TrialConfig.from_dict(values)
    if options.epochs is None:
        return Part(name=name, config=config, epochs=default)
    if options.epochs > config.n_epochs:
        raise UserError(
            f"`--epochs <= {config.n_epochs}` must hold, the length that the schedule is laid out over, "
            f"but got {options.epochs}"
        )
    return Part(name=name, config=config, epochs=options.epochs)


def _seeds(count: int, *, first: Sequence[int], study_seed: int) -> tuple[int, ...]:
    """Those that were measured, then the study's and the numbers after it; each once."""
    more = (study_seed + i for i in range(count + len(first)))
    return tuple(dict.fromkeys([*first, *more]))[:count]
