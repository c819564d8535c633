"""The trials that a search has still before it, as work for the forecast; those behind it fill its rungs."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from trainable.config import TrialConfig
from tune.decisions.decisions import Decisions
from tune.measuring.corners import drawn
from tune.planning.forecast import Forecast, Rules, Work, forecast
from tune.planning.study_plan import Range
from tune.study.search_request import SearchRequest

N_SIMULATIONS = 20

NOISE_RUNS = 2
"""Reruns of the default that `--plateau` adds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A trial whose configuration is known. n_reported: epochs behind it. is_over: it has ended."""

    config: TrialConfig
    is_exempt: bool
    is_over: bool = False
    n_reported: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialsAhead:
    """known: in the order in which they run; those that are over come first. n_drawn: proposals of the sampler."""

    known: tuple[Known, ...]
    n_drawn: int

    @property
    def n(self) -> int:
        """Trials that are not over."""
        return sum(not trial.is_over for trial in self.known) + self.n_drawn

    @property
    def n_in_full(self) -> int:
        """Those of them that are never stopped early."""
        return sum(trial.is_exempt and not trial.is_over for trial in self.known)

    def most_epochs(self, max_epochs: int) -> int:
        """If none were stopped."""
        left = sum(trial.config.n_epochs - trial.n_reported for trial in self.known if not trial.is_over)
        return left + self.n_drawn * max_epochs


def trials_ahead(request: SearchRequest) -> TrialsAhead:
    """Of a new study, or of the rest of one."""
    options, space = request.options, request.space
    if not request.is_resume:
        starts = () if options.no_variants else space.named
        known = [
            Known(config=point.config.with_epochs(options.epochs), is_exempt=options.variants_in_full or number == 0)
            for number, point in enumerate(starts)
        ][: options.trials]
        noise = min(NOISE_RUNS if options.plateau and known else 0, options.trials - len(known))
        known += [Known(config=known[0].config, is_exempt=True) for _ in range(noise)]
        return TrialsAhead(known=tuple(known), n_drawn=options.trials - len(known))
    decisions = Decisions.replay(space, request.past)
    records = decisions.trials()
    known = [
        Known(
            config=r.trial_config(), is_exempt=r.exempt, is_over=r.is_told, n_reported=r.epoch,
        )
        for r in records
    ]  # fmt: skip
    left = max(0, options.trials + decisions.standings.n_enqueued - len(records))
    waiting = decisions.waiting()[:left]
    known += [Known(config=TrialConfig.from_dict(p.config), is_exempt=p.exempt) for p in waiting]
    return TrialsAhead(known=tuple(known), n_drawn=left - len(waiting))


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """What trials cost: an epoch, and to begin; quickest and slowest: an epoch of a drawn trial at its extremes."""

    epoch: Callable[[TrialConfig], float]
    build: Callable[[TrialConfig], float]
    quickest: float
    slowest: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Ahead:
    """Forecasts of the same search, many times over."""

    epochs: Range
    device_seconds: Range
    wall_seconds: Range


def foresee(ahead: TrialsAhead, request: SearchRequest, rules: Rules, seconds: Seconds, *, seed: int) -> Ahead:
    """Expected is the median of searches with drawn configurations at their own cost."""

    def run(number: int, fixed: float | None) -> Forecast:
        configs = drawn(request.space, ahead.n_drawn, epochs=rules.max_epochs, seed=seed + number)
        works = [_known_work(trial, seconds) for trial in ahead.known]
        works += [
            Work(
                n_epochs=c.n_epochs,
                epoch_seconds=seconds.epoch(c) if fixed is None else fixed,
                build_seconds=seconds.build(c),
            )
            for c in configs
        ]
        return forecast(works, rules, seed=seed + number)

    numbers = range(N_SIMULATIONS)
    own = [run(number, None) for number in numbers]
    quick, slow = ([run(number, fixed) for number in numbers] for fixed in (seconds.quickest, seconds.slowest))
    return Ahead(
        epochs=_range(own, own, own, lambda f: f.n_epochs),
        device_seconds=_range(quick, own, slow, lambda f: f.busy_seconds),
        wall_seconds=_range(quick, own, slow, lambda f: f.wall_seconds),
    )


def confirmation_ahead(n_runs: int, rules: Rules, typical: Seconds, *, epoch_seconds: float) -> Ahead:
    """Runs of the full length, none of them stopped; of what configuration is not known yet."""
    in_full = Rules(
        max_epochs=rules.max_epochs, grace_epochs=rules.max_epochs, reduction_factor=rules.reduction_factor,
        slots=rules.slots,
    )  # fmt: skip

    def run(seconds: float) -> list[Forecast]:
        work = Work(n_epochs=rules.max_epochs, epoch_seconds=seconds, is_exempt=True)
        return [forecast([work] * n_runs, in_full, seed=0)]

    quick, own, slow = run(typical.quickest), run(epoch_seconds), run(typical.slowest)
    return Ahead(
        epochs=_range(quick, own, slow, lambda f: f.n_epochs),
        device_seconds=_range(quick, own, slow, lambda f: f.busy_seconds),
        wall_seconds=_range(quick, own, slow, lambda f: f.wall_seconds),
    )


def _known_work(trial: Known, seconds: Seconds) -> Work:
    return Work(
        n_epochs=trial.config.n_epochs,
        epoch_seconds=seconds.epoch(trial.config),
        build_seconds=seconds.build(trial.config),
        is_exempt=trial.is_exempt,
        is_over=trial.is_over,
        n_reported=trial.n_reported,
    )


def _range(
    quick: Sequence[Forecast], own: Sequence[Forecast], slow: Sequence[Forecast], of: Callable[[Forecast], float]
) -> Range:
    return Range(
        low=min(map(of, [*quick, *own])),
        expected=statistics.median(map(of, own)),
        high=max(map(of, [*own, *slow])),
    )
