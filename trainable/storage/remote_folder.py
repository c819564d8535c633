"""A folder on object storage: whole objects read, written, listed and deleted; nothing is ever appended to.

An object appears under its name whole or not at all, also when its writer is killed. A storage that does not answer is
asked again for a while, so that a short outage is a delay; a refusal (no such bucket, wrong key) is told at once.
"""

import random
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from trainable.errors import UserError
from trainable.storage.filesystem import filesystem_of, without_secrets
from trainable.storage.uri import StorageUri, parse_uri
from trainable.whole_file import whole_file

if TYPE_CHECKING:
    from pyarrow.fs import FileInfo

PATIENCE_SECONDS = 60.0
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 0.25, 8.0
READERS = 16
"""Objects read side by side: each costs a round trip, whatever its size."""

REFUSALS = (
    "NO_SUCH_BUCKET", "ACCESS_DENIED", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "INVALID_CLIENT_TOKEN_ID",
    "UNRECOGNIZED_CLIENT", "ExpiredToken", "HTTP status 403", "PERMISSION_DENIED", "UNAUTHENTICATED",
)  # fmt: skip
"""In the storage's messages: what will not change by asking again."""

REMEDY = (
    "see that the bucket exists, that the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or "
    "GOOGLE_APPLICATION_CREDENTIALS) may use it, and that AWS_ENDPOINT_URL is right where the storage is your own"
)

T = TypeVar("T")


class StorageError(OSError):
    """The storage refused, or did not answer for as long as it was waited for; what it took before is whole."""


@dataclass(frozen=True, slots=True)
class RemoteFolder:
    """A folder by its URI, used where a `Path` would be: `folder / name`, `folder.name`, `str(folder)`.

    patience_seconds: how long to ask a storage again that does not answer.
    """

    uri: StorageUri
    patience_seconds: float = field(default=PATIENCE_SECONDS, compare=False)

    @classmethod
    def parse(cls, text: str, *, what: str = "URI") -> "RemoteFolder":
        """Raises: UserError for anything but the URI of a folder on object storage."""
        return cls(parse_uri(text, what=what))

    def __str__(self) -> str:
        return str(self.uri)

    def __truediv__(self, name: str) -> "RemoteFolder":
        return replace(self, uri=self.uri.within(name))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self.uri.folder[-1]

    def absolute(self) -> "RemoteFolder":
        """Itself; a URI depends on no working folder."""
        return self

    def resolve(self) -> "RemoteFolder":
        """Itself; a URI has no links."""
        return self

    def write(self, name: str, content: bytes) -> None:
        """Put one object, in place of what was there; it can be read when this returns.

        Raises: StorageError.
        """

        def put() -> None:
            try:
                with filesystem_of(self.uri).open_output_stream(self._key(name), compression=None) as stream:
                    stream.write(content)
            except FileNotFoundError as error:  # Google's way of saying so
                raise OSError(f"NO_SUCH_BUCKET: {error}") from error

        self._patiently(put)

    def upload(self, file: Path, name: str) -> None:
        """Put a file's content as one object; read before anything is sent, so that no part of it can take its place.

        Raises: StorageError; OSError when the file cannot be read.
        """
        self.write(name, file.read_bytes())

    def read(self, name: str) -> bytes:
        """One object's content. Its length is asked for first: while a longer one takes its place, the end may lack.

        Raises: FileNotFoundError; StorageError.
        """

        def get() -> bytes:
            with filesystem_of(self.uri).open_input_stream(self._key(name), compression=None) as stream:
                return bytes(stream.read())

        return self._patiently(get)

    def read_all(self, names: Iterable[str]) -> list[bytes]:
        """Several objects' contents, in this order, fetched side by side.

        Raises: as `read`.
        """
        with ThreadPoolExecutor(READERS) as readers:
            return list(readers.map(self.read, names))

    def download(self, name: str, file: Path) -> None:
        """One object into a file, which is there whole or not at all.

        Raises: FileNotFoundError; StorageError; OSError when the disk does not take it.
        """

        def get(temporary: Path) -> None:
            stream = filesystem_of(self.uri).open_input_stream(self._key(name), compression=None)
            with stream, temporary.open("wb") as out:
                shutil.copyfileobj(stream, out, 8 * 2**20)

        with whole_file(file) as temporary:
            self._patiently(lambda: get(temporary))

    def sizes(self) -> dict[str, int]:
        """Names, with slashes for those in folders within, and bytes of all objects in here; empty when there are none.

        Raises: StorageError, also when the bucket does not exist.
        """
        from pyarrow.fs import FileSelector, FileType

        def look() -> "list[FileInfo]":
            system = filesystem_of(self.uri)
            found = system.get_file_info(FileSelector(self.uri.key, recursive=True, allow_not_found=True))
            if not found and system.get_file_info(self.uri.bucket).type == FileType.NotFound:
                raise OSError(f"NO_SUCH_BUCKET: there is no bucket {self.uri.bucket}")
            return list(found)

        start = len(self.uri.key) + 1
        return {info.path[start:]: info.size for info in self._patiently(look) if info.type == FileType.File}

    def delete(self, name: str) -> None:
        """Remove one object; one that is not there is no error.

        Raises: StorageError.
        """
        self._leniently(lambda: filesystem_of(self.uri).delete_file(self._key(name)))

    def delete_all(self) -> None:
        """Remove the folder with all that is in it; one that is not there is no error.

        Raises: StorageError.
        """

        def remove() -> None:
            try:
                filesystem_of(self.uri).delete_dir(self.uri.key)
            except OSError as error:
                if "No such directory" not in str(error):  # Google's is not a FileNotFoundError
                    raise

        self._leniently(remove)

    def check_usable(self, *, what: str) -> None:
        """See that objects can be written, read and deleted here, with a small one of our own.

        what: the option that named this place.
        Raises: UserError with the storage's reason.
        """
        name = f".probe-{uuid.uuid4().hex}"
        try:
            hasty = replace(self, patience_seconds=0.0)
            hasty.write(name, b"probe")
            hasty.read(name)
            hasty.delete(name)
        except OSError as error:
            rule = f"`{what}` must be on storage that this machine can use"
            raise UserError(f"{rule}, but {self} is not: {error}; {REMEDY}") from error

    def _key(self, name: str) -> str:
        return self.uri.within(name).key

    def _leniently(self, action: Callable[[], None]) -> None:
        with suppress(FileNotFoundError):
            self._patiently(action)

    def _patiently(self, action: Callable[[], T]) -> T:
        """Act, and again after longer and longer pauses while the storage does not answer."""
        deadline, pause = time.monotonic() + self.patience_seconds, FIRST_PAUSE_SECONDS
        while True:
            try:
                return action()
            except FileNotFoundError:
                raise
            except OSError as error:
                reason = without_secrets(str(error))
                is_refusal = any(word in reason for word in REFUSALS)
                if is_refusal or time.monotonic() + pause > deadline:
                    raise StorageError(reason) from None  # the first error's own text may hold what we cut out
            time.sleep(pause * random.uniform(0.5, 1.0))  # many workers must not ask in step
            pause = min(2 * pause, LONGEST_PAUSE_SECONDS)
