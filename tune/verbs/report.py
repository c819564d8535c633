"""What studies found, as one HTML page that opens anywhere; also while they run.

sentinel-tune report STUDY [MORE STUDIES] [--output FILE] [--json]

Without --output the file is called by the study's name; one that shows a study of that name elsewhere is not replaced.
"""

import hashlib
from pathlib import Path

from trainable.errors import UserError
from trainable.storage.place import Place
from trainable.whole_file import whole_file
from tune.command_line.options import ReportOptions
from tune.command_line.outputs import file_problem, unwritten, wrote
from tune.command_line.parsing import Given
from tune.evaluation.markup import PAGE_BEGINS
from tune.report.console import Console
from tune.report_page.study_page import report_page
from tune.report_page.view import StudyView, read_view

MOST_NAMED = 4
"""Studies in the name of a file."""

_MARK = "<!-- studies "


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0.

    Raises: UserError naming all folders that hold no study that can be read, or when the file cannot be written.
    """
    options: ReportOptions = given.options()
    file = options.output or _file_for(options.studies)
    if (problem := file_problem(file, "--output", begins=PAGE_BEGINS)) is not None:
        raise UserError(problem)
    views = _views(options.studies)
    mark = _mark(options.studies)
    if options.output is None and _shows_others(file, mark):
        raise UserError(
            f"`--output` must be given, as {file} is there and shows what is called so in another folder; give another "
            "file, or remove that one"
        )
    page = report_page(views) + mark
    try:
        with whole_file(file, in_place=True) as temporary:
            temporary.write_text(page, encoding="utf-8")
    except OSError as error:
        raise unwritten(file, "--output", error) from error
    result = {"studies": [str(study) for study in options.studies], "report": str(file), "bytes": len(page.encode())}
    Console(json=options.json).finish(text=wrote(file), json=result)
    return 0


def _file_for(studies: tuple[Place, ...]) -> Path:
    """One of its own for each study or set of them, so that no report is written over another's."""
    names = [study.resolve().name for study in studies]
    more = [f"and-{len(names) - MOST_NAMED}-more"] if len(names) > MOST_NAMED else []
    return Path(f"report-{'-'.join([*names[:MOST_NAMED], *more])}.html")


def _mark(studies: tuple[Place, ...]) -> str:
    """The last line of a page: tells where the studies are from another place, and does not tell the place."""
    places = "\n".join(str(study.resolve()) for study in studies)
    return f"{_MARK}{hashlib.sha256(places.encode(errors='surrogateescape')).hexdigest()} -->\n"


def _shows_others(file: Path, mark: str) -> bool:
    """Whether the file is a page of studies in other folders; not known of one without a mark, of an earlier version.

    Raises: OSError.
    """
    if not file.is_file():
        return False
    end = file.read_bytes()[-len(mark) :]
    return end.startswith(_MARK.encode()) and end != mark.encode()


def _views(studies: tuple[Place, ...]) -> list[StudyView]:
    views: list[StudyView] = []
    problems: list[str] = []
    for study in studies:
        try:
            views.append(read_view(study))
        except UserError as error:
            problems += error.problems
    if problems:
        raise UserError(problems)
    return views
