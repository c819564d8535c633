"""What users ask of a study from elsewhere, until the process that works on it has written it into the journal.

STUDY/requests/01796002000123456789-9f3c21aa.json   one request, written whole by whoever asks

Only the study's one writer removes them, once the journal has an entry with the request's id. One that dies in between
leaves both, and the next one knows by the entry that nothing is left to do.
"""

import json
import re
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from typing import Literal

from trainable.plain_values import JsonObject, misfits, parse_json
from trainable.storage.place import Place, delete_file, file_names, read_file, write_file
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.entries import JournalEntry, SessionBegun
from tune.journal.errors import not_writable

FOLDER_NAME = "requests"

_NAME = re.compile(r"(\d{20}-[0-9a-f]{8})\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One request. request: its id; ids sort by the time of asking.

    values: what to enqueue, as the sampler's flat values. trial: which to stop; None for the session that began with
    entry `session` of the journal.
    """

    request: str
    kind: Literal["enqueue", "stop"]
    values: JsonObject | None = None
    trial: str | None = None
    session: int | None = None


def new_request(
    kind: Literal["enqueue", "stop"],
    *,
    values: JsonObject | None = None,
    trial: str | None = None,
    session: int | None = None,
) -> Request:
    """A request with an id of its own."""
    request = f"{time.time_ns():020d}-{uuid.uuid4().hex[:8]}"
    return Request(request=request, kind=kind, values=values, trial=trial, session=session)


def latest_session(entries: Iterable[JournalEntry]) -> int:
    """What a `Request` calls the session that works on the study: the entry that it began with, -1 if there is none."""
    return max((entry.seq for entry in entries if isinstance(entry, SessionBegun)), default=-1)


def leave_request(study: Place, request: Request) -> None:
    """Put a request where the process that works on the study, or the next one, finds it.

    Raises: StudyWriteError.
    """
    content = json.dumps(asdict(request)).encode()
    try:
        write_file(study / FOLDER_NAME, f"{request.request}.json", content)
    except OSError as error:
        raise not_writable(study, str(error.strerror or error), what=FOLDER_NAME) from error


def waiting_requests(study: Place) -> list[Request]:
    """Those that are there, in order of asking; files that say no request are passed over.

    Raises: OSError.
    """
    folder = study / FOLDER_NAME
    names = [match[1] for name in file_names(folder) if (match := _NAME.fullmatch(name)) is not None]
    found = (_read(folder, request) for request in sorted(names))
    return [request for request in found if request is not None]


def remove_request(study: Place, request: Request) -> None:
    """It is in the journal, or can never be.

    Raises: OSError.
    """
    delete_file(study / FOLDER_NAME, f"{request.request}.json")


def without_patience(study: Place) -> Place:
    """The same place; where storage keeps silent it is not asked again."""
    return replace(study, patience_seconds=0.0) if isinstance(study, RemoteFolder) else study


def _read(folder: Place, request: str) -> Request | None:
    try:
        values = parse_json(read_file(folder, f"{request}.json"))
    except (FileNotFoundError, ValueError):  # taken since it was listed, or nobody's request
        return None
    if any(misfits(values, Request, "request")) or values["request"] != request:
        return None
    if (values["kind"] == "enqueue") != (values.get("values") is not None):
        return None
    return Request(**{name: values[name] for name in Request.__dataclass_fields__ if name in values})
