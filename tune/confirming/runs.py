"""The runs that confirm a study's best configurations: each of them and the default on the same folds and seeds.

Like the search's decisions a pure function of the journal. What happens to a run is told by the entries of a trial,
each in the envelope `Confirming`.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from trainable.failure import FailureKind
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from tune.confirming.planned_runs import Configuration, Plan
from tune.decisions.trial_entries import TrialEntries, kept_nowhere
from tune.decisions.trial_record import Ask, TrialRecord
from tune.decisions.verdicts import completion
from tune.journal.entries import (
    Confirmable,
    Confirming,
    EntryWriter,
    JournalEntry,
    PlanMade,
    TrialAsked,
    TrialEntry,
    VerdictReached,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One configuration on one fold with one seed. record: its state; not to be changed.

    is_again: whether an earlier session's run of the same failed, so that it was asked for once more.
    """

    name: str
    fold: int
    seed: int
    record: TrialRecord
    is_again: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether it did, or has not ended and the one before it did."""
        return self.record.state == "failed" or (self.is_again and not self.record.is_told)

    @property
    def has_diverged(self) -> bool:
        """Whether it failed by its configuration, seed and data alone: it would again, since results are the same."""
        error = self.record.error
        return self.record.state == "failed" and (error is None or error.kind is FailureKind.DIVERGED)

    def __str__(self) -> str:
        return f"{self.record.trial_id} ({self.name}, fold {self.fold}, seed {self.seed})"


class Confirmation(TrialEntries):
    """Hands out the runs of the latest plan, takes in their results; a run of an earlier plan is not repeated.

    Of runs of the same configuration, fold and seed, which there are where one failed, the latest counts.
    """

    def __init__(self, *, on_entry: EntryWriter | None = None) -> None:
        """on_entry: `Journal.append`; without it, entries are kept nowhere."""
        self.plan: Plan | None = None
        self._emit: EntryWriter = kept_nowhere if on_entry is None else on_entry
        self._runs: dict[str, Run] = {}
        self._run_of_cell: dict[tuple[str, int, int], Run] = {}

    @classmethod
    def replay(cls, entries: Iterable[JournalEntry], *, on_entry: EntryWriter | None = None) -> "Confirmation":
        """The state that a journal's entries add up to; with `on_entry`, what was left open is told now."""
        confirmation = cls(on_entry=on_entry)
        for entry in entries:
            confirmation.apply(entry)
        if on_entry is not None:
            for run in list(confirmation._runs.values()):
                confirmation._advance(run.record)
        return confirmation

    def begin(self, plan: Plan) -> None:
        """Make this the plan; writes nothing when it is already."""
        if self.plan != plan:
            self._write(PlanMade(plan=asdict(plan)))

    def conclude(self, result: JsonObject) -> None:
        """Write down the verdict."""
        self._write(VerdictReached(result=dict(result)))

    def ask(self) -> Ask | None:
        """The next run; None when all of the plan's were asked for."""
        missing = next((cell for cell in self._cells() if self._run_of(*cell) is None), None)
        if missing is None or self.stop_reason is not None:
            return None
        return self._ask_of(self._ask_for(*missing))

    def ask_again(self) -> list[Run]:
        """Ask once more, from their first epoch on, for runs that failed; they are `unfinished` then.

        For the beginning of a session: a user may have mended the cause. Returns the runs that failed.
        """
        failed = self.mendable()
        cells = {(run.name, run.fold, run.seed) for run in failed}
        for configuration, fold, seed in self._cells():
            if (configuration.name, fold, seed) in cells:
                self._ask_for(configuration, fold, seed)
        return failed

    def mendable(self) -> list[Run]:
        """Runs of the plan that failed, but for those that diverged."""
        return [run for run in self.runs() if run.record.state == "failed" and not run.has_diverged]

    def _ask_for(self, configuration: Configuration, fold: int, seed: int) -> TrialRecord:
        number = len(self._runs)
        run_id = f"c{number:04d}"
        self._write(
            TrialAsked(
                trial=run_id,
                number=number,
                origin=f"confirm:{configuration.name}",
                exempt=True,
                values=None,
                config=configuration.config,
                seed=seed,
                fold=fold,
            )
        )
        return self._record(run_id)

    def unfinished(self) -> list[Ask]:
        """Runs of the plan that were asked for and not told, in order."""
        return [self._ask_of(run.record) for run in self.runs() if not run.record.is_told]

    def first_trials_all_failed(self, n: int) -> bool:
        """Whether the first n runs all failed."""
        ends = [run.record.state for run in self.runs() if run.record.is_told]
        return len(ends) >= n and all(state == "failed" for state in ends[:n])

    def runs(self) -> list[Run]:
        """Those of the plan so far, in its order, named as it names them."""
        found = ((cell[0].name, self._run_of(*cell)) for cell in self._cells())
        return [replace(run, name=name) for name, run in found if run is not None]

    def run(self, trial_id: str) -> Run:
        """One run, also of an earlier plan."""
        return self._runs[trial_id]

    def trials(self) -> list[TrialRecord]:
        """The plan's runs so far."""
        return [run.record for run in self.runs()]

    def best(self) -> None:
        """There is no best run: scores on different folds are not to be ranked."""

    @property
    def n_queued(self) -> int:
        """Runs still to be asked for."""
        return self.n_wanted - len(self.runs())

    @property
    def n_wanted(self) -> int:
        """Runs of the plan."""
        return sum(1 for _ in self._cells())

    @property
    def n_ended(self) -> int:
        """Runs of the plan that have ended."""
        return sum(run.record.is_told for run in self.runs())

    @property
    def n_epochs_left(self) -> int:
        """Epochs of the plan's runs that are still to be trained."""
        left = 0
        for configuration, fold, seed in self._cells():
            run = self._run_of(configuration, fold, seed)
            if run is None or not run.record.is_told:
                left += configuration.n_epochs - (0 if run is None else run.record.epoch)
        return left

    def planned_epochs(self, run: Run) -> int:
        """How many a run trains."""
        planned = self.plan.configurations if self.plan is not None else ()
        return next((c.n_epochs for c in planned if c.name == run.name), run.record.max_epochs)

    @property
    def is_complete(self) -> bool:
        """Whether every run of the plan has ended."""
        return self.n_ended == self.n_wanted

    def apply(self, entry: JournalEntry) -> None:
        """Take in one entry of the journal; those of the search are passed over."""
        if not isinstance(entry, Confirming):
            return
        match entry.of:
            case PlanMade(plan=plan):
                self.plan = Plan.from_dict(plan)
            case TrialAsked() as asked:
                self._begin(asked)
            case TrialEntry() as of:
                self._runs[of.trial].record.apply(of)

    def _begin(self, asked: TrialAsked) -> None:
        assert asked.fold is not None
        assert asked.seed is not None
        name, record = asked.origin.partition(":")[2], TrialRecord.from_ask(asked)
        cell = _key(asked.config), asked.fold, asked.seed
        run = Run(name=name, fold=asked.fold, seed=asked.seed, record=record, is_again=cell in self._run_of_cell)
        self._runs[record.trial_id] = self._run_of_cell[cell] = run

    def _cells(self) -> Iterator[tuple[Configuration, int, int]]:
        return iter(()) if self.plan is None else self.plan.cells()

    def _run_of(self, configuration: Configuration, fold: int, seed: int) -> Run | None:
        return self._run_of_cell.get((_key(configuration.config), fold, seed))

    def _record(self, trial_id: str) -> TrialRecord:
        return self._runs[trial_id].record

    def _ask_of(self, record: TrialRecord) -> Ask:
        return replace(record.to_ask(), fold=self._runs[record.trial_id].fold)

    def _advance(self, record: TrialRecord) -> None:
        if (told := completion(record, at_most=self.planned_epochs(self._runs[record.trial_id]))) is not None:
            self._write(told)

    def _write(self, of: Confirmable) -> None:
        self._emit(Confirming(of=of), apply=self.apply)


def complete_cells(runs: Sequence[Run], plan: Plan, *, without: Iterable[str] = ()) -> tuple[list[int], list[int]]:
    """Folds and seeds on which every configuration, but for those left out, has come to its end.

    Of a confirmation that was cut short: all seeds that have every fold, or else the folds of the first seed.
    """
    names = {c.name for c in plan.configurations} - set(without)
    ended = {(run.name, run.fold, run.seed) for run in runs if run.record.state == "completed"}
    whole = {seed: [f for f in plan.folds if all((name, f, seed) in ended for name in names)] for seed in plan.seeds}
    seeds = [seed for seed, folds in whole.items() if len(folds) == len(plan.folds)]
    return (list(plan.folds), seeds) if seeds else (whole[plan.seeds[0]], [plan.seeds[0]])


def fold_data_folder(data_folder: Place, fold: int) -> Place:
    """Where the data of one of the folds lies that a confirmation runs on."""
    return data_folder / f"fold-{fold}"


def _key(config: JsonObject) -> str:
    return json.dumps(config, sort_keys=True)
