"""The SQLite file that MLflow writes to: made whole or not at all.

MLflow makes its tables step by step, over seconds. A process killed on the way would leave a file that no later one can
use or mend, so the tables are made under another name first.
"""

import contextlib
import os
import time
from pathlib import Path

LEFTOVER_SECONDS = 600.0
"""A file under a temporary name that is older than this is of a process that was killed."""


def make_database(uri: str) -> None:
    """Make MLflow's tables if `uri` names an SQLite file that is not there; takes seconds.

    Two processes may do so at once: the first to finish makes the file, the other drops its own.
    """
    scheme, _, name = uri.partition(":///")
    path = Path(name)
    if not scheme.startswith("sqlite") or _has_tables(path):
        return
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    for leftover in path.parent.glob(f".{path.name}.*.partial*"):
        if time.time() - leftover.stat().st_mtime > LEFTOVER_SECONDS:
            leftover.unlink(missing_ok=True)
    try:
        _make_tables(f"{scheme}:///{temporary}")
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)  # unlike a renaming, it never replaces what another process has made
    finally:
        temporary.unlink(missing_ok=True)


def _has_tables(path: Path) -> bool:
    try:
        return path.stat().st_size > 0
    except FileNotFoundError:
        return False


def _make_tables(uri: str) -> None:
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=uri, registry_uri=uri).search_experiments(max_results=1)
