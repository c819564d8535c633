"""`STUDY/optuna.log`: the study as Optuna's own journal, for optuna-dashboard and `optuna.load_study`; a projection.

It holds the trials that have ended and that the sampler knows (no comparisons), so it never shows one as running. It
can be damaged or deleted at any time: every session begins by holding it against the study's entries, and writes it
anew where it says anything else, as does the end of a trial that it does not take. On object storage it is brought up
to the journal at the end of a session.
"""

import math
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend, JournalFileBackend
from optuna.trial import FrozenTrial, create_trial

from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.decisions.sampler import STATES, Space, distributions_of, without_notices
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.entries import JournalEntry, TrialTold, study_of

FILE_NAME = "optuna.log"


class OptunaJournal:
    """Keeps the file in step with the study's entries; subscribe `handle` to the journal.

    The file is never the study's concern: what goes wrong with it is told, and stops nothing.
    """

    def __init__(
        self, path: Path, space: Space, entries: Callable[[], Sequence[JournalEntry]], *, say: Callable[[str], None]
    ) -> None:
        """Bring the file up to the study, and stand ready for the next entry.

        entries: gives the whole journal so far. say: takes a line for the user when the file was damaged, and one
        when it cannot be written.
        """
        self._path = path
        self._space = space
        self._entries = entries
        self._say = say
        self._standings = Standings()
        self._study: optuna.Study | None = None
        self._bring_up(kept=path.is_file())

    def handle(self, entry: JournalEntry) -> None:
        """Take the journal's next entry; a trial is written when it is told."""
        ended = _take(entry, self._standings)
        if ended is None or self._study is None:
            return
        try:
            self._study.add_trial(_finished(ended, self._space))
        except Exception as error:  # Optuna reads the file before it writes, and raises anything over what it finds
            self._study = None
            if self._bring_up(kept=False):
                self._say(f"{self._path} was damaged ({_words(error)}) and is written anew")

    def _bring_up(self, *, kept: bool) -> bool:
        """Whether the file now says what the study's entries say. kept: where it does already, it stays as it is."""
        self._standings, entries = Standings(), self._entries()
        name = study_of(entries).study_id
        ended = [record for entry in entries if (record := _take(entry, self._standings)) is not None]
        try:
            self._study = _brought_up(self._path, self._space, name, ended) if kept else None
            if self._study is None:
                self._study = _write_anew(self._path, self._space, name, ended)
        except Exception as error:
            self._say(f"{self._path} could not be written ({_words(error)}); the next --resume writes it anew")
        return self._study is not None


def _words(error: Exception) -> str:
    return f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


@contextmanager
def optuna_projection(
    folder: Place, space: Space, entries: Callable[[], Sequence[JournalEntry]], *, say: Callable[[str], None]
) -> Iterator[OptunaJournal]:
    """A study's `OptunaJournal`; of one on object storage it is a local file, put there at the end of the block."""
    if not isinstance(folder, RemoteFolder):
        yield OptunaJournal(folder / FILE_NAME, space, entries, say=say)
        return
    with TemporaryDirectory(prefix="sentinel-tune-") as scratch:
        file = Path(scratch, FILE_NAME)
        yield OptunaJournal(file, space, entries, say=say)
        try:
            replace(folder, patience_seconds=0.0).upload(file, FILE_NAME)  # not worth waiting for
        except OSError as error:
            say(f"{folder / FILE_NAME} could not be written ({error}); the next --resume writes it anew")


def _brought_up(path: Path, space: Space, name: str, ended: Sequence[TrialRecord]) -> optuna.Study | None:
    """The file with what it lacks at its end; None where it says anything else than these trials."""
    try:
        study = _load(path, name)
        said = study.get_trials(deepcopy=False)
    except Exception:  # Optuna raises anything over a file that is damaged, or of another study
        return None
    ranges: dict[tuple[str, ...], dict[str, BaseDistribution]] = {}
    for trial, record in zip(said, ended, strict=False):
        if not _says(trial, record, space, ranges):
            return None
    if len(said) > len(ended) or study.direction.name != "MINIMIZE" or study.metric_names != [SCORE]:
        return None
    _remove_lock(path)
    study.add_trials([_finished(record, space) for record in ended[len(said) :]])
    return study


def _says(
    trial: FrozenTrial, record: TrialRecord, space: Space, ranges: dict[tuple[str, ...], dict[str, BaseDistribution]]
) -> bool:
    """Whether a trial of the file is what `_finished` makes of the record. ranges: by names, as found so far."""
    values = record.values or {}
    names = tuple(values)
    if names not in ranges:
        ranges[names] = distributions_of(space, values)
    return (
        trial.state == STATES[record.state]
        and trial.values == (None if record.state == "failed" or record.best_score is None else [record.best_score])
        and trial.params == values
        and trial.distributions == ranges[names]
        and trial.intermediate_values == _finite_scores(record)
        and trial.user_attrs == _notes(record)
        and (trial.datetime_start, trial.datetime_complete) == _times(record)
    )


def _write_anew(path: Path, space: Space, name: str, ended: Sequence[TrialRecord]) -> optuna.Study:
    """Another process sees the old file or the new one, never a part."""
    gathered = _Gathered()
    with without_notices():
        study = optuna.create_study(storage=JournalStorage(gathered), study_name=name, direction="minimize")
        study.set_metric_names([SCORE])
    study.add_trials([_finished(record, space) for record in ended])
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        JournalFileBackend(str(temporary)).append_logs(gathered.logs)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _remove_lock(path)
    return _load(path, name)


def _load(path: Path, name: str) -> optuna.Study:
    with without_notices():
        return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))


def _remove_lock(path: Path) -> None:
    """Of a writer that was killed; writers hold the study."""
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)


class _Gathered(BaseJournalBackend):
    """Optuna's log in memory, for a file that is written in one piece: else each trial takes a lock and an fsync."""

    def __init__(self) -> None:
        self.logs: list[JsonObject] = []

    def read_logs(self, log_number_from: int) -> Iterator[JsonObject]:
        """As any backend."""
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[JsonObject]) -> None:
        """As any backend."""
        self.logs.extend(logs)


def _take(entry: JournalEntry, standings: Standings) -> TrialRecord | None:
    """Take in one entry; the trial that it ended, if the sampler knows it."""
    standings.apply(entry)
    if not isinstance(entry, TrialTold):
        return None
    record = standings.trials[entry.trial]
    return None if record.is_comparison else record


def _finished(record: TrialRecord, space: Space) -> FrozenTrial:
    assert record.values is not None
    trial = create_trial(
        state=STATES[record.state],
        value=None if record.state == "failed" else record.best_score,
        params=record.values,
        distributions=distributions_of(space, record.values),
        intermediate_values=_finite_scores(record),
        user_attrs=_notes(record),
    )
    trial.datetime_start, trial.datetime_complete = _times(record)
    return trial


def _finite_scores(record: TrialRecord) -> dict[int, float]:
    return {epoch: score for epoch, score in record.scores.items() if math.isfinite(score)}


def _notes(record: TrialRecord) -> JsonObject:
    return {
        "trial": record.trial_id,
        "origin": record.origin,
        "reason": record.reason,
        "best_epoch": record.best_epoch,
        "attempts": record.attempts,
    }


def _times(record: TrialRecord) -> tuple[datetime, datetime]:
    assert record.ended is not None
    return datetime.fromtimestamp(record.started), datetime.fromtimestamp(record.ended)
