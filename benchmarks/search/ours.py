"""The program's own search: `Decisions` behind the `Conductor` that executors drive, in virtual time."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any

from benchmarks.search.problems.problem import Problem, Values
from benchmarks.search.simulator import Started
from trainable.failure import Failure, FailureKind
from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from trainable.storage.place import place_of
from trainable.trial import StepResult, TrialTask
from tune.command_line.options import SearchOptions
from tune.decisions.decisions import Decisions
from tune.decisions.sampler import sampler_description
from tune.execution.conductor import Conductor, TrialResources

NAME = "ours"

WITHOUT_END = 1_000_000
"""Trials; time ends the search."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """What differs from the program's defaults. header: of the study. arguments: of its sampler. starts: names ->
    configurations that come first.
    """

    header: Mapping[str, Any] = field(default_factory=dict)
    arguments: Mapping[str, Any] = field(default_factory=dict)
    starts: Mapping[str, JsonObject] = field(default_factory=dict)


UNCHANGED = Change()


class Ours:
    """Rungs, patience and sampler as `sentinel-tune search` has them for trials of that length."""

    def __init__(self, problem: Problem, seed: int, *, change: Change = UNCHANGED, name: str = NAME) -> None:
        self._name = name
        self.decisions = Decisions(problem.space, _header(problem, seed, change))
        nowhere = place_of("nowhere")
        resources = TrialResources(data_folder=nowhere, study_folder=nowhere, seed=0, device="cpu", n_threads=1)
        self._conductor = Conductor(self.decisions, resources, say=_no_one, clock=lambda: 0.0)

    def start(self) -> Started | None:
        """As an executor asks."""
        task = self._conductor.next_task()
        if self._conductor.error is not None:
            raise self._conductor.error
        if not isinstance(task, TrialTask):
            return None
        values = self.decisions.standings.trials[task.trial_id].values
        assert values is not None  # comparisons are not queued here
        return Started(trial=task.trial_id, values=values, n_known=task.reported_epochs)

    def report(self, trial: str, epoch: int, score: float, *, is_last: bool) -> bool:
        """Every epoch is checkpointed, so a lost trial goes on from its last one."""
        del is_last
        return self._conductor.take(StepResult(trial_id=trial, epoch=epoch, metrics={SCORE: score})) == "continue"

    def diverged(self, trial: str, epoch: int) -> None:
        """As a trainer says so."""
        failure = Failure(type="TrialDiverged", message="the loss is not finite", kind=FailureKind.DIVERGED)
        self._conductor.take(StepResult(trial_id=trial, epoch=epoch, failure=failure))

    def lost(self, trial: str) -> None:
        """The program tries it again, once."""
        self._conductor.lost(trial, "the worker died")

    def chosen(self) -> Mapping[str, Values]:
        """The lowest score of any epoch."""
        best = self.decisions.best()
        return {} if best is None or best.values is None else {self._name: best.values}

    def ranked(self) -> list[Values]:
        """All that were scored and did not fail, the lowest score first."""
        ended = [record for record in self.decisions.trials() if record.state != "failed"]
        scored = [(record.best_score, record.values) for record in ended if record.best_score is not None]
        return [values for _, values in sorted(scored, key=itemgetter(0)) if values is not None]


def _header(problem: Problem, seed: int, change: Change) -> JsonObject:
    options = SearchOptions(epochs=problem.max_epochs)
    sampler = sampler_description()
    sampler["arguments"] = {**sampler["arguments"], **change.arguments}
    queue = [{"origin": f"start:{name}", "values": values} for name, values in change.starts.items()]
    header: JsonObject = {
        "seed": seed, "n_trials": WITHOUT_END, "max_epochs": options.epochs, "grace_epochs": options.grace,
        "reduction_factor": options.reduction_factor, "patience": options.patience_epochs, "sampler": sampler,
        "queue": queue,
    }  # fmt: skip
    return header | dict(change.header)


def _no_one(line: str) -> None:
    del line
