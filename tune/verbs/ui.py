"""MLflow's pages of a study, or of all: a server on this machine alone, until Ctrl-C.

sentinel-tune ui [STUDY] [--port N] [--tracking-uri URI] [--experiment NAME]
"""

import os
import sys
import webbrowser
from contextlib import suppress

from trainable.errors import UserError
from tune.command_line.options import SearchOptions, UiOptions
from tune.command_line.parsing import Given
from tune.journal.entries import study_of
from tune.journal.journal import read_entries
from tune.printed.next_command import next_command
from tune.report.console import Console
from tune.study.kept_options import kept_options
from tune.tracking.client import answered_or_told, open_client
from tune.tracking.saved_view import StudyViews, find_views
from tune.tracking.ui_server import free_port, ui_server
from tune.tracking.uri import chosen_tracking_uri, database_file, ui_page


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0, after a Ctrl-C, too.

    Raises: UserError when there is no study, no database, or the server does not start.
    """
    options: UiOptions = given.options()
    console = Console(json=False)
    entries = [] if options.study is None else read_entries(options.study)
    kept = kept_options(entries) if entries else {}
    uri = chosen_tracking_uri(options.tracking_uri or kept.get("tracking_uri"))
    experiment = options.experiment or kept.get("experiment") or SearchOptions().experiment
    study_id = study_of(entries).study_id if entries else None
    if uri.startswith(("http://", "https://")):
        with suppress(UserError):  # its pages may be open to whoever cannot use its interface
            return _tell(console, uri, _views(uri, experiment, study_id, console, options))
        return _tell(console, uri, None)
    if (file := database_file(uri)) is not None and not file.is_file():
        raise UserError(
            f"the tracking database must exist, but {file} does not; give the --tracking-uri of a search, or "
            f"`{next_command('sync', options.study or 'STUDY')}` writes it from a study"
        )
    port = free_port(options.port)
    if port != options.port:
        console.say(f"port {options.port} is taken, so it is port {port}")
    console.say("starting MLflow's server")
    try:
        with ui_server(uri, port) as server:
            views = _views(uri, experiment, study_id, console, options)
            _tell(console, server.url, views)
            console.say("Ctrl-C ends it")
            _open(_page(server.url, views))
            server.wait()
    except KeyboardInterrupt:
        pass
    return 0


def _views(
    uri: str, experiment: str, study_id: str | None, console: Console, options: UiOptions
) -> StudyViews | None:  # fmt: skip
    if study_id is None:
        return None
    with answered_or_told(uri, "start it, or give another --tracking-uri"):
        views = find_views(open_client(uri), experiment, study_id)
    if views is None:
        then = next_command("sync", options.study)
        console.say(f"the experiment {experiment} holds no run of {study_id}; `{then}` writes them")
    return views


def _page(base: str, views: StudyViews | None) -> str:
    return ui_page(base, None if views is None else views.table)


def _tell(console: Console, base: str, views: StudyViews | None) -> int:
    """The table's address is the result, for a program, too."""
    console.finish(text=_page(base, views), json={})
    sys.stdout.flush()
    if views is not None:
        console.say(f"as charts: {ui_page(base, views.charts)}")
    return 0


def _open(page: str) -> None:
    """On a desktop, in the browser; elsewhere the line that was printed has to do."""
    if sys.platform in ("darwin", "win32") or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(page)
