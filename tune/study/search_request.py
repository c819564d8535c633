"""What a search is asked to do: the options and space of a new study, or of one that is resumed.

At a resume, what a study was given holds until it is given anew. What would make results before and after incomparable
cannot be changed. The rest is taken from the command line as it is; in a `--config` file, which may be meant for
another study, it must be confirmed by `--accept-change`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from search_spaces.space import SearchSpace, list_spaces
from search_spaces.task_space import fit_to_task
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.command_line.declaration import OptionValues, names_kept
from tune.command_line.option_values import parse_value
from tune.command_line.options import SearchOptions, plain_options, plain_value
from tune.command_line.outputs import weights_folder_problem
from tune.command_line.parsing import Given
from tune.confirming.runs import Confirmation
from tune.decisions.standings import Standings
from tune.journal.entries import (
    Confirming,
    JournalEntry,
    SessionBegun,
    SessionEnded,
    TrialAsked,
    TrialEnqueued,
    TrialTold,
    VerdictReached,
    study_of,
)
from tune.journal.journal import certain_owner_of, read_entries
from tune.journal.local_journal import taken_problem
from tune.journal.requests import waiting_requests
from tune.journal.study_task import task_of_study
from tune.printed.next_command import next_command
from tune.printed.secrets_left_out import redact
from tune.report.console import Console
from tune.study.changed_task import changed_task
from tune.study.earlier_studies import learned_from_earlier
from tune.study.kept_options import in_names_of_now
from tune.tracking.uri import check_uri


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchRequest:
    """A search to run.

    given: plain values of the options that were given now and hold for later sessions too. past: the entries of the
    study that is resumed; none for a new one. task: that study's; None for a new one, whose data say. is_named: whether
    the user chose the study's folder; else it is the first of its name that is free.
    """

    options: SearchOptions
    space: SearchSpace
    given: Mapping[str, object]
    past: tuple[JournalEntry, ...] = ()
    task: Task | None = None
    is_named: bool = True

    @property
    def is_resume(self) -> bool:
        """Whether a study is resumed."""
        return bool(self.past)

    @property
    def folder(self) -> Place:
        """The study's folder."""
        chosen = self.options.resume if self.is_resume else self.options.study
        assert chosen is not None
        return chosen

    @property
    def header(self) -> JsonObject:
        """Of the study that is resumed."""
        return study_of(self.past).header

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do: all trials of the budget were told, the best confirmed, and a session said so.

        With other options for confirming than before there may be more to do: `confirming/choice.py` sees.
        """
        if not self.is_resume or not isinstance(self.past[-1], SessionEnded):
            return False
        wanted = self.options.trials + sum(isinstance(entry, TrialEnqueued) for entry in self.past)
        asked = sum(isinstance(entry, TrialAsked) for entry in self.past)
        told = sum(isinstance(entry, TrialTold) for entry in self.past)
        asks_anew = any(name.startswith("confirm_") for name in self.given)
        is_confirmed = self.options.no_confirm or (self._has_verdict and not asks_anew)
        return asked == told >= wanted and is_confirmed and not self._has_enqueued

    @property
    def _has_enqueued(self) -> bool:
        """Whether a user asked for a configuration that is not in the journal yet."""
        return any(request.values is not None for request in waiting_requests(self.folder))

    @property
    def _has_verdict(self) -> bool:
        """Whether the last confirmation covers all trials and all of its runs have ended."""
        last_tell = max((entry.seq for entry in self.past if isinstance(entry, TrialTold)), default=-1)
        verdicts = [e.seq for e in self.past if isinstance(e, Confirming) and isinstance(e.of, VerdictReached)]
        return bool(verdicts) and verdicts[-1] > last_tell and Confirmation.replay(self.past).is_complete

    def with_options(self, options: SearchOptions) -> "SearchRequest":
        """The same, once it is known what `--precision` comes to: it is that which the study keeps."""
        given = {name: options.precision if name == "precision" else value for name, value in self.given.items()}
        return replace(self, options=options, given=given)

    def fitted_to(self, task: Task, *, n_folds: int, say: Callable[[str], None]) -> "SearchRequest":
        """The same for data of this task, without what makes no difference there; say: takes a line on that.

        n_folds: that score its trials, as `--search-folds` comes to.

        Raises: UserError if nothing else varies.
        """
        space, line = fit_to_task(self.space, task)
        if line is not None:
            say(line)
        return replace(self, space=space, options=replace(self.options, search_folds=n_folds))

    def check_same(self, name: str, *, of: str, now: object) -> None:
        """Raises: UserError if a resumed study's header has something else than `now` under `name`.

        of: the option that it comes from.
        """
        if not self.is_resume or self.header[name] == now:
            return
        kept = in_names_of_now(self.header["options"], self.header)[of]
        given = plain_options(self.options)[of]
        raise UserError(
            f"`--{of}` must stay {kept} in the study {self.folder}, but its {name.replace('_', ' ')} was "
            f"{self.header[name]} and is {now} (of {given}); begin a new study for it"
        )


def search_request(given: Given) -> SearchRequest:
    """Read what the user wants, and of a study to be resumed all that it was given before.

    Raises: UserError with every option that cannot be, or cannot be changed; also when another process works on it.
    """
    if given.values.get("resume") is not None:
        return _resumed(given)
    options: SearchOptions = given.options(**learned_from_earlier(given))
    is_named = options.study is not None
    if options.study is None:
        name = f"{Path(options.space).stem}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
        options = replace(options, study=Path("studies", name))
    if isinstance(options.study, RemoteFolder):
        options.study.check_usable(what="--study")
    elif options.study is not None:
        problem = weights_folder_problem(options.study, "--study")
        if problem is None and is_named:
            problem = taken_problem(options.study)
        if problem is not None:
            raise UserError(problem)
    space = SearchSpace.load(options.space)
    return SearchRequest(options=options, space=space, given=_lasting(given), is_named=is_named)


def _resumed(given: Given) -> SearchRequest:
    if given.values.get("precision") == "auto":  # what the study has, which need not be what it is on this device
        given = replace(given, values={name: value for name, value in given.values.items() if name != "precision"})
    folder = given.values["resume"].absolute()  # workers have another working folder
    past = tuple(read_entries(folder))
    if (owner := certain_owner_of(folder, say=Console(json=given.values.get("json", False)).say)) is not None:
        raise UserError(f"`one process at a time may write a study`, but {folder} is being written by {owner}")
    kept = _kept(past)
    header = study_of(past).header
    problems = [
        *_changed(given, kept, folder),
        *_unconfirmed(given, kept),
        *_changed_space(given, past, folder),
        *changed_task(given.values, kept, header, folder),
        *_too_few_trials(given, past, folder),
    ]
    if problems:
        raise UserError(problems)
    taken = {name: value for name, value in given.values.items() if name not in ("study", "accept_change")}
    options: SearchOptions = replace(given, values=taken | {"resume": folder}).options(**kept)
    return SearchRequest(
        options=options,
        space=SearchSpace.from_dict(header["space"]),
        given=_lasting(given),
        past=past,
        task=task_of_study(header),
    )


def _kept(past: tuple[JournalEntry, ...]) -> OptionValues:
    """Option -> its value in the study so far; what was never given is not among them and takes today's default."""
    header = study_of(past).header
    lasting = [*names_kept(SearchOptions, "for life", "as the study had it"), *header["given"]]
    found = {name: header["options"].get(name) for name in lasting} | {"trials": header["n_trials"]}
    for entry in past:
        if isinstance(entry, SessionBegun):
            found |= entry.given | {"trials": entry.n_trials}
    found = in_names_of_now(found, header)
    return {name: parse_value(SearchOptions, name, value) for name, value in found.items() if value is not None}


def _changed(given: Given, kept: Mapping[str, object], folder: Place) -> list[str]:
    defaults = SearchOptions()
    problems = [
        f"`--{name.replace('_', '-')}` must stay {_shown(kept.get(name))} in the study {folder}, "
        f"but got {_shown(value)}; begin a new study for it"
        for name, value in given.values.items()
        if name in names_kept(SearchOptions, "for life") and value != kept.get(name, getattr(defaults, name))
    ]
    study = given.values.get("study")
    if study is not None and study.absolute() != folder.absolute():
        problems.append(f"`--study` must be left out or be the folder of `--resume`, {folder}, but got {study}")
    return problems


def _too_few_trials(given: Given, past: tuple[JournalEntry, ...], folder: Place) -> list[str]:
    trials, standings = given.values.get("trials"), Standings.of(past)
    n_asked = standings.n_asked
    if trials is None or trials >= n_asked:
        return []
    return [
        f"`--trials` must be at least {n_asked}, the trials that were begun in the study {folder}, but got {trials}; "
        f"give more than {n_asked} to search on, or leave the search as it is and "
        f"`{next_command('confirm', folder, local=standings.is_local)}`"
    ]


def _unconfirmed(given: Given, kept: Mapping[str, object]) -> list[str]:
    if given.values.get("accept_change"):
        return []
    here = Path.cwd()
    now = {
        name: check_uri(value, cwd=here) if name == "tracking_uri" and value else value
        for name, value in given.values.items()
        if name in given.from_file - names_kept(SearchOptions, "for life", "for one session")
    }
    return [
        f"`{name}` was {_shown(was)} in the study and is {_shown(value)} in the --config file: take that with "
        "--accept-change, or name it on the command line"
        for name, value in sorted(now.items())
        if (was := kept.get(name, getattr(SearchOptions(), name))) != value
    ]


def _changed_space(given: Given, past: tuple[JournalEntry, ...], folder: Place) -> list[str]:
    """A study keeps its space; another one under its name is told of, since whoever changed it may expect it to hold.

    Its file may be gone by now. With `--accept-change` a change of that file, which has no effect, is accepted. A space
    that is built in was changed by nobody who expects anything, but by an update of the program.
    """
    header = study_of(past).header
    is_named = "space" in given.values
    if not is_named and given.values.get("accept_change"):
        return []
    name = given.values["space"] if is_named else header["options"]["space"]
    if not is_named and name in list_spaces():
        return []
    try:
        now, _ = fit_to_task(SearchSpace.load(name), task_of_study(header))
    except UserError as error:
        return list(error.problems) if is_named else []
    differences = SearchSpace.from_dict(header["space"]).differences(now)
    if not differences:
        return []
    remedy = "begin a new study for it" + ("" if is_named else ", or go on with what it was: --accept-change")
    kept = header["options"]["space"]
    problem = f"`--space` must stay {kept} as it was in the study {folder}, but {name} differs now; {remedy}"
    return [problem, *(f"{line} (in the study, now)" for line in differences)]


def _lasting(given: Given) -> JsonObject:
    passing = names_kept(SearchOptions, "for one session")
    values = {name: plain_value(value) for name, value in given.values.items() if name not in passing}
    uri = values.get("tracking_uri")
    if uri is not None and redact(uri) != uri:
        del values["tracking_uri"]  # it holds a password, which must be given anew
    return values


def _shown(value: object) -> str:
    """As users give it: a flag is on or off, what has no value yet is unset."""
    if value is None or isinstance(value, bool):
        return "unset" if value is None else "on" if value else "off"
    return ", ".join(map(str, value)) or "none" if isinstance(value, tuple) else str(value)
