"""What happens to a trial, written down as entries: the part that a search and a confirmation share."""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace

from trainable.config import TrialConfig
from trainable.failure import Failure
from trainable.scoring.metrics import SCORES
from tune.decisions.trial_record import Ask, TrialRecord
from tune.decisions.verdicts import Verdict, verdict_on
from tune.journal.entries import (
    CheckpointWritten,
    EpochReported,
    Kind,
    TrialEntry,
    TrialPaused,
    TrialRaised,
    TrialRetried,
)
from tune.journal.lines import as_read


class TrialEntries(ABC):
    """Takes in what executors say of trials; what follows from it is the subclass's to write.

    stop_reason: why no more trials are asked for in this process; None while they are.
    """

    stop_reason: str | None = None

    def report(
        self, trial_id: str, epoch: int, metrics: Mapping[str, float], *, checkpoint: str | None = None
    ) -> Verdict:
        """Take in an epoch's metrics and decide; one that is already known changes nothing."""
        record = self._record(trial_id)
        if not record.is_told and epoch > record.epoch:
            if checkpoint is not None:
                self._write(CheckpointWritten(trial=trial_id, epoch=epoch, path=checkpoint))
            kept = {name: _kept(name, float(value)) for name, value in metrics.items()}
            self._write(EpochReported(trial=trial_id, epoch=epoch, metrics=kept))
            self._advance(record)
        return verdict_on(record)

    def verdict(self, trial_id: str) -> Verdict:
        """What a trial's executor must do now."""
        return verdict_on(self._record(trial_id))

    def is_told(self, trial_id: str) -> bool:
        """Whether a trial has its final state."""
        return self._record(trial_id).is_told

    def fail(self, trial_id: str, failure: Failure) -> None:
        """A trial ended by an exception.

        One that diverged blames the configuration, which in a search then ranks last at its next rung; others rank
        nowhere.
        """
        record = self._running(trial_id)
        self._write(
            TrialRaised(
                trial=trial_id,
                epoch=record.epoch,
                type=failure.type,
                message=failure.message,
                traceback_tail=failure.traceback_tail,
                node=failure.node,
                kind=failure.kind,
            )
        )
        self._advance(record)

    def retry(self, trial_id: str, *, reason: str, config: TrialConfig | None = None, blameless: bool = False) -> Ask:
        """Run a trial on from its last checkpoint.

        config: what to run it with from now on, if not as before; the sampler keeps its values. blameless: the trial
        cannot have been the cause.
        """
        record = self._running(trial_id)
        changed = None if config is None else config.to_dict()
        attempt = record.attempts + 1
        self._write(TrialRetried(trial=trial_id, reason=reason, attempt=attempt, config=changed, blameless=blameless))
        return self._ask_of(record)

    def pause(self, trial_id: str, *, reason: str) -> None:
        """A trial was interrupted and is to go on when the study is resumed."""
        self._write(TrialPaused(trial=trial_id, epoch=self._running(trial_id).epoch, reason=reason))

    def request_stop(self, reason: str) -> None:
        """Ask for no more trials in this process; not an entry, so a resumed study goes on."""
        self.stop_reason = self.stop_reason or reason

    def is_paused(self, trial_id: str) -> bool:
        """Whether a trial was interrupted, and not heard of since."""
        return self._record(trial_id).state == "paused"

    def config(self, trial_id: str) -> TrialConfig:
        """What a trial runs with, after any retry."""
        return self._record(trial_id).trial_config()

    def n_faults(self, trial_id: str) -> int:
        """Retries of a trial that it may itself have caused."""
        return self._record(trial_id).n_faults

    def _running(self, trial_id: str) -> TrialRecord:
        record = self._record(trial_id)
        if record.is_told:
            raise ValueError(f"{trial_id} must be running, but it was told as {record.state}")
        return record

    def _ask_of(self, record: TrialRecord) -> Ask:
        return record.to_ask()

    @property
    @abstractmethod
    def n_queued(self) -> int:
        """Trials that are sure to be asked for, and were not yet."""

    @abstractmethod
    def ask(self) -> Ask | None:
        """The next trial to start; None when there is none."""

    @abstractmethod
    def unfinished(self) -> list[Ask]:
        """Trials asked for and not told, in order."""

    @abstractmethod
    def trials(self) -> list[TrialRecord]:
        """All trials so far; not to be changed."""

    @abstractmethod
    def best(self) -> TrialRecord | None:
        """The trial with the lowest score, where scores can be ranked."""

    @abstractmethod
    def first_trials_all_failed(self, n: int) -> bool:
        """Whether the first n trials to end all failed."""

    @abstractmethod
    def _record(self, trial_id: str) -> TrialRecord: ...

    @abstractmethod
    def _write(self, entry: TrialEntry) -> None: ...

    @abstractmethod
    def _advance(self, record: TrialRecord) -> None: ...


def _kept(name: str, value: float) -> float:
    """A measurement as it is written down: scores decide, so exactly; nine digits tell all float32 apart."""
    return value if name.startswith(SCORES) else float(f"{value:.9g}")


def kept_nowhere(entry: Kind, *, apply: Callable[[Kind], None] | None = None) -> Kind:
    """An entry that no journal keeps, with the values that one would have given back."""
    made = as_read(replace(entry, time=time.time()))
    if apply is not None:
        apply(made)
    return made
