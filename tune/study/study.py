"""A study: its folder, journal and decisions, begun or resumed.

STUDY/
  journal.jsonl   the truth: every entry of the search; on object storage journal/, its segments
  study.yaml      what was asked for, to read
  data/           labels, split and the place of the features, as trials read them
  checkpoints/    one folder a trial
  requests/       what users asked for meanwhile, until it is in the journal
  logs/           what libraries said, if anything
  optuna.log      the finished trials for optuna-dashboard, a projection of the journal

A process may be killed between any two of these: whatever a resume does not find, it writes.
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml

from trainable.collector import collector_paused
from trainable.plain_values import JsonObject
from trainable.storage.place import Place, read_file, write_file
from tune.command_line.declaration import names_kept
from tune.command_line.options import SearchOptions, plain_options
from tune.decisions.decisions import Decisions
from tune.decisions.ends import EndState
from tune.decisions.plateau import noise_queue
from tune.decisions.proposals import starting_queue
from tune.decisions.sampler import sampler_description
from tune.decisions.warm_start import warm_start
from tune.extraction.request import Features
from tune.journal.entries import FloorsMeasured, JournalEntry, SessionBegun, SessionEnded, study_of
from tune.journal.errors import not_writable
from tune.journal.journal import Journal
from tune.journal.study_task import task_in_header
from tune.printed.secrets_left_out import redact
from tune.study.new_folder import claim_folder
from tune.study.optuna_journal import optuna_projection
from tune.study.search_request import SearchRequest
from tune.study.study_data import StudyData, held_out
from tune.tracking.versions import git_commit, library_versions, user_name

SUMMARY_NAME = "study.yaml"


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An open study; only one process at a time has it open.

    past: the entries before this session.
    """

    folder: Place
    journal: Journal
    decisions: Decisions
    past: tuple[JournalEntry, ...]

    @property
    def study_id(self) -> str:
        """The folder's name when the study began."""
        return study_of(self.past).study_id

    @property
    def header(self) -> JsonObject:
        """All that it is made of."""
        return study_of(self.past).header

    def end(self, reason: str, state: EndState) -> None:
        """Record why this session's work ended."""
        self.journal.append(SessionEnded(reason=reason, state=state))

    def entries(self) -> list[JournalEntry]:
        """Everything so far."""
        return self.journal.entries()


def make_header(
    request: SearchRequest,
    data: StudyData,
    features: Features,
    tracking_uri: str,
    say: Callable[[str], None],
) -> JsonObject:
    """All that a study is made of, as plain values; the first entry of its journal.

    Raises: UserError, also when a study of `--warm-start` cannot be read.
    """
    options, space = request.options, request.space
    passing = names_kept(SearchOptions, "for one session")
    kept = {name: value for name, value in plain_options(options).items() if name not in passing}
    kept |= {"grace_epochs": options.grace, "patience": options.patience_epochs}
    kept["tracking_uri"] = tracking_uri if redact(tracking_uri) == tracking_uri else None  # a password is not kept
    header = {
        "options": kept,
        "given": sorted(request.given),
        **task_in_header(data.specimens.task),
        "space": space.to_dict(),
        "data_fingerprint": data.specimens.fingerprint,
        "n_specimens": len(data.specimens.frame),
        "backbone_fingerprint": features.backbone_fingerprint,
        "features_key": features.path.name,
        **held_out(data),
        "n_leaked_events": sum(int(split.n_leaked_events) for split in data.splits),
        "seed": options.seed,
        "n_trials": options.trials,
        "max_epochs": options.epochs,
        "grace_epochs": options.grace,
        "reduction_factor": options.reduction_factor,
        "patience": options.patience_epochs,
        "sampler": sampler_description(),
        "queue": [] if options.no_variants else starting_queue(space, options.epochs, in_full=options.variants_in_full),
        "versions": library_versions(),
        "git_commit": git_commit(),
        "user": user_name(),
    }
    return header | warm_start(options.warm_start, space, header, say)


@contextmanager
def open_study(
    request: SearchRequest,
    data: StudyData,
    features: Features,
    tracking_uri: str,
    say: Callable[[str], None],
    *,
    device: str,
) -> Iterator[Study]:
    """The study that is to be begun or resumed, locked until the end of the block.

    device: "cpu" or "cuda", on which trials run in this session.
    Raises: UserError when the folder holds a study already, when another process works on it, or when what is to be
    resumed was made from another dataset or backbone.
    """
    if request.is_resume:
        check_data(request, data)
        request.check_same("backbone_fingerprint", of="backbone", now=features.backbone_fingerprint)
        journal = Journal.open(request.folder, say=say, known=request.past)
    else:
        header = make_header(request, data, features, tracking_uri, say)
        Decisions(request.space, header)  # what cannot be decided on is refused before a folder is made
        folder = request.folder.absolute()
        if not request.is_named and isinstance(folder, Path):
            folder = claim_folder(folder)
        journal = Journal.create(folder, header, study_id=folder.name)
    with journal, ExitStack() as closing:
        with written_or_told(journal.folder), collector_paused():
            past = _complete(journal, data)
            decisions = Decisions.replay(request.space, past, on_entry=journal.append)
        projection = optuna_projection(journal.folder, request.space, journal.entries(), say=say)
        with collector_paused():
            optuna_log = closing.enter_context(projection)
        journal.subscribe(optuna_log.handle, name="optuna.log")
        decisions.begin_session(_session(request, past, device))
        yield Study(folder=journal.folder, journal=journal, decisions=decisions, past=past)


def check_data(request: SearchRequest, data: StudyData) -> None:
    """Raises: UserError if a resumed study was begun with other data, or with other events held out of it."""
    request.check_same("data_fingerprint", of="data", now=data.specimens.fingerprint)
    for name, groups in held_out(data).items():
        request.check_same(name, of="holdout", now=groups)


@contextmanager
def written_or_told(folder: Place) -> Iterator[None]:
    """Within the block, what the disk or storage does not take is the user's to know.

    Raises: StudyWriteError for an OSError.
    """
    try:
        yield
    except OSError as error:
        raise not_writable(folder, str(error.strerror or error)) from error


def _complete(journal: Journal, data: StudyData) -> tuple[JournalEntry, ...]:
    """The entries so far, once all that belongs to the beginning of a study is written."""
    past = journal.entries()
    if not _has_summary(journal.folder):
        _write_summary(journal.folder, study_of(past).header)
    if not any(isinstance(entry, FloorsMeasured) for entry in past):
        past.append(journal.append(FloorsMeasured(floors=data.floors)))
    return tuple(past)


def _has_summary(folder: Place) -> bool:
    try:
        return bool(read_file(folder, SUMMARY_NAME))
    except FileNotFoundError:
        return False


def _write_summary(folder: Place, header: Mapping[str, object]) -> None:
    write_file(folder, SUMMARY_NAME, yaml.safe_dump(dict(header), sort_keys=False).encode())


def _session(request: SearchRequest, past: tuple[JournalEntry, ...], device: str) -> SessionBegun:
    """What begins a process's work; what it queues is run before the sampler's next proposal."""
    from trainable.training.precision import Precision, products_of  # loads torch

    options = request.options
    return SessionBegun(
        n_trials=options.trials,
        executor="local" if options.local else "ray",
        device=device,
        precision=str(Precision(products_of(options.precision, device), device)),
        host=socket.gethostname(),
        pid=os.getpid(),
        versions=library_versions(),
        time_budget=options.time_budget,
        given=dict(request.given),
        queue=noise_queue(past, request.space, options.epochs) if options.plateau else [],
    )
