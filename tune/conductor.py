"""Between decisions and executors: which trial runs next, what its results mean, when everything ends.

Both executors (`ray_shells.py` and the in-process twin `local.py`) drive a search through this one object.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from trainable.config import TrialConfig
from trainable.trial import StepResult, TrialTask
from tune.decisions import Decisions

FIRST_FAILURES = 5
"""A study whose first trials, this many, all fail is not worth its GPU hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResources:
    """What every trial of a search is given: device, threads, seed, and where its data and checkpoints lie."""

    data_folder: Path
    study_folder: Path
    seed: int
    device: str
    n_threads: int


class Conductor:
    """Hands out tasks, takes in results, ends the search."""

    def __init__(
        self,
        decisions: Decisions,
        resources: TrialResources,
        *,
        deadline: float | None = None,
        notify: Callable[[str], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """deadline: unix seconds at which the time budget is spent. notify: takes one line for the user."""
        self._decisions = decisions
        self._resources = resources
        self._deadline = deadline
        self._notify = notify
        self._clock = clock
        self._waiting = list(decisions.unfinished())
        self._running: set[str] = set()
        self.stop_reason: str | None = None

    def request_stop(self, reason: str) -> None:
        """End soon: running trials finish their epoch, are checkpointed and go on at the next resume."""
        if self.stop_reason is None:
            self.stop_reason = reason

    def next_task(self) -> TrialTask | Literal["wait", "finished"]:
        """The next trial to start; "wait" while a running trial may still need a retry."""
        self._check_deadline()
        if self.stop_reason is None:
            ask = self._waiting.pop(0) if self._waiting else self._decisions.ask()
            if ask is not None:
                self._running.add(ask.trial_id)
                return self._task(ask.trial_id, ask.config, ask.reported_epochs)
            if self._decisions.stop_reason is not None and not self._running:
                self._notify(self._decisions.stop_reason)
        return "wait" if self._running and self.stop_reason is None else "finished"

    def take(self, result: StepResult) -> Literal["continue", "stop"]:
        """Journal a step's result and decide whether its trial goes on."""
        for note in result.notes:
            self._notify(note)
        if result.failure is not None:
            return self._failed(result)
        verdict = self._decisions.report(result.trial_id, result.epoch, result.metrics, checkpoint=result.checkpoint)
        if verdict.action == "stop":
            self._running.discard(result.trial_id)
            if verdict.state == "failed":
                self._check_failures(verdict.reason)
            return "stop"
        self._check_deadline()
        if self.stop_reason is not None:
            self._pause(result.trial_id, self.stop_reason)
            return "stop"
        return "continue"

    def lost(self, trial_id: str, reason: str) -> None:
        """The worker of a trial died: the trial goes on elsewhere from its checkpoint, once."""
        if trial_id not in self._running:
            return
        self._running.discard(trial_id)
        if self.stop_reason is not None:
            self._decisions.pause(trial_id, reason=self.stop_reason)
        elif self._decisions.attempts(trial_id) > 1:
            self._fail(
                trial_id, {"type": "WorkerDied", "message": reason, "traceback_tail": "", "node": "", "kind": "worker"}
            )
        else:
            self._retry(trial_id, f"worker died: {reason}", None)

    def pause_all(self, reason: str) -> None:
        """Nothing stays marked as running when the executor has ended, however it ended."""
        for trial_id in sorted(self._running):
            self._pause(trial_id, reason)

    def _failed(self, result: StepResult) -> Literal["stop"]:
        assert result.failure is not None
        self._running.discard(result.trial_id)
        if result.failure["kind"] == "memory" and self._decisions.attempts(result.trial_id) == 1:
            smaller = _half_batches(self._decisions.config(result.trial_id))
            if smaller is not None:
                steps = smaller.optim.accumulation_steps
                self._retry(result.trial_id, f"out of memory: batch split in {steps}, same effective batch", smaller)
                return "stop"
        self._fail(result.trial_id, result.failure)
        return "stop"

    def _fail(self, trial_id: str, failure: dict[str, str]) -> None:
        self._running.discard(trial_id)
        self._decisions.fail(trial_id, **failure)
        self._notify(f"{trial_id} failed: {failure['type']}: {failure['message']}")
        self._check_failures(failure["message"])

    def _check_failures(self, last: str) -> None:
        if self._decisions.first_trials_all_failed(FIRST_FAILURES):
            self.request_stop(f"the first {FIRST_FAILURES} trials all failed, the last one with: {last}")

    def _retry(self, trial_id: str, reason: str, config: TrialConfig | None) -> None:
        self._notify(f"{trial_id} is tried again: {reason}")
        self._waiting.append(self._decisions.retry(trial_id, reason=reason, config=config))

    def _pause(self, trial_id: str, reason: str) -> None:
        self._running.discard(trial_id)
        self._decisions.pause(trial_id, reason=reason)

    def _check_deadline(self) -> None:
        if self._deadline is not None and self._clock() >= self._deadline:
            self.request_stop("time budget spent")

    def _task(self, trial_id: str, config: TrialConfig, reported_epochs: int) -> TrialTask:
        place = self._resources
        return TrialTask(
            trial_id=trial_id,
            config=config.to_dict(),
            seed=place.seed,
            data_folder=str(place.data_folder),
            checkpoint_folder=str(place.study_folder / "checkpoints" / trial_id),
            reported_epochs=reported_epochs,
            device=place.device,
            n_threads=place.n_threads,
        )


def _half_batches(config: TrialConfig) -> TrialConfig | None:
    steps = config.optim.accumulation_steps * 2
    if steps > config.optim.batch_size:
        return None
    return config.with_values({"optim.accumulation_steps": steps})


def deadline_in(seconds: float | None, *, clock: Callable[[], float] = time.time) -> float | None:
    """Unix time at which a budget that starts now is spent."""
    return None if seconds is None or math.isinf(seconds) else clock() + seconds
