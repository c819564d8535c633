"""The journal of a study on object storage, which cannot append: numbered segments, each written once.

STUDY/journal/000002/000000000-000000122.jsonl                 session 2 begins with all entries so far
STUDY/journal/000002/000000123-000000186.jsonl                 a block of 64, put together from its parts
STUDY/journal/000002/parts-000000187/000000187-000000187.jsonl   one entry, as it was appended

Segments hold the lines of a local journal.jsonl, by the `seq` of the first and the last one. They may overlap, since
parts are deleted only after their block is there; the longest counts. The newest session counts alone: what a writer
that was thought to be dead still writes stands under an older number, and is read by nobody.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from trainable.errors import UserError
from trainable.storage.remote_folder import RemoteFolder, StorageError
from tune.journal.entries import JournalEntry
from tune.journal.line_text import is_unchanged, is_whole
from tune.journal.lines import decoded

FOLDER_NAME = "journal"
BLOCK_ENTRIES = 64
READ_ATTEMPTS = 5
"""Of a journal whose segments are put together while it is read."""

_NAME = re.compile(r"(\d{6})/(?:parts-\d{9}/)?(\d{9})-(\d{9})\.jsonl")


@dataclass(frozen=True, slots=True, order=True)
class Segment:
    """Events `first` to `last`, both included; name: inside of the journal's folder."""

    session: int
    first: int
    last: int
    name: str

    @property
    def n_entries(self) -> int:
        """How many it must have."""
        return self.last - self.first + 1


def segment_name(session: int, first: int, last: int, *, block: int | None = None) -> str:
    """Where a segment lies; block: first entry of the block that it is a part of."""
    part = "" if block is None else f"parts-{block:09d}/"
    return f"{session:06d}/{part}{first:09d}-{last:09d}.jsonl"


def segments_of(names: Iterable[str]) -> list[Segment]:
    """Those of the newest session that has the beginning of the journal; none when there is no journal."""
    found = [
        Segment(int(match[1]), int(match[2]), int(match[3]), name)
        for name in names
        if (match := _NAME.fullmatch(name)) is not None
    ]
    newest = max((segment.session for segment in found if segment.first == 0), default=None)
    return sorted(segment for segment in found if segment.session == newest)


@dataclass(frozen=True, slots=True)
class RemoteLog:
    """All whole lines of a journal, and the session that wrote the last of them; no lines when there is no journal."""

    session: int
    lines: list[bytes]

    def entries(self, where: object, known: Iterable[JournalEntry] = ()) -> list[JournalEntry]:
        """The entries, checked. known: as of `decoded`.

        Raises: UserError naming `where` when one is damaged, out of sequence, or of a newer version.
        """
        return _decoded(self.lines, where, known=known)


def read_log(study: RemoteFolder) -> RemoteLog:
    """The journal as it is now, also while it is written to.

    Raises: UserError when segments are missing or damaged; StorageError.
    """
    folder, problem = study / FOLDER_NAME, ""
    for _ in range(READ_ATTEMPTS):
        segments = segments_of(folder.sizes())
        if not segments:
            return RemoteLog(0, [])
        try:
            lines = _lines(folder, segments)
        except FileNotFoundError:
            continue  # put together into a larger one since it was listed
        if len(lines) > segments[-1].last or len(lines) == segments[-1].first:  # a torn last one was never acknowledged
            return RemoteLog(segments[0].session, lines)
        problem = f"entry {len(lines)} is in none that is whole, while later ones are there"
    raise UserError(
        f"`the segments of a journal must follow on one another`, but in {folder} {problem or 'they do not'}"
    )


def _lines(folder: RemoteFolder, segments: Sequence[Segment]) -> list[bytes]:
    """Lines of the longest segments that follow on one another, from entry 0 on, as far as they are whole.

    Raises: UserError naming the entry where a segment is damaged, and no other one has it.
    """
    contents = _contents(folder, segments)
    lines: list[bytes] = []
    while True:
        candidates = sorted((s for s in segments if s.first == len(lines)), key=lambda s: -s.last)
        damaged: list[tuple[Segment, list[bytes]]] = []
        for segment in candidates:
            content = contents[segment.name] if segment.name in contents else folder.read(segment.name)
            *found, rest = content.split(b"\n")
            if not rest and len(found) == segment.n_entries and all(map(is_unchanged, found)):
                lines += [line + b"\n" for line in found]
                break
            if not _is_torn(found, rest, segment):
                damaged.append((segment, [*found, rest] if rest else found))
        else:
            for segment, found in damaged:
                _decoded(found, folder / segment.name, first=segment.first)
            return lines


def _decoded(
    lines: Iterable[bytes], where: object, *, first: int = 0, known: Iterable[JournalEntry] = ()
) -> list[JournalEntry]:
    return list(decoded(lines, where=lambda number: f"{where}, entry {number}", first=first, known=known))


def _is_torn(lines: Sequence[bytes], rest: bytes, segment: Segment) -> bool:
    """Whether its writer died while it was put, on a storage that shows parts of objects; not acknowledged then.

    rest: what follows the last newline; whole but for its newline it is damaged, not torn.
    """
    is_part = bool(rest) and len(lines) < segment.n_entries
    return is_part and all(map(is_unchanged, lines)) and not is_whole(rest[:-1])


def _contents(folder: RemoteFolder, segments: Sequence[Segment]) -> dict[str, bytes]:
    """Contents of those that are read when all are whole."""
    longest: dict[int, Segment] = {}
    for segment in segments:  # in order of `last`, so that the longest stays
        longest[segment.first] = segment
    names, at = [], 0
    while at in longest:
        names.append(longest[at].name)
        at = longest[at].last + 1
    return dict(zip(names, folder.read_all(names), strict=True))


class SegmentWriter:
    """Writes the segments of one session; whether it may is the lease's to know."""

    def __init__(self, study: RemoteFolder, session: int, lines: list[bytes]) -> None:
        """lines: all whole ones so far; they are the beginning of this session."""
        self._folder = study / FOLDER_NAME
        self._hasty = replace(self._folder, patience_seconds=0.0)
        self._session = session
        self._lines = list(lines)
        self._start = self._rolled = len(lines)

    @property
    def n_entries(self) -> int:
        """Events that are on the storage."""
        return len(self._lines)

    @property
    def lines(self) -> list[bytes]:
        """What this session put."""
        return self._lines[self._start :]

    def begin(self) -> None:
        """Put all entries so far under this session's number, then delete the older sessions.

        Raises: StorageError.
        """
        if not self._lines:
            return
        self._folder.write(segment_name(self._session, 0, len(self._lines) - 1), b"".join(self._lines))
        older = {name.partition("/")[0] for name in self._folder.sizes()} - {f"{self._session:06d}"}
        for session in sorted(older):
            (self._folder / session).delete_all()

    def put(self, line: bytes, *, once: bool = False) -> None:
        """Put the next entry; it is on the storage when this returns.

        once: do not ask a silent storage again.
        Raises: StorageError; a later try of this or another entry then takes its place.
        """
        seq = len(self._lines)
        block = seq - (seq - self._start) % BLOCK_ENTRIES
        folder = self._hasty if once else self._folder
        folder.write(segment_name(self._session, seq, seq, block=block if seq else None), line)
        self._lines.append(line)

    def roll_up(self) -> None:
        """Put whole blocks together and delete their parts; may run beside `put`. What fails is done the next time."""
        while len(self._lines) - self._rolled >= BLOCK_ENTRIES:
            first, last = self._rolled, self._rolled + BLOCK_ENTRIES - 1
            try:
                self._hasty.write(segment_name(self._session, first, last), b"".join(self._lines[first : last + 1]))
                (self._hasty / f"{self._session:06d}" / f"parts-{first:09d}").delete_all()
            except StorageError:
                return
            self._rolled += BLOCK_ENTRIES
