"""`STUDY/logs/libraries.log`: what Ray, torch, Optuna, MLflow and others say while a study is worked on.

Some speak before the study is open, when they are imported, or while features are extracted: that is held until then.
Nothing is written, and no folder made, until one of them says something.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path

from trainable.storage.place import Place

FOLDER_NAME, FILE_NAME = "logs", "libraries.log"

OURS = ("tune", "trainable", "search_spaces")
WITH_HANDLERS = ("ray", "optuna", "mlflow", "alembic", "torch")
"""Whose loggers write to stderr by themselves; all others pass on what they hear to the root, Python's warnings too."""

AT_IMPORT = ("ray.widgets",)
"""Who speak while their library is imported, through a handler that it has just made: notebooks without ipywidgets are
told so.
"""


class _File(logging.FileHandler):
    """Makes its folder when it is needed; what cannot be written is dropped, and the work goes on."""

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(exist_ok=True)
        return super()._open()

    def emit(self, record: logging.LogRecord) -> None:
        with suppress(OSError):  # of a study that has gone, or a full disk
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        del record


class _Said(logging.Handler):
    def __init__(self, say: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        self._say(record.getMessage())


class LibraryLog(logging.Handler):
    """Hears libraries: holds what they say until a study is open, and writes it, with all that follows, to its log."""

    def __init__(self) -> None:
        super().__init__()
        self._held: list[logging.LogRecord] = []
        self._file: _File | None = None
        self._before: dict[logging.Logger, tuple[list[logging.Handler], bool]] = {}

    def listen(self) -> None:
        """In place of the handlers of those that write by themselves, as far as they are imported."""
        logging.getLogger().addHandler(self)
        early = (logging.getLogger(name) for name in AT_IMPORT)
        for logger in (*early, *_that_write_by_themselves()):
            if logger.handlers != [self]:
                self._before[logger] = (logger.handlers, logger.propagate)
                logger.handlers, logger.propagate = [self], False

    def write_to(self, study: Place) -> None:
        """What was held, and from now on everything; a study on object storage has no such file: they write to stderr,
        as they always do.
        """
        if not isinstance(study, Path):
            self.leave()
            return
        self.listen()  # to those that were imported meanwhile, too
        self._file = _File(study / FOLDER_NAME / FILE_NAME, delay=True, encoding="utf-8")
        self._file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
        held, self._held = self._held, []
        for record in held:
            self._file.handle(record)

    def leave(self) -> None:
        """All is as before; what is held still goes to stderr, but for remarks, and for what our own have said."""
        logging.getLogger().removeHandler(self)
        for logger, (handlers, propagate) in self._before.items():
            if logger.handlers == [self]:  # else it was set up anew meanwhile
                logger.handlers, logger.propagate = handlers, propagate
        self._before.clear()
        held, self._held = self._held, []
        for record in held:
            if logging.lastResort is not None and record.levelno >= logging.WARNING and not _is_ours(record):
                logging.lastResort.handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Hold it, or write it."""
        if self._file is None:
            self._held.append(record)
        else:
            self._file.handle(record)

    def close(self) -> None:
        """And its file."""
        if self._file is not None:
            self._file.close()
        super().close()


@contextmanager
def libraries_logged(say: Callable[[str], None]) -> Iterator[LibraryLog]:
    """Within the block libraries are heard instead of seen, and our own warnings are said, in lines for the user.

    The study's place is told to what is yielded, once there is one.
    """
    log, said = LibraryLog(), _Said(say)
    ours = [logging.getLogger(name) for name in OURS]
    for logger in ours:
        logger.addHandler(said)
    log.listen()
    logging.captureWarnings(True)
    try:
        yield log
    finally:
        logging.captureWarnings(False)
        for logger in ours:
            logger.removeHandler(said)
        log.leave()
        log.close()


def _is_ours(record: logging.LogRecord) -> bool:
    return record.name.partition(".")[0] in OURS


def _that_write_by_themselves() -> list[logging.Logger]:
    known = logging.getLogger().manager.loggerDict
    return [
        logger
        for name, logger in known.items()
        if name.partition(".")[0] in WITH_HANDLERS
        and isinstance(logger, logging.Logger)  # else the place of one that nobody has asked for
        and logger.handlers
        and not logger.propagate
    ]
