"""The entries of a study's journal: one frozen type a kind. `lines.py` turns them into lines and back.

The order of a type's fields is their order on the line. What a trial goes through is told by the same types for the
search and for a confirmation; those of the latter come in a `Confirming`.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeVar, get_args

from trainable.failure import FailureKind
from trainable.plain_values import JsonObject

Action = Literal["continue", "stop"]
ToldState = Literal["completed", "pruned", "failed"]

STATES: tuple[ToldState, ...] = get_args(ToldState)
"""In which a trial can be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalEntry:
    """What all kinds have, given by the journal that writes them. seq: counts from 0. time: unix seconds."""

    seq: int = -1
    time: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class StudyBegun(JournalEntry):
    """The first entry: all that the study is made of."""

    study_id: str = ""
    header: JsonObject = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionBegun(JournalEntry):
    """A process begins to work on the study.

    n_trials: the budget from now on, all trials together; None where it stays. given: options given now that hold for
    later sessions, too. queue: what runs before the sampler's next proposal, as in the header.
    """

    n_trials: int | None = None
    executor: str | None = None
    device: str | None = None
    precision: str | None = None
    host: str | None = None
    pid: int | None = None
    versions: dict[str, str] | None = None
    time_budget: float | None = None
    given: JsonObject = field(default_factory=dict)
    queue: list[JsonObject] = field(default_factory=list)

    @property
    def is_local(self) -> bool:
        """Whether it does without Ray."""
        return self.executor == "local"


@dataclass(frozen=True, slots=True, kw_only=True)
class FloorsMeasured(JournalEntry):
    """floors: name -> metric -> value of what is predicted without looking at images."""

    floors: dict[str, dict[str, float]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionEnded(JournalEntry):
    """Why a process's work on the study ended. state: "completed", "interrupted", "failed"; empty of old ones."""

    reason: str = ""
    state: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEnqueued(JournalEntry):
    """A configuration of the space that a user asked for while the study was there; it adds one trial to the budget.

    request: as of a `Request`. values: the sampler's flat values.
    """

    request: str
    values: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class StopRequested(JournalEntry):
    """A user asked for the end of this session, as by a signal; a later one goes on. request: as of a `Request`."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialEntry(JournalEntry):
    """Something that happened to a trial. trial: its id."""

    trial: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialAsked(TrialEntry):
    """A trial is to be run. Fields as of `TrialRecord`; fold: of a run that confirms."""

    number: int
    origin: str
    exempt: bool
    values: JsonObject | None
    config: JsonObject
    seed: int | None = None
    fold: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointWritten(TrialEntry):
    """A checkpoint is there; it comes before the report of its epoch."""

    epoch: int = 0
    path: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EpochReported(TrialEntry):
    """The metrics of an epoch, which counts from 1."""

    epoch: int
    metrics: dict[str, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class RungDecided(TrialEntry):
    """Whether a trial goes on. rung: None where the score is not finite beyond the last one. value, cut, n: as of a
    `Judgement`.
    """

    epoch: int
    action: Action
    rung: int | None
    value: float
    cut: float | None = None
    n: int | None = None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRaised(TrialEntry):
    """A trial ended by an exception, after that epoch. Other fields as of a `Failure`."""

    epoch: int
    type: str
    message: str
    traceback_tail: str = ""
    node: str = ""
    kind: FailureKind


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialRetried(TrialEntry):
    """A trial is run on. config: with which from now on; None for the same. blameless: it was not the cause."""

    reason: str
    attempt: int
    config: JsonObject | None
    blameless: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialPaused(TrialEntry):
    """A trial was interrupted, and goes on with the study."""

    epoch: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialStopped(TrialEntry):
    """A user asked for a trial's end. request: as of a `Request`."""

    request: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TrialTold(TrialEntry):
    """A trial has its final state. value, epoch: of its best finite score."""

    state: ToldState
    value: float | None
    epoch: int | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanMade(JournalEntry):
    """What a confirmation runs: a `Plan` as plain values."""

    plan: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class VerdictReached(JournalEntry):
    """What a confirmation found: a `Confirmed` as plain values."""

    result: JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherEntry(JournalEntry):
    """A kind that nothing here follows from; it stays in the journal and is passed over."""

    kind: str
    fields: Mapping[str, object] = field(default_factory=dict)


Confirmable = PlanMade | VerdictReached | TrialEntry | OtherEntry
"""What a confirmation writes down."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirming(JournalEntry):
    """The envelope of a confirmation, so that readers of the search pass over it: its scores are of other held-out
    events, and must not be ranked among the trials'. of: has the envelope's `seq` and `time`.
    """

    of: Confirmable


@dataclass(frozen=True, slots=True, kw_only=True)
class UnusableEntry(JournalEntry):
    """A line that is whole and says too little, or what cannot be. kind: as it says, behind that of its envelope."""

    kind: str
    trial: str | None
    reason: str


Kind = TypeVar("Kind", bound=JournalEntry)


class EntryWriter(Protocol):
    """`Journal.append`: returns the entry as a reader will see it.

    Whoever's state it changes is `apply`; that hears of it before anybody else does.
    """

    def __call__(self, entry: Kind, *, apply: Callable[[Kind], None] | None = None) -> Kind: ...


def study_of(entries: Sequence[JournalEntry]) -> StudyBegun:
    """The first entry of a whole journal."""
    return begun(entries[:1])[0]


def begun(entries: Iterable[JournalEntry]) -> tuple[StudyBegun, list[JournalEntry]]:
    """The first entry of a whole journal, and the others."""
    first, *others = entries
    assert isinstance(first, StudyBegun)
    return first, others
