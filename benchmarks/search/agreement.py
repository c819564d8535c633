"""Whether real searches end as their simulation does: on Ray, on the demo, and again in virtual time.

python -m benchmarks.search.agreement FOLDER [--worlds 1 2 3] [--workers 1 2] [--trials 12] [--epochs 20] [--size 600]

The simulation is `simulator.py` with the header of the real study's journal. It trains what its searcher proposes, an
epoch when it is asked for; an epoch takes the time that it took the real trial of the same configuration, or the one
most like it. With one worker all must be the same, to the bit; with more, who ends an epoch first is chance, and what
is proposed next depends on it.
"""

import argparse
import math
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import overload

import torch

from benchmarks.search.ours import Change, Ours
from benchmarks.search.problems.problem import Training, Values
from benchmarks.search.simulator import Cluster, simulate
from benchmarks.search.trying import prepare
from search_spaces.space import SearchSpace
from trainable.config import TrialConfig
from trainable.plain_values import JsonObject
from trainable.scoring.metrics import SCORE
from trainable.storage.place import place_of
from trainable.training.divergence import TrialDiverged
from trainable.training.folds_trainer import make_trainer
from trainable.training.trial_data import TrialData
from tune.decisions.decisions import Decisions
from tune.decisions.trial_record import EPOCH_SECONDS, TrialRecord
from tune.journal.entries import EpochReported, JournalEntry, TrialAsked, TrialTold, study_of
from tune.journal.journal import read_entries


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A search's end. scores: configuration's key -> its score after each epoch. seconds: all of its trials took."""

    scores: Mapping[str, tuple[float, ...]]
    seconds: float

    @property
    def n_epochs(self) -> int:
        """Trained."""
        return sum(map(len, self.scores.values()))

    @property
    def best(self) -> float:
        """The lowest score."""
        return min(min(scores) for scores in self.scores.values() if scores)


@dataclass(frozen=True, eq=False)
class OnDemand:
    """The real search's task as a problem. epoch_seconds: of each configuration that ran, on average."""

    space: SearchSpace
    max_epochs: int
    data: TrialData
    seed: int
    epoch_seconds: Sequence[tuple[TrialConfig, float]]
    trained: dict[str, "Epochs"] = field(default_factory=dict)
    default: JsonObject | None = None

    def train(self, values: Values) -> Training:
        """Nothing is trained before it is asked for."""
        config = self.space.config(values, self.max_epochs)
        _, seconds = min(self.epoch_seconds, key=lambda known: _unlikeness(known[0], config))
        key = str(config.to_dict())
        if key not in self.trained:
            self.trained[key] = Epochs(config, self.data, self.seed)
        return Training(scores=self.trained[key], epoch_seconds=seconds)

    def truth(self, values: Values) -> float:
        """Of no use here: two searches of the same task are compared by what they saw."""
        raise NotImplementedError


class Epochs(Sequence[float]):
    """A training's scores, each trained when it is read; NaN in the epoch in which it diverges."""

    def __init__(self, config: TrialConfig, data: TrialData, seed: int) -> None:
        self._n_epochs = config.n_epochs
        self._trainer = make_trainer(config, data, seed=seed)
        self.known: list[float] = []

    def __len__(self) -> int:
        return self._n_epochs

    @overload
    def __getitem__(self, at: int) -> float: ...
    @overload
    def __getitem__(self, at: slice) -> Sequence[float]: ...
    def __getitem__(self, at: int | slice) -> float | Sequence[float]:
        if isinstance(at, slice):
            raise TypeError("one epoch at a time")
        while len(self.known) <= at:
            try:
                self.known.append(self._trainer.train_epoch()[SCORE])
            except TrialDiverged:
                self.known.append(math.nan)
        return self.known[at]


def search(folder: Path, data: str, *, n_workers: int, trials: int, epochs: int) -> None:
    """A real one, as a user runs it, on a Ray of its own; one that has ended is left as it is."""
    command = [sys.executable, "-m", "tune", "search", "--study", folder, "--data", data, "--space", "full"]
    command += ["--trials", trials, "--epochs", epochs, "--workers", n_workers, "--no-confirm"]
    command += ["--tracking-uri", f"sqlite:///{folder.parent / 'mlflow.db'}"]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)


def real_end(records: Iterable[TrialRecord], entries: Sequence[JournalEntry]) -> Ended:
    """Of a study's journal."""
    asked = [entry.time for entry in entries if isinstance(entry, TrialAsked)]
    told = [entry.time for entry in entries if isinstance(entry, TrialTold)]
    scores = {str(record.config): tuple(record.scores.values()) for record in records}
    return Ended(scores=scores, seconds=max(told) - min(asked))


def simulated_end(
    folder: Path, entries: Sequence[JournalEntry], records: Sequence[TrialRecord], n_workers: int
) -> Ended:
    """The same search in virtual time."""
    header = study_of(entries).header
    space = SearchSpace.from_dict(header["space"])
    problem = OnDemand(
        space,
        header["max_epochs"],
        TrialData.load(place_of(str(folder / "data")), copy_features=True),
        header["seed"],
        [(record.trial_config(), record.seconds / len(record.scores)) for record in records if record.scores],
    )
    cluster = Cluster(n_workers=n_workers, startup_seconds=_startup_seconds(entries), loss_rate=0.0)
    searcher = Ours(problem, header["seed"], change=Change(header=header))
    (look,) = simulate(searcher, problem, [math.inf], cluster=cluster)
    return Ended(scores={key: tuple(of.known) for key, of in problem.trained.items()}, seconds=look.seconds)


def _startup_seconds(entries: Iterable[JournalEntry]) -> float:
    """From a trial's ask to the begin of its first epoch, the mean: a worker's first trial waits for its imports."""
    asked: dict[str, float] = {}
    found: list[float] = []
    for entry in entries:
        match entry:
            case TrialAsked(trial=trial, time=time):
                asked[trial] = time
            case EpochReported(trial=trial, epoch=1, time=time, metrics=metrics):
                found.append(max(0.0, time - asked[trial] - metrics[EPOCH_SECONDS]))
    return fmean(found)


def _unlikeness(one: TrialConfig, other: TrialConfig) -> tuple[bool, int, bool, float]:
    """By what sets the time of an epoch."""
    return (
        one != other,
        abs(one.tail.n_blocks - other.tail.n_blocks),
        one.adapter.kind != other.adapter.kind,
        abs(math.log2(one.optim.batch_size / other.optim.batch_size)),
    )


def line(data: str, n_workers: int, real: Ended, simulated: Ended) -> str:
    """A row of the table."""
    both = real.scores.keys() & simulated.scores.keys()
    same = sum(real.scores[key] == simulated.scores[key] for key in both)
    return (
        f"| {data} | {n_workers} | {len(real.scores)} | {len(both)} | {same} | {real.n_epochs} / {simulated.n_epochs} "
        f"| {real.best:.4f} / {simulated.best:.4f} | {real.seconds:.0f} / {simulated.seconds:.0f} |"
    )


def main() -> None:
    """Search, simulate, print a row for each; see the module."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.search.agreement", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("folder", type=Path, help="where the studies are kept")
    parser.add_argument("--worlds", type=int, nargs="+", default=[1, 2, 3], help="of the demo [1 2 3]")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="trials at a time [1 2]")
    parser.add_argument("--trials", type=int, default=12, help="of each search [12]")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial at most [20]")
    parser.add_argument("--size", type=int, default=600, help="images of a world [600]")
    options = parser.parse_args()
    prepare()
    torch.set_num_threads(1)
    print("| data | workers | trials | in both | alike | epochs | lowest score | seconds |\n" + "|---" * 8 + "|")
    for n_workers in options.workers:
        for world in options.worlds:
            data, folder = f"demo:{options.size}:{world}", options.folder / f"{world}-{n_workers}"
            search(folder, data, n_workers=n_workers, trials=options.trials, epochs=options.epochs)
            entries = read_entries(folder)
            space = SearchSpace.from_dict(study_of(entries).header["space"])
            records = Decisions.replay(space, entries).trials()
            real, simulated = real_end(records, entries), simulated_end(folder, entries, records, n_workers)
            print(line(data, n_workers, real, simulated), flush=True)


if __name__ == "__main__":
    main()
