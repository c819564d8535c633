"""MLflow as a projection of the journal, written while a search runs.

`Tracker` takes the journal's entries from the search without ever holding it up; one thread sends them. After an outage
or a killed driver, `syncing.sync` brings MLflow to the journal's content. Both send the difference between what
the same fold (`mlflow_runs.py`) asks for and what MLflow holds, so their results are equal.
"""

import logging
import math
import queue
import threading
import time
from dataclasses import dataclass
from typing import NamedTuple, Self

from trainable.counts import counted
from tune.journal.entries import JournalEntry
from tune.printed.secrets_left_out import redact
from tune.tracking.client import describe
from tune.tracking.mlflow_writer import MlflowWriter
from tune.tracking.outbox import Outbox
from tune.tracking.saved_view import StudyViews, views_of

FLUSH_SECONDS = 0.5
"""Entries of this long travel together: one request a run."""

FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1.0, 15.0
"""Between attempts while MLflow does not answer; doubled each time."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackingStatus:
    """How tracking ended.

    n_pending: entries that MLflow may not hold. views: pages of the study's trials within MLflow's UI, None
    where it never answered. message: one line for the user, empty if it holds everything.
    """

    n_pending: int
    problems: tuple[str, ...]
    message: str
    experiment_id: str | None
    parent_run_id: str | None
    views: StudyViews | None = None


class Attached(NamedTuple):
    """A file for the study's run."""

    path: str
    content: str | bytes


class Tracker:
    """Takes journal entries, sends them from one thread; the search neither waits for MLflow nor fails with it.

    It must get the study's entries from the first on, at a resume too: runs that MLflow holds already are found by
    their tags and go on. Its thread imports mlflow at the first entry; the heavy imports of the main thread should be
    over.
    """

    def __init__(
        self,
        uri: str,
        experiment_name: str,
        *,
        study_id: str,
        study: object = None,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        """uri: as `check_uri` returns it. study: its folder, as a command names it.

        The thread starts here; nothing is waited for.
        """
        self._uri, self._experiment_name, self._study_id = uri, experiment_name, study_id
        self._flush_seconds = flush_seconds
        self._inbox: queue.SimpleQueue[JournalEntry | Attached | None] = queue.SimpleQueue()
        self._n_handed = 0
        self._deadline = math.inf
        self._writer: MlflowWriter | None = None
        self._outbox = Outbox(study)
        self._problem: str | None = None
        self._thread = threading.Thread(target=self._run, name="mlflow-writer", daemon=True)
        self._thread.start()

    def handle(self, entry: JournalEntry) -> None:
        """Take one journal entry; only puts it into a queue."""
        self._n_handed += 1
        self._inbox.put(entry)

    def attach(self, path: str, content: str | bytes) -> None:
        """Give the study's run a file that is no part of the journal."""
        self._inbox.put(Attached(path, content))

    @property
    def experiment_id(self) -> str | None:
        """Id of the experiment; None until MLflow has answered."""
        return self._writer.experiment_id if self._writer else None

    @property
    def parent_run_id(self) -> str | None:
        """Id of the study's run; None until MLflow has answered."""
        return self._writer.parent_run_id if self._writer else None

    def close(self, timeout_s: float = 60.0) -> TrackingStatus:
        """Send what is left and stop; gives up after `timeout_s`, or earlier while MLflow does not answer at all."""
        self._deadline = time.monotonic() + timeout_s
        self._inbox.put(None)
        self._thread.join(timeout_s)
        n_pending = self._n_handed - self._outbox.n_settled
        problems = tuple(self._outbox.problems) + tuple(self._writer.problems if self._writer else ())
        return TrackingStatus(
            n_pending=n_pending,
            problems=problems,
            message=self._closing_message(n_pending, problems),
            experiment_id=self.experiment_id,
            parent_run_id=self.parent_run_id,
            views=self._views(),
        )

    def _views(self) -> StudyViews | None:
        if self._writer is None or self.experiment_id is None:
            return None
        return views_of(self.experiment_id, self._study_id, are_kept=self._writer.keeps_views)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _closing_message(self, n_pending: int, problems: tuple[str, ...]) -> str:
        remedy = "all results are in the study's journal"
        if n_pending:
            why = f": {self._problem}" if self._problem else ""
            return f"MLflow at {redact(self._uri)} may lack the last {counted(n_pending, 'entry')}{why}; {remedy}"
        return f"MLflow lacks parts of this study: {problems[0]}; {remedy}" if problems else ""

    def _run(self) -> None:
        n_failures, is_closing = 0, False
        while True:
            wait = min(FIRST_WAIT_SECONDS * 2 ** (n_failures - 1), LONGEST_WAIT_SECONDS) if n_failures else 0.0
            is_closing = self._take(max(wait, self._flush_seconds), is_closing) or is_closing
            if is_closing:
                self._outbox.finish()
            try:
                self._flush()
            except Exception as error:
                n_failures += 1
                self._tell_outage(error, n_failures)
                if is_closing and (n_failures > 1 or time.monotonic() > self._deadline):
                    return
            else:
                if n_failures and self._problem is not None:
                    _log.warning("MLflow at %s answers again", redact(self._uri))
                n_failures, self._problem = 0, None
                if is_closing and self._outbox.is_empty and self._inbox.empty():
                    return

    def _take(self, seconds: float, is_closing: bool) -> bool:
        """Move entries from the inbox to the outbox for some seconds; True, at once, when the tracker is closed.

        Idle, it waits for the first entry without end.
        """
        end = time.monotonic() + seconds
        idle = self._outbox.is_empty and not is_closing
        while True:
            left = max(0.0, end - time.monotonic())
            try:
                entry = self._inbox.get(timeout=None if idle else left)
            except queue.Empty:
                return False
            if entry is None:
                return True
            if idle:
                idle, end = False, time.monotonic() + seconds
            if isinstance(entry, Attached):
                self._outbox.attach(*entry)
            else:
                self._outbox.put(entry)

    def _flush(self) -> None:
        if self._outbox.is_empty:
            return
        if self._writer is None:
            self._writer = MlflowWriter(self._uri, self._experiment_name, study_id=self._study_id)
        self._outbox.flush(self._writer)

    def _tell_outage(self, error: Exception, n_failures: int) -> None:
        self._problem = describe(error)
        if n_failures == 1:
            text = "MLflow at %s does not take records (%s); the search goes on and they are sent later"
            _log.warning(text, redact(self._uri), self._problem)
