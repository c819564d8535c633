"""What a study knows of one trial: the state that its entries add up to."""

import math
from dataclasses import dataclass, field
from typing import Literal

from trainable.config import TrialConfig, n_epochs_of
from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from tune.journal.entries import (
    STATES,
    CheckpointWritten,
    EpochReported,
    RungDecided,
    TrialAsked,
    TrialEntry,
    TrialPaused,
    TrialRaised,
    TrialRetried,
    TrialStopped,
    TrialTold,
)

EPOCH_SECONDS = "time/epoch_seconds"
"""The metric that says how long an epoch took."""

SAMPLER, ENQUEUED = "sampler", "enqueued"
"""Origins of what the sampler proposed, and of what a user asked for while the study was there."""

NOISE = "noise:"
"""Origins that begin so measure how far apart equal configurations come out; see `plateau.py`."""

State = Literal["running", "paused", "completed", "pruned", "failed"]
"""A trial that was told is in one of the last three; "paused": interrupted, and not heard of since."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A trial to start or to resume.

    values: the sampler's flat values, None for a comparison. reported_epochs: epochs whose results are known.
    attempts: 1 for a trial never retried. checkpoint: the last one the study heard of. seed: its own, None for the
    study's. fold: the held-out fold of a run that confirms, None for the search's own.
    """

    trial_id: str
    number: int
    origin: str
    exempt: bool
    values: JsonObject | None
    config: TrialConfig
    reported_epochs: int
    attempts: int
    checkpoint: str | None
    seed: int | None = None
    fold: int | None = None


@dataclass(slots=True, kw_only=True)
class TrialRecord:
    """One trial; only `apply` changes it.

    trial_id: "t0007". number: 7, in order of asking. origin: "sampler", "start:NAME", "compare:NAME", "noise:NAME#1",
    "warm:STUDY/t0003" or "enqueued". exempt: never stopped early. values: the sampler's flat values, None for a
    comparison that the sampler does not know. config: nested plain values. seed: its own, None for the study's. reason:
    why it was told so. retries: why it was tried again, each time. n_faults: retries that the trial itself may have
    caused. scores: epoch -> score (lower is better), as reported. seconds: that those epochs took. best_score,
    best_epoch, best_metrics: of the lowest finite score; None where there is none. decisions: epoch -> the one made
    there. error: the last one raised, until a retry. is_stopped: a user asked for its end. started, ended: unix seconds
    of the ask and the tell.
    """

    trial_id: str
    number: int
    origin: str
    exempt: bool
    values: JsonObject | None
    config: JsonObject
    started: float
    seed: int | None = None
    ended: float | None = None
    state: State = "running"
    reason: str = ""
    retries: list[str] = field(default_factory=list)
    n_faults: int = 0
    scores: dict[int, float] = field(default_factory=dict)
    seconds: float = 0.0
    best_score: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    decisions: dict[int, RungDecided] = field(default_factory=dict)
    checkpoint: str | None = None
    error: TrialRaised | None = None
    is_stopped: bool = False

    @classmethod
    def from_ask(cls, asked: TrialAsked) -> "TrialRecord":
        """The trial as it begins."""
        return cls(
            trial_id=asked.trial,
            number=asked.number,
            origin=asked.origin,
            exempt=asked.exempt,
            values=asked.values,
            config=asked.config,
            started=asked.time,
            seed=asked.seed,
        )

    @property
    def is_told(self) -> bool:
        """Whether it has its final state."""
        return self.state in STATES

    @property
    def attempts(self) -> int:
        """1 for a trial never retried."""
        return 1 + len(self.retries)

    @property
    def max_epochs(self) -> int:
        """How many it trains if nothing ends it."""
        return n_epochs_of(self.config["epochs"], self.config.get("length", 1.0))

    @property
    def rung(self) -> int | None:
        """The last rung that it was ranked at; None before the first."""
        return next((d.rung for d in reversed(self.decisions.values()) if d.rung is not None), None)

    @property
    def epoch(self) -> int:
        """The last epoch whose result is known; 0 before the first."""
        return next(reversed(self.scores), 0)

    @property
    def is_comparison(self) -> bool:
        """Run beside the search, unknown to the sampler."""
        return self.values is None

    @property
    def variant(self) -> str | None:
        """The name of the fixed configuration that it runs, whatever the seed; None for a sampled one."""
        kind, _, name = self.origin.partition(":")
        if kind == "noise":
            return name.rpartition("#")[0]
        return name if kind in ("start", "compare") and name else None

    @property
    def name(self) -> str:
        """What it is shown as: its variant, else its id, as for a rerun of a variant."""
        return self.trial_id if self.is_noise else self.variant or self.trial_id

    @property
    def is_noise(self) -> bool:
        """Run for the noise between seeds alone, so never the best."""
        return self.origin.startswith(NOISE)

    def trial_config(self) -> TrialConfig:
        """The configuration as typed values."""
        return TrialConfig.from_dict(self.config)

    def to_ask(self) -> Ask:
        """The trial as it is to be started or resumed."""
        return Ask(
            trial_id=self.trial_id,
            number=self.number,
            origin=self.origin,
            exempt=self.exempt,
            values=self.values,
            config=self.trial_config(),
            reported_epochs=self.epoch,
            attempts=self.attempts,
            checkpoint=self.checkpoint,
            seed=self.seed,
        )

    def best_until(self, epoch: int) -> float:
        """Lowest finite score up to an epoch; NaN if there is none."""
        scores = [score for at, score in self.scores.items() if at <= epoch and math.isfinite(score)]
        return min(scores, default=math.nan)

    def apply(self, entry: TrialEntry) -> None:
        """Take in one entry of this trial."""
        match entry:
            case EpochReported():
                self._apply_report(entry.epoch, entry.metrics)
            case CheckpointWritten():
                self.checkpoint = entry.path
            case RungDecided():
                self.decisions[entry.epoch] = entry
            case TrialRaised():
                self.error = entry
            case TrialRetried():
                self.state, self.error = "running", None
                self.retries.append(entry.reason)
                self.n_faults += not entry.blameless
                self.config = entry.config or self.config
            case TrialTold():
                self.state, self.reason, self.ended = entry.state, entry.reason, entry.time
            case TrialPaused():
                self.state = "paused"
            case TrialStopped():
                self.is_stopped = True

    def _apply_report(self, epoch: int, metrics: dict[str, float]) -> None:
        self.state = "running"
        self.scores[epoch] = metrics.get(SCORE, math.nan)
        self.seconds += finite(metrics.get(EPOCH_SECONDS)) or 0.0
        score = finite(self.scores[epoch])
        if score is not None and (self.best_score is None or score < self.best_score):
            self.best_score, self.best_epoch, self.best_metrics = score, epoch, metrics


def finite(value: object) -> float | None:
    """A finite number as float; None for NaN, infinity, null and anything that is no number."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) else None
