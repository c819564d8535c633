"""What the tracker's thread still has to send, from entries to changed runs."""

from collections import Counter

from tune.journal.entries import JournalEntry
from tune.tracking.client import describe
from tune.tracking.desired_run import PARENT, DesiredRun
from tune.tracking.mlflow_runs import RunBook
from tune.tracking.mlflow_writer import MlflowWriter, is_permanent


class Outbox:
    """What the writer thread still has to send: runs that changed, and how many entries each of them waits for."""

    def __init__(self, study: object = None) -> None:
        """study: its folder, as a command names it."""
        self.n_settled = 0
        self.problems: list[str] = []
        self._book = RunBook(study)
        self._changed: dict[str, None] = {}  # a set that keeps its order
        self._n_unsettled = 0
        self._refused: Counter[str] = Counter()

    @property
    def is_empty(self) -> bool:
        """Nothing waits to be sent."""
        return not self._changed

    def put(self, entry: JournalEntry) -> None:
        """Fold an entry; one that cannot be read is a problem and no reason to stop."""
        self._n_unsettled += 1
        try:
            keys = self._book.apply(entry)
        except Exception as error:
            self._note(f"a journal entry could not be read: {describe(error)}")
            keys = set()
        self._changed.update(dict.fromkeys(sorted(keys)))
        self._settle()

    def attach(self, path: str, content: str | bytes) -> None:
        """Give the study's run a file."""
        if PARENT in self._book.runs:
            self._book.attach(path, content)
            self._changed[PARENT] = None

    def finish(self) -> None:
        """See that the study's run is described as things stand now, which a trial's last epochs may have changed."""
        parent = self._book.runs.get(PARENT)
        if parent is None:
            return
        before = parent.description
        self._book.describe()
        if parent.description != before:
            self._changed[PARENT] = None

    def flush(self, writer: MlflowWriter) -> None:
        """Send every changed run, the study's own first. Raises what may pass; the rest then stays in here."""
        parent = writer.parent_run_id
        if PARENT in self._changed:
            self._book.describe()
        for key in sorted(self._changed, key=lambda key: self._book.runs[key].order):
            run = self._book.runs[key]
            try:
                writer.bring(run)
            except Exception as error:
                if not is_permanent(error):
                    raise
                self._refuse(run, error, writer)
                continue
            del self._changed[key]
            self._refused.pop(key, None)
            if run.end_ms is not None and key != PARENT:
                run.forget_metrics()
        if parent is not None and writer.parent_run_id != parent:  # it was deleted by hand and made anew
            self._changed.update(dict.fromkeys(self._book.runs))
        self._settle()

    def _refuse(self, run: DesiredRun, error: Exception, writer: MlflowWriter) -> None:
        """Look a refused run up anew once, since another hand may have deleted it; leave it out the second time."""
        writer.forget()
        self._refused[run.key] += 1
        if self._refused[run.key] > 1:
            self._note(f"{run.name}: {describe(error)}")
            del self._changed[run.key]

    def _note(self, problem: str) -> None:
        if problem not in self.problems:
            self.problems.append(problem)

    def _settle(self) -> None:
        if not self._changed:
            self.n_settled += self._n_unsettled
            self._n_unsettled = 0
