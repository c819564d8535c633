"""URIs of folders on object storage: `s3://BUCKET/FOLDER` and `gs://BUCKET/FOLDER`, checked to the last character.

Credentials are never a part of one: they come from the environment, so that a URI may be shown, logged and kept.
"""

import re
from dataclasses import dataclass, replace
from urllib.parse import parse_qsl, urlencode

from trainable.errors import UserError

SCHEMES = ("s3", "gs")
QUERY_NAMES = {"s3": ("endpoint_override", "region", "scheme"), "gs": ("endpoint_override", "scheme")}
CHOICES = "valid: a path, s3://BUCKET/FOLDER or gs://BUCKET/FOLDER"

_LOOKS_LIKE_ONE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]")
_FOLDER = re.compile(r"[A-Za-z0-9!_.*'()+=,@~ -]+")
_ENDPOINT = re.compile(r"(https?://)?[A-Za-z0-9.\[\]:-]+/?")


def looks_like_uri(text: str) -> bool:
    """Whether this is meant as a URI, however wrongly written, and not as a path."""
    return _LOOKS_LIKE_ONE.match(text) is not None


@dataclass(frozen=True, slots=True)
class StorageUri:
    """scheme: "s3" or "gs". folder: names between slashes. query: how the storage is reached, in order of names."""

    scheme: str
    bucket: str
    folder: tuple[str, ...]
    query: tuple[tuple[str, str], ...] = ()

    @property
    def key(self) -> str:
        """What pyarrow calls a path: the bucket and the folder."""
        return "/".join((self.bucket, *self.folder))

    def within(self, name: str) -> "StorageUri":
        """That of a folder or file inside of this one; name: may hold slashes."""
        return replace(self, folder=(*self.folder, *name.split("/")))

    def __str__(self) -> str:
        query = f"?{urlencode(self.query, safe=':/[]')}" if self.query else ""
        return f"{self.scheme}://{self.key}{query}"


def parse_uri(text: str, *, what: str) -> StorageUri:
    """The URI of a folder inside of a bucket.

    what: the option or value that it was given for, as messages name it.
    Raises: UserError naming everything that is wrong with it.
    """
    match = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)/?([^?]*)(?:\?(.*))?", text, flags=re.DOTALL)
    if match is None or match[1] not in SCHEMES:
        shown = repr(text) if not set(text) & set("@?") else f"one that begins with {text.partition(':')[0]}:"
        raise UserError(f"`{what}` must be a path or the URI of a folder on object storage, but got {shown}; {CHOICES}")
    scheme, bucket, key, query = match[1], match[2], match[3].rstrip("/"), match[4] or ""
    if "@" in bucket or ":" in bucket:
        raise UserError(
            f"`{what}` must name a bucket alone behind {scheme}://, but got credentials or a port there; credentials "
            "come from the environment, another server from AWS_ENDPOINT_URL or ?endpoint_override=HOST:PORT"
        )
    problems = [*_place_problems(scheme, bucket, key), *_query_problems(scheme, query)]
    if problems:
        raise UserError([f"`{what}` {problem}" for problem in problems])
    return StorageUri(
        scheme, bucket, tuple(key.split("/")), tuple(sorted(parse_qsl(query, strict_parsing=bool(query))))
    )


def _place_problems(scheme: str, bucket: str, key: str) -> list[str]:
    problems = []
    if not _BUCKET.fullmatch(bucket):
        rule = "must name a bucket (3 or more of a-z, 0-9, dot, hyphen)"
        problems.append(f"{rule}, but got {bucket!r}; write {scheme}://BUCKET/FOLDER")
    names = key.split("/")
    if not key:
        problems.append(f"must name a folder inside of its bucket, but got none; write {scheme}://{bucket}/FOLDER")
    elif bad := [name for name in names if name in ("", ".", "..") or not _FOLDER.fullmatch(name)]:
        rule = "must be made of plain folder names (letters, digits and !_.*'()+=,@~- )"
        problems.append(f"{rule}, but got {', '.join(map(repr, bad))} in {key!r}")
    return problems


def _query_problems(scheme: str, query: str) -> list[str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
    except ValueError:
        return [f"must end in ?NAME=VALUE or nothing, but got a query that is not; valid: {_valid(scheme)}"]
    names = [name for name, _ in pairs]
    problems = [
        f"must have a query of {_valid(scheme)}, but got {name!r}; credentials and all else come from the environment"
        for name in names
        if name not in QUERY_NAMES[scheme]
    ]
    problems += [f"must give {name} once, but gives it twice" for name in {n for n in names if names.count(n) > 1}]
    for name, value in pairs:
        if name == "endpoint_override" and not _ENDPOINT.fullmatch(value):
            problems.append("must have an endpoint_override of the form HOST:PORT or http://HOST:PORT, but got another")
        if name == "scheme" and value not in ("http", "https"):
            problems.append(f"must have a scheme of http or https, but got {value!r}")
        if name == "region" and not re.fullmatch(r"[a-z0-9-]+", value):
            problems.append(f"must have a region such as us-east-1, but got {value!r}")
    return problems


def _valid(scheme: str) -> str:
    return ", ".join(QUERY_NAMES[scheme])
