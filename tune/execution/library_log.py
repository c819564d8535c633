"""`STUDY/logs/libraries.log`: what Ray, torch, Optuna, MLflow and others say while a study is worked on.

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


@contextmanager
def libraries_logged(study: Place, say: Callable[[str], None]) -> Iterator[None]:
    """Within the block libraries write to the study's log, and our own warnings are said, in lines for the user.

    A study on object storage has no such file: there they write where they always do.
    """
    if not isinstance(study, Path):
        yield
        return
    file = _File(study / FOLDER_NAME / FILE_NAME, delay=True, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    said = _Said(say)
    root, ours = logging.getLogger(), [logging.getLogger(name) for name in OURS]
    before = [(logger, logger.handlers) for logger in _that_write_by_themselves()]
    root.addHandler(file)
    for logger in ours:
        logger.addHandler(said)
    for logger, _ in before:
        logger.handlers = [file]
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        for logger, handlers in before:
            if logger.handlers == [file]:  # else it was set up anew meanwhile
                logger.handlers = handlers
        for logger in ours:
            logger.removeHandler(said)
        root.removeHandler(file)
        file.close()


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
