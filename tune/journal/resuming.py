"""How a study is gone on with: by which command, and where none is asked for, that it is there."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from trainable.errors import UserError
from trainable.storage.place import Place
from tune.journal.entries import JournalEntry, SessionBegun
from tune.printed.next_command import next_command


def was_local(entries: Iterable[JournalEntry]) -> bool:
    """Whether the last session did without Ray."""
    return [entry.is_local for entry in entries if isinstance(entry, SessionBegun)][-1:] == [True]


def begun_before(folder: Place, journal: Place, read: Callable[[], Iterable[JournalEntry]]) -> str:
    """Why no new study can begin in a folder that holds one, and the command that goes on with that.

    read: gives its entries; those of a damaged one the command will name.
    """
    local = False
    with suppress(UserError):
        local = was_local(read())
    return (
        f"`the folder of a new study must be empty of studies`, but {journal} exists; continue it with "
        f"`{next_command('search', resume=folder, local=local)}`, or choose another --study"
    )
