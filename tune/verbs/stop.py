"""End a search that a process works on, in order as its own Ctrl-C does, or one of its trials.

sentinel-tune stop STUDY [TRIAL] [--json]
"""

from trainable.errors import UserError
from tune.command_line.options import StopOptions
from tune.command_line.parsing import Given
from tune.decisions.standings import Standings
from tune.journal.entries import JournalEntry
from tune.journal.journal import owner_of, read_entries
from tune.journal.requests import latest_session, leave_request, new_request
from tune.printed.next_command import next_command
from tune.report.console import Console


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0.

    Raises: UserError when there is nothing to stop.
    """
    options: StopOptions = given.options()
    is_running = owner_of(options.study) is not None
    entries = read_entries(options.study)
    if options.trial is None:
        request, text = new_request("stop", session=_session(options, entries, is_running)), _of_study(options, entries)
    else:
        _check_trial(options.trial, entries)
        request, text = new_request("stop", trial=options.trial), _of_trial(options, entries, is_running)
    leave_request(options.study, request)
    Console(json=options.json).finish(
        text=text, json={"study": str(options.study), "trial": options.trial, "request": request.request}
    )
    return 0


def _session(options: StopOptions, entries: list[JournalEntry], is_running: bool) -> int:
    """Of the process that works on the study."""
    ended = Standings.of(entries).end_reason
    if not is_running or ended is not None:
        reason = "" if ended is None else f"; the last one ended: {ended}"
        raise UserError(f"`stop` needs a study that a process works on, but none works on {options.study}{reason}")
    return latest_session(entries)


def _check_trial(trial: str, entries: list[JournalEntry]) -> None:
    trials = Standings.of(entries).trials
    open_trials = ", ".join(record.trial_id for record in trials.values() if not record.is_told) or "none"
    if trial not in trials:
        raise UserError(f"`TRIAL` must be a trial that has not ended, but got {trial!r}; valid: {open_trials}")
    if trials[trial].is_told:
        raise UserError(
            f"`TRIAL` must be a trial that has not ended, but {trial} is {trials[trial].state}; valid: {open_trials}"
        )


def _of_study(options: StopOptions, entries: list[JournalEntry]) -> str:
    command = next_command("search", resume=options.study, local=Standings.of(entries).is_local)
    return f"{options.study} ends after its running epochs; to go on: {command}"


def _of_trial(options: StopOptions, entries: list[JournalEntry], is_running: bool) -> str:
    if is_running:
        return f"{options.trial} ends after its running epoch"
    command = next_command("search", resume=options.study, local=Standings.of(entries).is_local)
    return f"no process works on {options.study}: {options.trial} ends at the next `{command}`"
