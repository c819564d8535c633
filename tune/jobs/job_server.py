"""A cluster's job server: joined with the token, followed through broken connections, its answers in plain words."""

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import urlopen

from trainable.errors import UserError
from tune.printed.secrets_left_out import redact

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

DEFAULT_ADDRESS = "http://127.0.0.1:8265"
RAY_FROM, RAY_BELOW = (2, 55), (2, 61)
"""Versions of Ray that our code runs on, as in pyproject.toml."""

ANSWER_SECONDS = 10.0
PATIENCE_SECONDS = 60.0
"""How long a server that was there may be away while its job is followed."""

POLL_SECONDS = 1.0

RAY_LOGGERS = (
    "ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging",
    "ray._private.runtime_env.working_dir",
)  # fmt: skip
"""They tell of uploads, which we do ourselves."""


def chosen_address(wanted: str | None, environment: Mapping[str, str]) -> str:
    """Address of the job server as http(s)://HOST:PORT.

    Raises: UserError for anything else.
    """
    address = wanted or environment.get("RAY_API_SERVER_ADDRESS") or DEFAULT_ADDRESS
    address = address if "://" in address else f"http://{address}"
    try:
        parts = urlsplit(address)
        is_server = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port is not None
    except ValueError:
        is_server = False
    if not is_server or redact(address) != address:
        raise UserError(
            f"`--address` must be that of a job server, such as {DEFAULT_ADDRESS}, but got {redact(address)}"
        )
    return address.rstrip("/")


def is_open_wire(address: str) -> bool:
    """Whether what is sent to a job server leaves this machine unencrypted."""
    parts = urlsplit(address)
    host = parts.hostname or ""
    return parts.scheme == "http" and host not in ("localhost", "::1") and not host.startswith("127.")


class JobServer:
    """The job server of a running cluster."""

    def __init__(self, address: str) -> None:
        """Connect.

        Raises: UserError when nobody answers at `address`, the token is missing or wrong, or Ray is of another version.
        """
        self.address = address
        _check_answers(address)
        self._client = _connect(address)

    def find(self, job_id: str) -> "JobDetails | None":
        """What is known of a job; None when there is none of that name."""
        try:
            return self._client.get_job_info(job_id)
        except RuntimeError as error:
            if "404" in str(error):
                return None
            raise

    def send(self, job_id: str, entrypoint: str, folder: Path, *, excludes: list[str], env: Mapping[str, str]) -> None:
        """Upload the folder and start the job.

        Raises: UserError when the server does not take it.
        """
        runtime_env = {"working_dir": str(folder), "excludes": excludes, "env_vars": dict(env)}
        try:
            self._client.submit_job(entrypoint=entrypoint, submission_id=job_id, runtime_env=runtime_env)
        except RuntimeError as error:
            raise UserError(f"the job must be taken by {self.address}, but {_first_line(error)}") from error

    def follow(self, job_id: str, show: Callable[[str], None]) -> "JobDetails":
        """Show the job's log from its beginning, as it grows, until the job has ended; then tell how.

        Raises: UserError when the server stays away.
        """
        log = JobLog(show)
        answered = time.monotonic()
        while True:
            with contextlib.suppress(Exception):  # a broken connection, of many types; the log is asked for again
                asyncio.run(self._tail(job_id, log))
            if log.reader_gone is not None:
                raise log.reader_gone
            info = self._state(job_id)
            if info is not None and info.status.is_terminal():
                return info
            if info is not None:
                answered = time.monotonic()
            elif time.monotonic() - answered > PATIENCE_SECONDS:
                raise UserError(
                    f"the job server at {self.address} must answer while a job is followed, but it has not for "
                    f"{PATIENCE_SECONDS:.0f} s; the job {job_id} may go on without it"
                )
            time.sleep(POLL_SECONDS)

    async def _tail(self, job_id: str, log: "JobLog") -> None:
        log.restart()
        async for text in self._client.tail_job_logs(job_id):
            log.take(text)

    def _state(self, job_id: str) -> "JobDetails | None":
        try:
            return self._client.get_job_info(job_id)
        except Exception:  # of whatever type the network raises; `follow` counts how long
            return None


class JobLog:
    """A log that is sent from its beginning each time: what was shown already is not shown again.

    reader_gone: the error of showing it to somebody who has had enough, as `head` does.
    """

    def __init__(self, show: Callable[[str], None]) -> None:
        self._show = show
        self._n_shown = self._n_taken = 0
        self.reader_gone: BrokenPipeError | None = None

    def restart(self) -> None:
        """It begins anew."""
        self._n_taken = 0

    def take(self, text: str) -> None:
        """The next part of it."""
        new = text[max(0, self._n_shown - self._n_taken) :]
        self._n_taken += len(text)
        self._n_shown = max(self._n_shown, self._n_taken)
        if not new:
            return
        try:
            self._show(new)
        except BrokenPipeError as error:
            self.reader_gone = error
            raise


def _check_answers(address: str) -> None:
    """Ray itself would try for minutes where nothing answers."""
    try:
        urlopen(f"{address}/api/version", timeout=ANSWER_SECONDS).close()
    except HTTPError as error:  # an answer, if only to ask for a token
        error.close()
    except (URLError, OSError, HTTPException) as error:
        reason = getattr(error, "reason", error)
        raise UserError(
            f"`--address` must be that of a running cluster's job server, but {address} does not answer: {reason}; it "
            "listens on the head's loopback: open a tunnel, by `ray dashboard cluster.yaml` or `ssh -L "
            "8265:127.0.0.1:8265 HEAD`"
        ) from None


def use_token() -> None:
    """Let Ray send the token that is there, also where nobody told it to; to be called before Ray is imported.

    A cluster without tokens takes no notice.
    """
    file = Path.home() / ".ray" / "auth_token"
    if "RAY_AUTH_TOKEN" in os.environ or "RAY_AUTH_TOKEN_PATH" in os.environ or file.is_file():
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _connect(address: str) -> "JobSubmissionClient":
    os.environ["RAY_API_SERVER_ADDRESS"] = address  # which Ray prefers to what a client is given
    from ray.exceptions import AuthenticationError
    from ray.job_submission import JobSubmissionClient

    for name in RAY_LOGGERS:  # which set their own level when they are imported
        logging.getLogger(name).setLevel(logging.ERROR)
    try:
        client = JobSubmissionClient(address)
    except AuthenticationError as error:
        raise UserError(_token_problem(address, str(error))) from None
    except (RuntimeError, ConnectionError, OSError, ValueError) as error:
        raise UserError(f"`--address` must be that of a Ray job server, but {address}: {_first_line(error)}") from error
    _check_version(address, str(getattr(client, "_server_ray_version", None) or ""))
    return client


def _token_problem(address: str, message: str) -> str:
    if message.startswith("Authentication failed"):
        return (
            f"the token must be that of the cluster, but {address} refused the one sent; copy the head's "
            "~/.ray/auth_token here, or set RAY_AUTH_TOKEN_PATH to a copy"
        )
    return (
        f"{address} asks for the cluster's token, but none is sent; copy the head's ~/.ray/auth_token here, or set "
        "RAY_AUTH_TOKEN_PATH to a copy, and leave RAY_AUTH_MODE unset or `token`"
    )


def _check_version(address: str, version: str) -> None:
    found = re.match(r"(\d+)\.(\d+)", version)
    if found is None or RAY_FROM <= (int(found[1]), int(found[2])) < RAY_BELOW:
        return  # a version that cannot be read is not held against the cluster
    raise UserError(
        f"the cluster's Ray must be {_dotted(RAY_FROM)} or newer and below {_dotted(RAY_BELOW)}, but {address} runs "
        f"{version}; install another on its nodes, or take an image rayproject/ray of that range"
    )


def _dotted(version: tuple[int, int]) -> str:
    return ".".join(map(str, version))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)
