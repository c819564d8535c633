"""What a study knows of one trial: the state that its events add up to."""

import math
from dataclasses import dataclass, field
from typing import Any, Literal

from trainable.config import TrialConfig

OBJECTIVE = "score/all"
"""The metric of a report that is minimised."""

State = Literal["running", "completed", "pruned", "failed"]


@dataclass(slots=True, kw_only=True)
class TrialRecord:
    """One trial; only `apply` changes it.

    trial_id: "t0007". number: 7, in order of asking. origin: "sampler", "start:NAME" or "compare:NAME". exempt: never
    stopped early. values: the sampler's flat values, None for a comparison that the sampler does not know. config:
    nested plain values. scores: epoch -> score (lower is better), as reported. best_score, best_epoch, best_metrics:
    of the lowest finite score. decisions: epoch -> the decision event made there. error: the last error event, until
    a retry. attempts: 1 + retries. started, ended: unix seconds of the ask and the tell.
    """

    trial_id: str
    number: int
    origin: str
    exempt: bool
    values: dict[str, Any] | None
    config: dict[str, Any]
    started: float
    ended: float | None = None
    state: State = "running"
    reason: str = ""
    attempts: int = 1
    scores: dict[int, float] = field(default_factory=dict)
    best_score: float | None = None
    best_epoch: int | None = None
    best_metrics: dict[str, float] = field(default_factory=dict)
    decisions: dict[int, dict[str, Any]] = field(default_factory=dict)
    checkpoint: str | None = None
    error: dict[str, Any] | None = None

    @classmethod
    def from_ask(cls, event: dict[str, Any]) -> "TrialRecord":
        """The trial that an `ask` event begins."""
        return cls(
            trial_id=event["trial"],
            number=event["number"],
            origin=event["origin"],
            exempt=event["exempt"],
            values=event["values"],
            config=event["config"],
            started=event["time"],
        )

    @property
    def epoch(self) -> int:
        """The last epoch whose result is known; 0 before the first."""
        return next(reversed(self.scores), 0)

    @property
    def is_comparison(self) -> bool:
        """Run beside the search, unknown to the sampler."""
        return self.values is None

    def trial_config(self) -> TrialConfig:
        """The configuration as typed values."""
        return TrialConfig.from_dict(self.config)

    def best_until(self, epoch: int) -> float:
        """Lowest finite score up to an epoch; NaN if there is none."""
        scores = [score for at, score in self.scores.items() if at <= epoch and math.isfinite(score)]
        return min(scores, default=math.nan)

    def apply(self, event: dict[str, Any]) -> None:
        """Take in one event of this trial; events of other kinds than a trial's change nothing."""
        match event["event"]:
            case "report":
                self._apply_report(event["epoch"], event["metrics"])
            case "checkpoint":
                self.checkpoint = event["path"]
            case "decision":
                self.decisions[event["epoch"]] = event
            case "error":
                self.error = event
            case "retry":
                self.attempts, self.error = event["attempt"], None
                self.config = event["config"] or self.config
            case "tell":
                self.state, self.reason, self.ended = event["state"], event["reason"], event["time"]

    def _apply_report(self, epoch: int, metrics: dict[str, float]) -> None:
        score = metrics[OBJECTIVE]
        self.scores[epoch] = score
        if math.isfinite(score) and (self.best_score is None or score < self.best_score):
            self.best_score, self.best_epoch, self.best_metrics = score, epoch, metrics
