"""pyarrow's file systems for object storage, one a process and server; credentials from the environment alone.

S3: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN, or what AWS's own tools find (`~/.aws`, a machine's
role); AWS_ENDPOINT_URL_S3 or AWS_ENDPOINT_URL for a server of one's own. Google: GOOGLE_APPLICATION_CREDENTIALS or a
machine's account; CLOUD_STORAGE_EMULATOR_ENDPOINT.
"""

import os
from datetime import timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

from trainable.plain_values import JsonObject
from trainable.storage.uri import StorageUri

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

SHORTEST_SECRET = 8
"""Characters; what is shorter is none of a real service, and would be cut out of ordinary words."""

ATTEMPTS, CONNECT_SECONDS, REQUEST_SECONDS = 3, 5.0, 30.0
"""Of one request, before its caller hears that it failed."""

SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID", "GOOGLE_APPLICATION_CREDENTIALS")
"""Environment variables whose values no message of ours may hold."""


def filesystem_of(uri: StorageUri) -> "FileSystem":
    """The file system that reaches this bucket, made once a process.

    Raises: OSError when its region cannot be found out.
    """
    endpoint = None
    if uri.scheme == "s3":
        endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    return _make(uri.scheme, uri.bucket, dict(uri.query).get("endpoint_override") or endpoint, uri.query)


def without_secrets(text: str) -> str:
    """A message of the storage on one line, in which nothing can be read that is only in the environment."""
    for name in SECRETS:
        if len(value := os.environ.get(name, "")) >= SHORTEST_SECRET:
            text = text.replace(value, f"${name}")
    return " ".join(text.split())


@lru_cache(maxsize=16)
def _make(scheme: str, bucket: str, endpoint: str | None, query: tuple[tuple[str, str], ...]) -> "FileSystem":
    options: JsonObject = {name: value for name, value in query if name == "scheme"}
    if endpoint is not None:
        options["endpoint_override"] = endpoint.rstrip("/")
    if scheme == "gs":
        from pyarrow.fs import GcsFileSystem

        has_emulator = "CLOUD_STORAGE_EMULATOR_ENDPOINT" in os.environ or endpoint is not None
        is_anonymous = has_emulator and "GOOGLE_APPLICATION_CREDENTIALS" not in os.environ
        return GcsFileSystem(anonymous=is_anonymous, retry_time_limit=timedelta(seconds=REQUEST_SECONDS), **options)
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    return S3FileSystem(
        region=dict(query).get("region") or _region(bucket, is_own_server=endpoint is not None),
        connect_timeout=CONNECT_SECONDS,
        request_timeout=REQUEST_SECONDS,
        retry_strategy=AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        background_writes=False,
        allow_delayed_open=True,  # a small object is one request instead of three
        **options,
    )


def _region(bucket: str, *, is_own_server: bool) -> str | None:
    from pyarrow.fs import resolve_s3_region

    named = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
    if named or is_own_server:
        return named
    return str(resolve_s3_region(bucket))
