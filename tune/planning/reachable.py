"""Whether a tracking server answers the door, and a database's file can be written, without leaving a trace there."""

import os
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tune.printed.secrets_left_out import redact
from tune.tracking.uri import database_file

DOOR_SECONDS = 5.0

_PORTS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}


def tracking_problem(uri: str) -> str | None:
    """Why MLflow's records could not be sent now, with the remedy; None when nothing is known against it.

    uri: as `check_uri` returns it.
    """
    file = database_file(uri)
    found = _server_problem(uri) if file is None else _file_problem(file)
    if found is None:
        return None
    return (
        f"`--tracking-uri` must be one that takes records, but {redact(uri)} does not: {found}; start it or correct "
        "the address, or keep records in a file until then (--tracking-uri sqlite:///mlflow.db)"
    )


def _server_problem(uri: str) -> str | None:
    parts = urlsplit(uri)
    port = parts.port or _PORTS.get(parts.scheme.partition("+")[0])
    if parts.hostname is None or port is None:
        return None  # a database that is found in another way, as by a socket file
    try:
        socket.create_connection((parts.hostname, port), timeout=DOOR_SECONDS).close()
    except OSError as error:
        return f"{parts.hostname}:{port}: {error.strerror or error}"
    return None


def _file_problem(file: Path) -> str | None:
    place = file if file.exists() else file.parent
    return None if os.access(place, os.W_OK) else f"{place} cannot be written"
