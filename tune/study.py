"""A study: its folder, journal and decisions, begun anew or gone on with.

STUDY/
  journal.jsonl   the truth: every event of the search
  study.yaml      what was asked for, to read
  data/           labels, split and the place of the features, as trials read them
  checkpoints/    one folder a trial
  optuna.log      the finished trials for optuna-dashboard, a projection of the journal
"""

import os
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from search_spaces.space import SearchSpace
from trainable.errors import UserError
from tune.decisions import Decisions
from tune.events import Event
from tune.journal import Journal, read_events
from tune.options import SearchOptions, plain_options
from tune.optuna_journal import FILE_NAME as OPTUNA_NAME
from tune.optuna_journal import OptunaJournal
from tune.proposals import starting_queue
from tune.sampler import sampler_description
from tune.tracking_uri import redact
from tune.versions import git_commit, library_versions, user_name

if TYPE_CHECKING:
    from tune.command_line import Given
    from tune.study_data import StudyData

FIXED = (
    "data", "backbone", "skip_bad_images", "space", "epochs", "grace_epochs", "reduction_factor",
    "holdout", "fold", "seed", "no_variants", "study",
)  # fmt: skip
"""Options that a study keeps for life: results before and after a change would not compare."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """An open study; only one process at a time has it open.

    past: the events before this session.
    """

    folder: Path
    journal: Journal
    decisions: Decisions
    past: tuple[Event, ...]

    @property
    def study_id(self) -> str:
        """The folder's name when the study began."""
        return str(self.past[0]["study_id"])

    def end(self, reason: str) -> None:
        """Record why this session's work ended."""
        self.journal.append("end", reason=reason)

    def events(self) -> list[Event]:
        """Everything so far."""
        return read_events(self.folder)


def make_header(
    options: SearchOptions, space: SearchSpace, data: "StudyData", backbone_fingerprint: str
) -> dict[str, Any]:
    """All that a study is made of, as plain values; the first event of its journal."""
    split = data.split
    kept = {name: value for name, value in plain_options(options).items() if name not in ("resume", "json")}
    if options.tracking_uri is not None and redact(options.tracking_uri) != options.tracking_uri:
        kept["tracking_uri"] = None  # it holds a password: given anew at a resume
    return {
        "options": kept,
        "space": space.to_dict(),
        "data_fingerprint": data.specimens.fingerprint,
        "backbone_fingerprint": backbone_fingerprint,
        "held_out_sites": list(split.held_out_sites),
        "held_out_domains": [int(domain) for domain in split.held_out_domains],
        "n_leaked_events": int(split.n_leaked_events),
        "seed": options.seed,
        "n_trials": options.trials,
        "max_epochs": options.epochs,
        "grace_epochs": options.grace,
        "reduction_factor": options.reduction_factor,
        "sampler": sampler_description(),
        "queue": [] if options.no_variants else starting_queue(space, options.epochs),
        "versions": library_versions(),
        "git_commit": git_commit(),
        "user": user_name(),
    }


@contextmanager
def open_study(
    options: SearchOptions,
    space: SearchSpace,
    data: "StudyData",
    backbone_fingerprint: str,
    notify: Callable[[str], None],
) -> Iterator[Study]:
    """The study that these options begin, or go on with (`resume`), locked until the end of the block.

    Raises: UserError when the folder holds a study already, when another process works on it, or when what is to be
    gone on with was made from another space, dataset or backbone.
    """
    header = make_header(options, space, data, backbone_fingerprint)
    if options.resume is None:
        Decisions(space, header)  # what cannot be decided on is refused before a folder is made
        journal = _begin(options, header, data)
    else:
        journal = Journal.open(options.resume, notify=notify)
    with journal:
        past = tuple(read_events(journal.folder))
        if options.resume is not None:
            _refuse_changes(past[0]["header"], header)
        decisions = Decisions.replay(space, past, on_event=journal.append)
        projection = OptunaJournal(journal.folder / OPTUNA_NAME, space, read_events(journal.folder), notify=notify)
        journal.subscribe(projection.handle)
        decisions.begin_session(
            n_trials=options.trials,
            executor="local" if options.local else "ray",
            host=socket.gethostname(),
            pid=os.getpid(),
            versions=header["versions"],
            time_budget=options.time_budget,
        )
        yield Study(folder=journal.folder, journal=journal, decisions=decisions, past=past)


def resume_options(given: "Given") -> SearchOptions:
    """The options of a study that is gone on with: its own, and what may be given anew.

    Raises: UserError naming every given option that a study keeps for life.
    """
    folder = Path(given.values["resume"])
    header = read_events(folder)[0]["header"]
    kept = {name: value for name, value in header["options"].items() if value is not None}
    for name in ("cache", "study"):
        if name in kept:
            kept[name] = Path(kept[name])
    problems = [
        f"`--{name.replace('_', '-')}` must stay {kept.get(name)} in the study {folder}, "
        f"but got {given.values[name]}; begin a new study for another"
        for name in FIXED
        if name in given.values and given.values[name] != kept.get(name)
    ]
    if problems:
        raise UserError(problems)
    options: SearchOptions = given.options(**kept)
    return options


def _begin(options: SearchOptions, header: Mapping[str, Any], data: "StudyData") -> Journal:
    assert options.study is not None
    folder = options.study.absolute()
    journal = Journal.create(folder, dict(header), study_id=folder.name)
    (folder / "study.yaml").write_text(yaml.safe_dump(dict(header), sort_keys=False), encoding="utf-8")
    journal.append("floors", floors=data.floors)
    return journal


def _refuse_changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    problems = [
        f"`{name.replace('_', ' ')}` must be that of the study, {then[name]}, but is now {now[name]}"
        for name in ("data_fingerprint", "backbone_fingerprint")
        if then[name] != now[name]
    ]
    problems += [f"the search space must be that of the study, but {line}" for line in _differences(then, now)]
    if problems:
        raise UserError([*problems, "begin a new study for what changed"])


def _differences(then: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    before, after = _leaves(then["space"]), _leaves(now["space"])
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name} was {before.get(name, 'absent')} and is {after.get(name, 'absent')}"
        for name in names
        if before.get(name) != after.get(name)
    ]


def _leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for name, child in value.items() for k, v in _leaves(child, f"{prefix}{name}: ").items()}
    return {prefix.removesuffix(": "): list(value) if isinstance(value, list | tuple) else value}
