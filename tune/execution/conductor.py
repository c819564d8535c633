"""Between decisions and executors: which trial runs next, what its results mean, when everything ends.

Both executors (`ray_shells.py` and the in-process twin `local.py`) drive a search through this one object.
"""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Literal

from trainable.config import TrialConfig
from trainable.failure import Failure, FailureKind
from trainable.storage.place import Place
from trainable.trial import StepResult, TrialTask
from tune.confirming.runs import fold_data_folder
from tune.decisions.ends import STOPPED_BY_ERROR, Ends, EndState
from tune.decisions.trial_entries import TrialEntries
from tune.decisions.trial_record import Ask
from tune.journal.errors import StudyMovedError, StudyWriteError, not_writable

FIRST_FAILURES = 5
"""A study whose first trials, this many, all fail is not worth its GPU hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialResources:
    """What every trial of a search is given: device, precision, threads, seed, where its data and checkpoints lie.

    reaches_adapters: whether any of them may train adapters. gpu_share: the part of a CUDA device that each one has.
    """

    data_folder: Place
    study_folder: Place
    seed: int
    device: str
    n_threads: int
    precision: str = "auto"
    gpu_share: float = 1.0
    reaches_adapters: bool = False


class Conductor:
    """Hands out tasks, takes in results, ends the search.

    No exception leaves the methods that an executor calls, since executors swallow or wrap what their callbacks raise:
    the first one is kept in `error`, and the search stops.
    """

    def __init__(
        self,
        work: TrialEntries,
        resources: TrialResources,
        *,
        ends: Ends | None = None,
        say: Callable[[str], None],
        undisturbed: Callable[[], AbstractContextManager[None]] = nullcontext,
        clock: Callable[[], float] = time.time,
        heed: Callable[[], str | None] = lambda: None,
    ) -> None:
        """work: a search's `Decisions`, or a `Confirmation`. ends: besides the budget of trials. say: takes one line
        for the user. heed: takes in what users ask for meanwhile, see `Steering`; why to end, None while not to.

        undisturbed: makes a context that no KeyboardInterrupt comes into, for what must be done whole or not at all.
        """
        self._work = work
        self._resources = resources
        self._ends = ends or Ends()
        self.say = say
        self._undisturbed = undisturbed
        self._clock = clock
        self._heed = heed
        self._waiting = list(work.unfinished())
        self._running: set[str] = set()
        self.stop_reason: str | None = None
        self.state: EndState = "completed"
        self.error: Exception | None = None
        self._has_ended = True  # a trial, since the plateau was last looked for
        self._check_ends()

    @property
    def end_reason(self) -> str:
        """Why the search ended, once it has."""
        return self.stop_reason or self._work.stop_reason or "finished"

    def request_stop(self, reason: str, state: EndState = "interrupted") -> None:
        """End soon: running trials finish their epoch, are checkpointed and go on at the next resume."""
        if self.stop_reason is None:
            self.stop_reason, self.state = reason, state

    def break_off(self, error: Exception) -> None:
        """End soon because of an error of the program or of the study's folder.

        The first one counts, unless a later one finds that the study was moved: that explains what failed before it.
        """
        if isinstance(error, StudyMovedError) and not isinstance(self.error, StudyMovedError):
            self.error, self.stop_reason = error, None
        self.error = self.error or error
        state: EndState = "interrupted" if isinstance(error, StudyWriteError) else "failed"
        self.request_stop(f"{STOPPED_BY_ERROR}: {error}", state)

    def next_task(self) -> TrialTask | Literal["wait", "finished"]:
        """The next trial to start; "wait" while a running trial may still need a retry."""
        with self._undisturbed():
            try:
                return self._next_task()
            except Exception as error:
                self.break_off(error)
                return "finished"

    def take(self, result: StepResult) -> Literal["continue", "stop"]:
        """Journal a step's result and decide whether its trial goes on."""
        with self._undisturbed():
            try:
                return self._take(result)
            except Exception as error:
                self.break_off(error)
                return "stop"

    def lost(self, trial_id: str, reason: str, *, blameless: bool = False) -> None:
        """The worker of a trial died: the trial goes on from its checkpoint, once.

        blameless: a whole node died, which no trial can cause: such deaths are not counted.
        """
        with self._undisturbed():
            try:
                self._lost(trial_id, reason, blameless=blameless)
            except Exception as error:
                self.break_off(error)

    def pause_all(self, reason: str) -> None:
        """Nothing stays marked as running when the executor has ended, however it ended."""
        self._running.clear()
        for ask in self._work.unfinished():
            if not self._work.is_paused(ask.trial_id):
                self._work.pause(ask.trial_id, reason=reason)

    def _next_task(self) -> TrialTask | Literal["wait", "finished"]:
        self._take_requests()
        self._check_ends()
        if self.stop_reason is None:
            self._waiting = [ask for ask in self._waiting if not self._work.is_told(ask.trial_id)]
            ask = self._waiting.pop(0) if self._waiting else self._work.ask()
            if ask is not None:
                self._running.add(ask.trial_id)
                return self._task(ask)
            if self._work.stop_reason is not None and not self._running:
                self.say(self._work.stop_reason)
        return "wait" if self._running and self.stop_reason is None else "finished"

    def _take(self, result: StepResult) -> Literal["continue", "stop"]:
        for note in result.notes:
            self.say(note)
        if result.failure is not None:
            return self._failed(result.trial_id, result.failure)
        self._work.report(result.trial_id, result.epoch, result.metrics, checkpoint=result.checkpoint)
        self._take_requests()
        verdict = self._work.verdict(result.trial_id)
        if verdict.action == "stop":
            self._has_ended = True
            self._running.discard(result.trial_id)
            if verdict.state == "failed":
                self._check_failures(verdict.reason)
        self._check_ends()
        if verdict.action == "continue" and self.stop_reason is not None:
            self._pause(result.trial_id, self.stop_reason)
            return "stop"
        return verdict.action

    def _take_requests(self) -> None:
        if self.stop_reason is None and (reason := self._heed()) is not None:
            self.request_stop(reason)

    def _lost(self, trial_id: str, reason: str, *, blameless: bool) -> None:
        if trial_id not in self._running:
            return
        self._running.discard(trial_id)
        if self._work.is_told(trial_id):  # a user had stopped it
            return
        if self.stop_reason is not None:
            self._work.pause(trial_id, reason=self.stop_reason)
        elif blameless:
            self._retry(trial_id, reason, blameless=True)
        elif self._work.n_faults(trial_id):
            self._fail(trial_id, Failure(type="WorkerDied", message=reason, kind=FailureKind.WORKER))
        else:
            self._retry(trial_id, f"worker died: {reason}")

    def _failed(self, trial_id: str, failure: Failure) -> Literal["stop"]:
        is_told = self._work.is_told(trial_id)  # a user may have stopped it
        was_running = trial_id in self._running and not is_told
        self._running.discard(trial_id)
        if failure.kind is FailureKind.DISK:
            reason = f"the checkpoint of {trial_id}: {failure.message}"
            self.break_off(not_writable(self._resources.study_folder, reason))
            if was_running:  # else it was told already, and only its last checkpoint could not be written
                self._pause(trial_id, self.end_reason)
            return "stop"
        if is_told:
            return "stop"
        if failure.kind is FailureKind.MEMORY and not self._work.n_faults(trial_id):
            smaller = _half_batches(self._work.config(trial_id))
            if smaller is not None:
                steps = smaller.optim.accumulation_steps
                self._retry(trial_id, f"out of memory: batch split in {steps}, same effective batch", config=smaller)
                return "stop"
        self._fail(trial_id, failure)
        return "stop"

    def _fail(self, trial_id: str, failure: Failure) -> None:
        self._has_ended = True
        self._running.discard(trial_id)
        self._work.fail(trial_id, failure)
        self.say(f"{trial_id} failed: {failure.line}")
        self._check_failures(failure.message)
        self._check_ends()

    def _check_failures(self, last: str) -> None:
        if self._work.first_trials_all_failed(FIRST_FAILURES):
            reason = f"the first {FIRST_FAILURES} trials all failed, the last one with: {last}"
            self.request_stop(reason, "failed")

    def _retry(self, trial_id: str, reason: str, *, config: TrialConfig | None = None, blameless: bool = False) -> None:
        self.say(f"{trial_id} is tried again: {reason}")
        self._waiting.append(self._work.retry(trial_id, reason=reason, config=config, blameless=blameless))

    def _pause(self, trial_id: str, reason: str) -> None:
        self._running.discard(trial_id)
        self._work.pause(trial_id, reason=reason)

    def _check_ends(self) -> None:
        """Ask for no more trials at a plateau; stop those that run, too, when time is up or the target reached."""
        if self._has_ended and (reason := self._ends.plateau_reason(self._work)):
            self._work.request_stop(reason)
        self._has_ended = False
        if self.stop_reason is None and (reason := self._ends.stop_reason(self._work, now=self._clock())):
            self.request_stop(reason, "completed")

    def _task(self, ask: Ask) -> TrialTask:
        place = self._resources
        return TrialTask(
            trial_id=ask.trial_id,
            config=ask.config.to_dict(),
            seed=place.seed if ask.seed is None else ask.seed,
            data_folder=str(place.data_folder if ask.fold is None else fold_data_folder(place.data_folder, ask.fold)),
            checkpoint_folder=str(place.study_folder / "checkpoints" / ask.trial_id),
            reported_epochs=ask.reported_epochs,
            device=place.device,
            precision=place.precision,
            gpu_share=place.gpu_share,
            n_threads=place.n_threads,
            keep_predictions=ask.fold is not None,
            adapters_may_follow=place.reaches_adapters,
        )


def _half_batches(config: TrialConfig) -> TrialConfig | None:
    steps = config.optim.accumulation_steps * 2
    if steps > config.optim.batch_size:
        return None
    return config.with_values({"optim.accumulation_steps": steps})
