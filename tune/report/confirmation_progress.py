"""What a user sees while a confirmation runs: a line an epoch at most, how many runs are done, the time left."""

from trainable.counts import counted
from tune.confirming.runs import Confirmation, Run
from tune.journal.entries import Confirming, EpochReported, JournalEntry, TrialTold
from tune.report.results import duration


class ConfirmationProgress:
    """Follows a confirmation in the journal; the time left is estimated from the epochs of this session."""

    def __init__(self) -> None:
        self._confirmation = Confirmation()
        self._began: float | None = None
        self._n_reports = 0

    def past(self, entry: JournalEntry) -> None:
        """An entry of an earlier session."""
        self._confirmation.apply(entry)

    def line(self, entry: Confirming) -> tuple[str, bool] | None:
        """The line that an entry of this session is worth, and whether it is the last of a run; None for no line."""
        self._confirmation.apply(entry)
        inner, now = entry.of, entry.time
        if not isinstance(inner, EpochReported | TrialTold):
            return None
        is_end = isinstance(inner, TrialTold)
        if self._began is None:
            self._began = now  # from the first result on: what comes before it happens once
        else:
            self._n_reports += not is_end
        run = self._confirmation.run(inner.trial)
        record, full = run.record, self._confirmation.planned_epochs(run)
        state = f"{record.state} at " if is_end else ""
        score = record.scores.get(record.epoch)
        parts = [
            f"confirm {run.name}",
            f"fold {run.fold}",
            f"seed {run.seed}",
            f"{state}epoch {record.epoch}/{full}",
            "score -" if score is None else f"score {score:.3f}",
            f"{self._confirmation.n_ended}/{self._confirmation.n_wanted} done",
        ]
        if (left := self._seconds_left(now)) is not None:
            parts.append(f"time left {duration(left)}")
        return "  ".join(parts), is_end

    def lines(self, now: float, rows: int) -> list[str]:
        """How the confirmation stands, a line each: in all, then the runs that train, as many as there are rows for."""
        left = self._seconds_left(now)
        done = f"{self._confirmation.n_ended} of {counted(self._confirmation.n_wanted, 'run')} done"
        head = f"confirm   {done}" + ("" if left is None else f", about {duration(left)} left")
        running = [run for run in self._confirmation.runs() if run.record.state == "running"]
        return [head, *(_row(run, self._confirmation.planned_epochs(run)) for run in running)][:rows]

    def _seconds_left(self, now: float) -> float | None:
        if self._began is None or not self._n_reports or now <= self._began:
            return None
        return self._confirmation.n_epochs_left * (now - self._began) / self._n_reports


def _row(run: Run, n_epochs: int) -> str:
    record = run.record
    epoch = f"epoch {record.epoch:>3}/{n_epochs}"
    return f"{record.trial_id:<9} {run.name:<18.18}  fold {run.fold}  seed {run.seed}  {epoch}"
