"""How a study is resumed: by which command, and where none is asked for, that it is there."""

from collections.abc import Callable, Iterable
from contextlib import suppress

from trainable.errors import UserError
from trainable.storage.place import Place
from tune.journal.entries import JournalEntry, SessionBegun
from tune.printed.next_command import next_command


def resume_command(folder: Place, read: Callable[[], Iterable[JournalEntry]]) -> str:
    """What searches on, with or without Ray as the last session did.

    read: gives the entries; what is wrong with those of a damaged study the command will say.
    """
    sessions: list[SessionBegun] = []
    with suppress(UserError):
        sessions = [entry for entry in read() if isinstance(entry, SessionBegun)]
    return next_command("search", resume=folder, local=bool(sessions) and sessions[-1].is_local)


def begun_before(folder: Place, journal: Place, read: Callable[[], Iterable[JournalEntry]]) -> str:
    """Why no new study can begin in a folder that holds one; read: as of `resume_command`."""
    return (
        f"`the folder of a new study must be empty of studies`, but {journal} exists; continue it with "
        f"`{resume_command(folder, read)}`, or choose another --study"
    )
