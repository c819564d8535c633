"""What users ask of a study while it runs, taken into its journal by the process that works on it."""

import time
from collections.abc import Callable
from contextlib import suppress

from trainable.errors import UserError
from trainable.storage.remote_folder import RemoteFolder
from tune.journal.entries import StopRequested, TrialEnqueued, TrialStopped
from tune.journal.requests import Request, latest_session, remove_request, waiting_requests, without_patience
from tune.study.study import Study

REMOTE_SECONDS = 10.0
"""Between two looks for requests on object storage, which take a while; a folder is looked at whenever it is asked."""

STOPPED = "stopped by a user"


class Steering:
    """Writes requests into the journal, once each, then removes them; those that cannot be are said and removed."""

    def __init__(
        self,
        study: Study,
        *,
        searches: bool,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """searches: whether trials of the search run; what is asked of these waits meanwhile for the next search.

        say: takes one line for the user.
        """
        self._study = study
        self._searches = searches
        self._say = say
        self._clock = clock
        self._place = without_patience(study.folder)
        self._every = REMOTE_SECONDS if isinstance(study.folder, RemoteFolder) else 0.0
        self._last_look = float("-inf")
        entries = study.entries()
        self._session = latest_session(entries)
        self._done = {e.request for e in entries if isinstance(e, TrialEnqueued | StopRequested | TrialStopped)}

    def heed(self) -> str | None:
        """Take in what was asked for since the last look; why the session is to end, None while it is not.

        Raises: StudyWriteError when the journal cannot be written; the request then stays for the next session.
        """
        now = self._clock()
        if now - self._last_look < self._every:
            return None
        self._last_look = now
        try:
            requests = waiting_requests(self._place)
        except OSError:  # a storage that does not answer is the next look's, or the journal's, to tell
            return None
        is_stopped = False
        for request in requests:
            if request.request not in self._done:
                if not (self._searches or _is_of_session(request)):
                    continue
                is_stopped = self._take(request) or is_stopped
                self._done.add(request.request)
            with suppress(OSError):  # the journal has it
                remove_request(self._place, request)
        return STOPPED if is_stopped else None

    def _take(self, request: Request) -> bool:
        """Write it down; whether the session is to end."""
        if _is_of_session(request):
            if request.session != self._session:
                return False  # of a session that ended before it heard of it
            self._study.journal.append(StopRequested(request=request.request))
            self._say("a user asked to stop: finishing the running epochs, then writing up")
            return True
        decisions = self._study.decisions
        if request.values is not None:
            try:
                decisions.enqueue(request.values, request=request.request)
            except UserError as error:
                self._say(f"what a user enqueued is left out: {error}")
            else:
                self._say("a user enqueued a configuration: it runs next")
        elif request.trial not in decisions.standings.trials or decisions.is_told(request.trial):
            self._say(f"a user asked to stop {request.trial}, which has ended or was never begun")
        else:
            decisions.stop_trial(request.trial, request=request.request)
            self._say(f"{request.trial} is stopped, as a user asked")
        return False


def _is_of_session(request: Request) -> bool:
    return request.kind == "stop" and request.trial is None
