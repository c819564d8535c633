"""Whether a search finds better configurations than the default: whole searches on worlds, SEARCHES.md's table.

python -m benchmarks.searches FOLDER [--worlds 4 5 6 7 8] [--space full] [--size 600] [--trials 24] [--epochs 20]
                                        [--search-folds 2]
python -m benchmarks.searches FOLDER --table             print the table of all searches in benchmarks/searches.jsonl

Each search is `sentinel-tune search --local`, confirmed on the four folds after --fold, in one process on one CPU; its
study is kept in FOLDER and resumed where this was stopped. Only events count that the search did not choose by. Of whom
a line is about, none is chosen by an event that it is scored on: the search's best by the folds that scored it there,
the leader of each fold by the other folds.
"""

import argparse
import json
import math
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray
from scipy.stats import t as student_t

from search_spaces.space import DEFAULT, SearchSpace
from trainable.data.demo import DEMO_VERSION
from trainable.scoring.intervals import LEVEL
from trainable.scoring.out_of_fold import OutOfFold
from tune.confirming.outcome import Confirmed, confirmed_of, out_of_fold_of
from tune.confirming.runs import Confirmation
from tune.decisions.standings import Standings
from tune.journal.journal import read_entries

RESULTS = Path(__file__).with_name("searches.jsonl")
FOLDS = 4
ENSEMBLE = "ensemble"

Losses = Mapping[str, Mapping[str, tuple[int, tuple[float, ...]]]]
"""Fold, as text -> part -> number of events, and the mean CRPS of each target."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Searched:
    """One search. space: as `--space` names it. best: the trial with the lowest score on the search's own folds.

    search_folds: that scored each trial; with one, the published variants were trained in full, as they were then.
    train_each: whether a trial was trained once for each of them. starts: what the space ran first.
    n_epochs: trained, once for each fold, of the search and of its confirmation. losses: candidate -> what it forecast.
    """

    space: str
    data: str
    demo: int
    trials: int
    epochs: int
    best: str
    is_win: bool
    n_epochs: tuple[int, int]
    losses: Mapping[str, Losses]
    search_folds: int = 1
    train_each: bool = True
    starts: tuple[str, ...] = ("default", "ft_did", "data_aug", "lora", "combined")

    @property
    def way(self) -> str:
        """Of searching, as the table has it."""
        return _way(self.search_folds, self.starts, train_each=self.train_each)

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps(asdict(self)) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Self:
        """Inverse of `to_line`.

        Raises: ValueError, KeyError or TypeError for anything else.
        """
        values = json.loads(line)
        lists = {name: tuple(values[name]) for name in ("n_epochs", "starts") if name in values}
        return cls(**values | lists)

    @property
    def folds(self) -> list[str]:
        """Those that it was confirmed on."""
        return list(self.losses[DEFAULT])

    def leader(self, fold: str) -> str:
        """The candidate that the other folds score best."""
        others = [other for other in self.folds if other != fold]
        return min(self.losses, key=lambda name: score_of([self.losses[name][other] for other in others]))

    def gain(self, chosen: Callable[[str], str], *, parts: Sequence[str] = ("id", "ood")) -> float:
        """How much lower than the default's the score of what is chosen for each fold is."""
        of_chosen = [self.losses[chosen(fold)][fold] for fold in self.folds]
        of_default = [self.losses[DEFAULT][fold] for fold in self.folds]
        return score_of(of_default, parts) - score_of(of_chosen, parts)


def score_of(folds: Sequence[Mapping[str, tuple[int, Sequence[float]]]], parts: Sequence[str] = ("id", "ood")) -> float:
    """Root mean square over parts and targets of the mean over all folds' events."""
    means: list[NDArray[np.float64]] = []
    for part in parts:
        found = [fold[part] for fold in folds if part in fold]
        if found:
            counts = np.array([n for n, _ in found], dtype=np.float64)
            means.append(counts @ np.array([losses for _, losses in found]) / counts.sum())
    return float(np.sqrt(np.mean(np.concatenate(means) ** 2)))


def losses_of(forecasts: OutOfFold) -> Losses:
    """A candidate's losses by fold and part."""
    found: dict[str, dict[str, tuple[int, tuple[float, ...]]]] = {}
    for name, part in forecasts.parts.items():
        for fold in np.unique(part.folds):
            rows = part.crps[part.folds == fold]
            found.setdefault(str(fold), {})[name] = (len(rows), tuple(np.round(rows.mean(axis=0), 6).tolist()))
    return dict(sorted(found.items()))


def search(folder: Path, data: str, options: argparse.Namespace) -> Searched:
    """Run one search, or go on with it, and read what came of it.

    Raises: subprocess.CalledProcessError when the command fails.
    """
    name = "-".join([Path(options.space).stem, options.way, data])
    study = folder / name.translate({ord(letter): "-" for letter in ":, "})
    new = ["--study", study, "--data", data, "--space", options.space, "--trials", options.trials]
    new += ["--search-folds", options.search_folds, *(["--variants-in-full"] if options.search_folds == 1 else [])]
    new += ["--train-each-fold"] if options.train_each_fold else []
    new += ["--epochs", options.epochs, "--confirm-folds", FOLDS, "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    given = ["--resume", study] if (study / "journal.jsonl").exists() else new
    command = [sys.executable, "-m", "tune", "search", "--local", "--workers", 1, *given]
    subprocess.run([str(word) for word in command], check=True, stdout=subprocess.DEVNULL)
    entries = read_entries(study)
    confirmed, standings = confirmed_of(entries), Standings.of(entries)
    assert confirmed is not None
    trainings = options.search_folds if options.train_each_fold else 1
    trained = trainings * sum(len(trial.scores) for trial in standings.trials.values())
    return Searched(
        space=Path(options.space).stem,
        data=data,
        demo=DEMO_VERSION,
        trials=options.trials,
        epochs=options.epochs,
        best=_best(confirmed, standings),
        is_win=confirmed.is_win,
        search_folds=options.search_folds,
        train_each=options.train_each_fold,
        starts=options.starts,
        n_epochs=(trained, _confirmed_epochs(study)),
        losses={c.name: losses_of(out_of_fold_of(study, confirmed, c)) for c in confirmed.candidates},
    )


def _way(search_folds: int, starts: Sequence[str], *, train_each: bool) -> str:
    at_once = "" if train_each or search_folds == 1 else " at once"
    return f"{search_folds}{at_once}{f', {len(starts)} starts' if 'probe_first' in starts else ''}"


def _best(confirmed: Confirmed, standings: Standings) -> str:
    """Of what was confirmed, the one that the search's own fold scores best."""
    scores = {
        candidate.name: standings.trials[candidate.trial_id].best_score
        for candidate in confirmed.candidates
        if candidate.trial_id is not None
    }
    return min(scores, key=lambda name: math.inf if (found := scores[name]) is None else found)


def _confirmed_epochs(study: Path) -> int:
    return sum(len(run.record.scores) for run in Confirmation.replay(read_entries(study)).runs())


def table(found: Sequence[Searched]) -> str:
    """A row a forecast and a space: gain over the default, mean over worlds with Student's interval."""
    rows = [
        "| space | folds | trials x epochs, images | forecast by | gain over the default x 1000 | on ID | on OOD "
        "| better in | epochs trained |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    groups: dict[tuple[str, str, int, int, str], list[Searched]] = {}
    for one in found:
        size = one.data.split(":")[1]
        groups.setdefault((one.space, one.way, one.trials, one.epochs, size), []).append(one)
    for (space, folds, trials, epochs, size), searches in groups.items():
        trained = np.array([one.n_epochs for one in searches]).mean(axis=0)
        for name, chosen in _FORECASTS.items():
            gains = [shown_gain([one.gain(partial(chosen, one), parts=parts) for one in searches]) for parts in _PARTS]
            better = np.mean([one.gain(partial(chosen, one)) > 0 for one in searches])
            cells = [space, folds, f"{trials} x {epochs}, {size}", name, *gains]
            cells += [f"{better:.0%} of {len(searches)}", f"{trained[0]:.0f} + {trained[1]:.0f}"]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


_PARTS: tuple[tuple[str, ...], ...] = (("id", "ood"), ("id",), ("ood",))

_FORECASTS: dict[str, Callable[[Searched, str], str]] = {
    "the search's best": lambda one, _: one.best,
    "the leader of the other folds": lambda one, fold: one.leader(fold),
    "the ensemble": lambda *_: ENSEMBLE,
}
"""Who forecasts a fold."""


def shown_gain(gains: Sequence[float]) -> str:
    """The mean in thousandths, with Student's interval where there are several; bold beyond it."""
    values, n = 1000 * np.asarray(gains), len(gains)
    if n < 2:
        return f"{values.mean():+.1f}"
    half = float(student_t.ppf((1 + LEVEL) / 2, n - 1)) * values.std(ddof=1) / math.sqrt(n)
    text = f"{values.mean():+.1f} ± {half:.1f}"
    return f"**{text}**" if abs(values.mean()) > half else text


def kept() -> Iterator[Searched]:
    """Those that there are lines of, of this demo."""
    if RESULTS.exists():
        for line in RESULTS.read_text(encoding="utf-8").splitlines():
            one = Searched.from_line(line)
            if one.demo == DEMO_VERSION:
                yield one


def main() -> None:
    """Search what is missing, or print the table; see the module."""
    options = _parse()
    if not options.table:
        options.folder.mkdir(parents=True, exist_ok=True)
        for world in options.worlds:
            data = f"demo:{options.size}:{world}"
            wanted = (Path(options.space).stem, options.way, data, options.trials, options.epochs)
            if wanted not in [(one.space, one.way, one.data, one.trials, one.epochs) for one in kept()]:
                one = search(options.folder.resolve(), data, options)
                with RESULTS.open("a", encoding="utf-8") as file:
                    file.write(one.to_line())
    print(table(list(kept())))


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.searches", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="of the studies")
    parser.add_argument("--worlds", type=int, nargs="+", default=[4, 5, 6, 7, 8], help="of the demo [4 5 6 7 8]")
    parser.add_argument("--space", default="full", help="by name or file [full]")
    parser.add_argument("--size", type=int, default=600, help="images of a world [600]")
    parser.add_argument("--trials", type=int, default=24, help="of a search [24]")
    parser.add_argument("--epochs", type=int, default=20, help="of a trial at most [20]")
    parser.add_argument("--search-folds", type=int, default=2, help="that score each trial [2]")
    parser.add_argument("--train-each-fold", action="store_true", help="a trial is trained once for each of them")
    parser.add_argument("--table", action="store_true", help="search nothing")
    options = parser.parse_args()
    options.starts = tuple(point.name for point in SearchSpace.load(options.space).start_from)
    options.way = _way(options.search_folds, options.starts, train_each=options.train_each_fold)
    return options


if __name__ == "__main__":
    main()
