"""`STUDY/optuna.log`: the study as Optuna's own journal, for optuna-dashboard and `optuna.load_study`; a projection.

It holds the trials that have ended and that the sampler knows (no comparisons), so it never shows one as running. It
can be damaged or deleted at any time: every session begins by writing it anew from the study's entries, as does the end
of a trial that it does not take. On object storage it is brought up to the journal at the end of a session.
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
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
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
        """Write the file anew, and stand ready for the next entry.

        entries: gives the whole journal so far. say: takes a line for the user when the file was damaged, and one
        when it cannot be written.
        """
        self._path = path
        self._space = space
        self._entries = entries
        self._say = say
        self._standings = Standings()
        self._study: optuna.Study | None = None
        self._write_anew()

    def handle(self, entry: JournalEntry) -> None:
        """Take the journal's next entry; a trial is written when it is told."""
        ended = _take(entry, self._standings)
        if ended is None or self._study is None:
            return
        try:
            self._study.add_trial(_finished(ended, self._space))
        except Exception as error:  # Optuna reads the file before it writes, and raises anything over what it finds
            self._study = None
            if self._write_anew():
                self._say(f"{self._path} was damaged ({_words(error)}) and is written anew")

    def _write_anew(self) -> bool:
        self._standings = Standings()
        try:
            self._study = _write_anew(self._path, self._space, self._entries(), self._standings)
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


def _write_anew(path: Path, space: Space, entries: Sequence[JournalEntry], standings: Standings) -> optuna.Study:
    """From a whole journal; another process sees the old file or the new one, never a part."""
    name = study_of(entries).study_id
    ended = [record for entry in entries if (record := _take(entry, standings)) is not None]
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    with without_notices():
        study = optuna.create_study(
            storage=JournalStorage(JournalFileBackend(str(temporary))),
            study_name=name,
            direction="minimize",
        )
        study.set_metric_names([SCORE])
    try:
        study.add_trials([_finished(record, space) for record in ended])
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    path.with_name(f"{path.name}.lock").unlink(missing_ok=True)  # of a writer that was killed; writers hold the study
    with without_notices():
        return optuna.load_study(study_name=name, storage=JournalStorage(JournalFileBackend(str(path))))


def _take(entry: JournalEntry, standings: Standings) -> TrialRecord | None:
    """Take in one entry; the trial that it ended, if the sampler knows it."""
    standings.apply(entry)
    if not isinstance(entry, TrialTold):
        return None
    record = standings.trials[entry.trial]
    return None if record.is_comparison else record


def _finished(record: TrialRecord, space: Space) -> FrozenTrial:
    assert record.values is not None
    assert record.ended is not None
    notes: JsonObject = {
        "trial": record.trial_id,
        "origin": record.origin,
        "reason": record.reason,
        "best_epoch": record.best_epoch,
        "attempts": record.attempts,
    }
    trial = create_trial(
        state=STATES[record.state],
        value=None if record.state == "failed" else record.best_score,
        params=record.values,
        distributions=distributions_of(space, record.values),
        intermediate_values={epoch: score for epoch, score in record.scores.items() if math.isfinite(score)},
        user_attrs=notes,
    )
    trial.datetime_start = datetime.fromtimestamp(record.started)
    trial.datetime_complete = datetime.fromtimestamp(record.ended)
    return trial
