"""What a study runs next: its starting points in order, then the sampler's proposals, none of them twice."""

import json
from collections.abc import Iterable
from dataclasses import dataclass

from optuna.trial import FrozenTrial

from search_spaces.space import SearchSpace
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.decisions.sampler import Proposer, Space, sampler_description
from tune.decisions.trial_record import ENQUEUED, SAMPLER, TrialRecord
from tune.journal.entries import TrialAsked

TPE_TRIES = 4
"""Draws from TPE before a proposal that was run already is given up."""

UNIFORM_TRIES = 100
"""Draws from the bare ranges after that; if all were run already, the space is taken to be exhausted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A trial to be, as it will be asked for."""

    origin: str
    exempt: bool
    values: JsonObject | None
    config: JsonObject
    seed: int | None = None

    def asked(self, number: int) -> TrialAsked:
        """The entry that begins it, as the trial of that number."""
        return TrialAsked(
            trial=f"t{number:04d}",
            number=number,
            origin=self.origin,
            exempt=self.exempt,
            values=self.values,
            config=self.config,
            seed=self.seed,
        )


def starting_queue(space: SearchSpace, epochs: int, *, in_full: bool = False) -> list[JsonObject]:
    """The `queue` of a study's header: the space's starting points, and what they are only compared with.

    The first one, the default where the space names it, is never stopped early, so that no search ends worse. The
    others may be, as any trial, unless they are to run `in_full`.
    """
    queue: list[JsonObject] = []
    for point in space.named:
        entry: JsonObject = (
            {"origin": f"start:{point.name}", "values": space.values_of(point.config)}
            if point in space.start_from
            else {"origin": f"compare:{point.name}", "config": point.config.with_epochs(epochs).to_dict()}
        )
        queue.append(entry if in_full or not queue else entry | {"exempt": False})
    return queue


class Proposals:
    """The queue of starting points and the like, and the sampler behind it."""

    def __init__(self, space: Space, header: JsonObject) -> None:
        """Raises: UserError naming every starting point that does not lie in the space, and why."""
        self._space = space
        self._epochs: int = header["max_epochs"]
        self._queue = _checked_queue(space, header.get("queue") or (), self._epochs)
        self._proposer = Proposer(
            space, seed=header["seed"], description=header.get("sampler") or sampler_description()
        )
        self._seen: set[str] = set()
        self._n_begun = 0
        self._n_queued_begun = 0
        for trial in header.get("warm_start") or ():
            self._proposer.add_history(trial)
            self._seen.add(_key(space.config(trial["values"], self._epochs).to_dict()))

    def extend(self, entries: Iterable[JsonObject]) -> None:
        """Queue more of what runs before the sampler's next proposal, in the form of the header's `queue`.

        Raises: UserError as the constructor.
        """
        self._queue = (*self._queue, *_checked_queue(self._space, entries, self._epochs))

    def enqueue(self, values: JsonObject) -> None:
        """Queue what a user asked for, behind what users asked for before and ahead of all else.

        It may be stopped early, as what the sampler proposes.
        Raises: UserError as `config`.
        """
        new = Proposal(origin=ENQUEUED, exempt=False, values=values, config=self.config(values))
        at = self._n_queued_begun + sum(proposal.origin == ENQUEUED for proposal in self.waiting())
        self._queue = (*self._queue[:at], new, *self._queue[at:])

    def config(self, values: JsonObject) -> JsonObject:
        """The configuration of the sampler's values, of a trial's length.

        Raises: UserError naming every value that is missing, out of range, or of no active parameter.
        """
        return self._space.config(values, self._epochs).to_dict()

    def waiting(self) -> tuple[Proposal, ...]:
        """What is queued and not begun, in order."""
        return self._queue[self._n_queued_begun :]

    @property
    def n_queued(self) -> int:
        """Queued and not begun."""
        return len(self._queue) - self._n_queued_begun

    def next(self) -> Proposal | None:
        """The next trial; None when no untried configuration was found. Asking twice gives the same."""
        if self._n_queued_begun < len(self._queue):
            return self._queue[self._n_queued_begun]
        for attempt in range(TPE_TRIES + UNIFORM_TRIES):
            values = self._proposer.propose(self._n_begun, attempt=attempt, uniform=attempt >= TPE_TRIES)
            config = self._space.config(values, self._epochs).to_dict()
            if _key(config) not in self._seen:
                return Proposal(origin=SAMPLER, exempt=False, values=values, config=config)
        return None

    def begin(self, record: TrialRecord) -> None:
        """A trial was asked for."""
        self._n_begun += 1
        self._n_queued_begun += record.origin != SAMPLER
        self._seen.add(_key(record.config))
        if record.values is not None:
            self._proposer.begin(record.trial_id, record.values)

    def tell(self, record: TrialRecord) -> None:
        """A trial ended; comparisons stay unknown to the sampler."""
        if record.values is not None:
            self._proposer.tell(record)

    def sampler_trials(self) -> list[FrozenTrial]:
        """What Optuna was told, earlier studies' trials first; not to be changed."""
        return self._proposer.trials()


def _checked_queue(space: Space, entries: Iterable[JsonObject], epochs: int) -> tuple[Proposal, ...]:
    queue: list[Proposal] = []
    problems: list[str] = []
    for entry in entries:
        values = entry.get("values")
        try:
            config = entry["config"] if values is None else space.config(values, epochs).to_dict()
        except UserError as error:
            problems.extend(f"{entry['origin']}: {problem}" for problem in error.problems)
        else:
            exempt = entry.get("exempt", True)
            queue.append(
                Proposal(origin=entry["origin"], exempt=exempt, values=values, config=config, seed=entry.get("seed"))
            )
    if problems:
        raise UserError(problems)
    return tuple(queue)


def _key(config: JsonObject) -> str:
    return json.dumps(config, sort_keys=True)
