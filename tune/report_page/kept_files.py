"""What is kept of a study beside its records: the page, and its main figures as pictures."""

from trainable.storage.place import Place
from tune.journal.entries import JournalEntry
from tune.report_page.pictures import pictures
from tune.report_page.study_page import report_page
from tune.report_page.view import view_of
from tune.tracking.study_summary import FIGURES, REPORT


def kept_files(folder: Place, entries: list[JournalEntry]) -> dict[str, str | bytes]:
    """Path -> content, of a study that nobody works on."""
    view = view_of(folder, entries, is_running=False)
    return {REPORT: report_page([view])} | {f"{FIGURES}/{name}": png for name, png in pictures(view)}
