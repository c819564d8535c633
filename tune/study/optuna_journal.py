"""`STUDY/optuna.log`: the study as Optuna's own journal, for optuna-dashboard and `optuna.load_study`; a projection.

It holds the trials that have ended and that the sampler knows (no comparisons), so it never shows one as running. It
can be damaged or deleted at any time: every session begins by holding it against the study's entries, and writes it
anew where it says anything else, as does the end of a trial that finds it changed. Attributes of the study that others
put there, such as notes of optuna-dashboard, stay as long as it does. On object storage it is brought up to the journal
at the end of a session.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from optuna.storages.journal import JournalFileBackend

from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.decisions.sampler import Space
from tune.decisions.standings import Standings
from tune.decisions.trial_record import TrialRecord
from tune.journal.entries import JournalEntry, TrialTold, study_of
from tune.study.optuna_lines import OptunaLines

FILE_NAME = "optuna.log"


class OptunaJournal:
    """Keeps the file in step with the study's entries; subscribe `handle` to the journal.

    The file is never the study's concern: what goes wrong with it is told, and stops nothing.
    """

    def __init__(
        self, path: Path, space: Space, entries: Sequence[JournalEntry], *, say: Callable[[str], None]
    ) -> None:
        """Bring the file up to the study, and stand ready for the next entry.

        entries: the whole journal so far. say: takes a line for the user when the file was damaged meanwhile, and one
        when it cannot be written.
        """
        self._path = path
        self._say = say
        self._lines = OptunaLines(space, study_of(entries).study_id)
        self._standings = Standings()
        self._ended: list[TrialRecord] = []
        self._is_kept_up = True
        self._left: tuple[int, int] | None = None
        for entry in entries:
            self._take(entry)
        self._written(self._begin)

    def handle(self, entry: JournalEntry) -> None:
        """Take the journal's next entry; a trial is written when it is told."""
        if self._take(entry) and self._is_kept_up:
            self._written(self._add_last)

    def _take(self, entry: JournalEntry) -> bool:
        """Whether it ended a trial that the sampler knows."""
        self._standings.apply(entry)
        if not isinstance(entry, TrialTold):
            return False
        record = self._standings.trials[entry.trial]
        if record.is_comparison:
            return False
        self._ended.append(record)
        return True

    def _written(self, write: Callable[[], object]) -> None:
        try:
            write()
            self._left = _state_of(self._path)
        except Exception as error:  # Optuna raises anything, and a space its own
            self._is_kept_up = False
            self._say(f"{self._path} could not be written ({_words(error)}); the next --resume writes it anew")

    def _begin(self) -> None:
        lock = self._path.with_name(f"{self._path.name}.lock")
        lock.unlink(missing_ok=True)  # of a writer that was killed; writers hold the study
        self._bring_up()

    def _add_last(self) -> None:
        if _state_of(self._path) == self._left:
            with suppress(OSError):  # where a disk was full, another try may do
                self._append(self._ended[-1:])
                return
        if not self._bring_up():
            self._say(f"{self._path} was damaged and is written anew")

    def _bring_up(self) -> bool:
        """Write what the file lacks; all of it, where it says anything else. Returns whether it stays."""
        n_said = self._n_said()
        if n_said is None:
            self._write_anew()
        else:
            self._append(self._ended[n_said:])
        return n_said is not None

    def _n_said(self) -> int | None:
        try:
            content = self._path.read_bytes()
        except OSError:
            return None
        return self._lines.n_said(content, self._ended)

    def _append(self, ended: Sequence[TrialRecord]) -> None:
        if ended:
            JournalFileBackend(str(self._path)).append_logs([self._lines.log(record) for record in ended])

    def _write_anew(self) -> None:
        """Another process sees the old file or the new one, never a part."""
        logs = [*self._lines.begun, *(self._lines.log(record) for record in self._ended)]
        temporary = self._path.with_name(f"{self._path.name}.{os.getpid()}.tmp")
        temporary.unlink(missing_ok=True)
        try:
            JournalFileBackend(str(temporary)).append_logs(logs)
            os.replace(temporary, self._path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _state_of(path: Path) -> tuple[int, int] | None:
    """What tells a file from one that was replaced, or that another wrote to; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size


def _words(error: Exception) -> str:
    return f"{error}" if isinstance(error, OSError) else f"{type(error).__name__}: {error}"


@contextmanager
def optuna_projection(
    folder: Place, space: Space, entries: Sequence[JournalEntry], *, say: Callable[[str], None]
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
