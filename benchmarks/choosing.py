"""By which number a search should choose: several of them on recorded curves, judged where none of them looked.

python -m benchmarks.choosing [--pool 8]                  print the table

On each world of benchmarks/recorded_curves.parquet pools of configurations are drawn, the default among them. Each way
chooses one and its epoch by what fold f, or folds f and f + 1 together, held out, for each f; of the later fold the
unseen domains alone, as a search has it. What it chose is judged on the other folds, by sites that no way looked at.
"""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr

from benchmarks.recorded_curves import N_FOLDS, RESULTS, Curve, Curves
from benchmarks.searches import shown_gain
from search_spaces.space import DEFAULT

Floats = NDArray[np.float64]

N_POOLS = 100
"""Drawn of each world, the same for every way."""

TODAY = "as a search does: half ID, half OOD", 2


@dataclass(frozen=True, eq=False)
class Seen:
    """Losses of some held-out sites. crps: [epochs, sites, 3]. n: events of each site. is_ood, domains: [sites]."""

    crps: Floats
    n: Floats
    is_ood: NDArray[np.bool_]
    domains: NDArray[np.str_]

    def mean(self, of: NDArray[np.bool_]) -> Floats:
        """Over the events of some sites: [epochs, 3]."""
        found: Floats = np.average(self.crps[:, of], axis=1, weights=self.n[of])
        return found

    @property
    def parts(self) -> list[NDArray[np.bool_]]:
        """Which sites are ID, which OOD, where there are any."""
        return [part for part in (~self.is_ood, self.is_ood) if part.any()]


def _rms(losses: Sequence[Floats]) -> Floats:
    found: Floats = np.sqrt(np.mean(np.square(np.concatenate(losses, axis=-1)), axis=-1))
    return found


def _half_and_half(seen: Seen) -> Floats:
    return _rms([seen.mean(part) for part in seen.parts])


def _events(seen: Seen) -> Floats:
    return _rms([seen.mean(np.ones(len(seen.n), dtype=bool))])


def _known_domains(seen: Seen) -> Floats:
    """Of unseen domains where a fold holds out no others."""
    return _rms([seen.mean(seen.parts[0])])


def _domains_alike(seen: Seen) -> Floats:
    domains = [seen.mean(seen.is_ood & (seen.domains == d)) for d in np.unique(seen.domains[seen.is_ood])]
    ood = [np.mean(domains, axis=0)] if domains else []
    return _rms([*[seen.mean(part) for part in seen.parts if not seen.is_ood[part].any()], *ood])


def _smoothed(seen: Seen) -> Floats:
    """Mean with the epochs before and after."""
    value = np.pad(_half_and_half(seen), 1, mode="edge")
    return np.convolve(value, np.ones(3) / 3, mode="valid")


def _last(seen: Seen) -> Floats:
    """Of the last epoch alone."""
    value = _half_and_half(seen).copy()
    value[:-1] = np.inf
    return value


WAYS: dict[str, Callable[[Seen], Floats]] = {
    TODAY[0]: _half_and_half,
    "every event alike": _events,
    "ID alone": _known_domains,
    "every unseen domain alike": _domains_alike,
    "mean of three epochs": _smoothed,
    "last epoch": _last,
}
"""What is said of a way -> a value an epoch, the lowest chosen."""


Site = tuple[int, int]
"""Fold, and the site's number among those that the fold holds out."""


@dataclass(frozen=True, eq=False)
class World:
    """Curves of one world. of: (configuration, fold) -> curve."""

    of: Mapping[tuple[str, int], Curve]

    @property
    def names(self) -> list[str]:
        """Configurations that were trained to the end on every fold."""
        return [name for name in dict.fromkeys(name for name, _ in self.of) if self._is_whole(name)]

    def _is_whole(self, name: str) -> bool:
        lengths = [len(self.of[name, fold].crps) for fold in range(N_FOLDS) if (name, fold) in self.of]
        return len(lengths) == N_FOLDS and len(set(lengths)) == 1

    def searched(self, folds: Sequence[int]) -> list[Site]:
        """Sites that a search on these folds chooses by: of the later folds those of unseen domains alone."""
        return [
            (fold, row)
            for place, fold in enumerate(folds)
            for row, name in enumerate(self._sites(fold))
            if not place or name.startswith("ood/")
        ]

    def fresh(self, judges: Sequence[int], *, looked_at: Sequence[int]) -> list[Site]:
        """The judging folds' sites that none of the folds looked at held out."""
        known = {_place(name) for fold in looked_at for name in self._sites(fold)}
        return [(f, row) for f in judges for row, name in enumerate(self._sites(f)) if _place(name) not in known]

    def seen(self, name: str, sites: Sequence[Site]) -> Seen:
        """What a configuration lost at some sites."""
        curves = [self.of[name, fold] for fold, _ in sites]
        rows = [row for _, row in sites]
        labels = [curve.sites[row].split("/") for curve, row in zip(curves, rows, strict=True)]
        return Seen(
            crps=np.stack([curve.crps[:, row] for curve, row in zip(curves, rows, strict=True)], axis=1).astype(float),
            n=np.array([curve.n_events[row] for curve, row in zip(curves, rows, strict=True)], dtype=float),
            is_ood=np.array([label[0] == "ood" for label in labels]),
            domains=np.array([label[1] for label in labels]),
        )

    def _sites(self, fold: int) -> tuple[str, ...]:
        return self.of[DEFAULT, fold].sites


def _place(site: str) -> str:
    """DOMAIN/SITE of "PART/DOMAIN/SITE"."""
    return site.partition("/")[2]


@dataclass(frozen=True, slots=True)
class Judged:
    """How one way chose on one world, the mean over folds and pools.

    promised: gain over the default by the number that it chose by. gained: where it is judged, the default being at the
    epoch that the same way chooses for it. score: there. agreement: Spearman's between its number and the score there.
    """

    promised: float
    gained: float
    score: float
    agreement: float


def judged(world: World, *, pool: int) -> dict[tuple[str, int], Judged]:
    """By way and number of folds that it looks at."""
    rng, names = np.random.default_rng(0), world.names
    others = np.array([name for name in names if name != DEFAULT])
    pools = [[DEFAULT, *rng.choice(others, min(pool, len(others)), replace=False)] for _ in range(N_POOLS)]
    found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for fold in range(N_FOLDS):
        looked_at = [fold, (fold + 1) % N_FOLDS]
        fresh = world.fresh([(fold + i) % N_FOLDS for i in range(2, N_FOLDS)], looked_at=looked_at)
        there = {name: _half_and_half(world.seen(name, fresh)) for name in names}
        for n_folds in (1, 2):
            seen = {name: world.seen(name, world.searched(looked_at[:n_folds])) for name in names}
            for way in WAYS:
                found.setdefault((way, n_folds), []).append(_chosen(way, seen, there, pools))
    return {key: Judged(*np.mean(rows, axis=0).tolist()) for key, rows in found.items()}


def _chosen(
    way: str, seen: Mapping[str, Seen], there: Mapping[str, Floats], pools: Sequence[Sequence[str]]
) -> tuple[float, ...]:
    curves = {name: WAYS[way](of) for name, of in seen.items()}
    own = {name: float(curve.min()) for name, curve in curves.items()}
    score = {name: float(there[name][int(curve.argmin())]) for name, curve in curves.items()}
    chosen = [min(drawn, key=own.__getitem__) for drawn in pools]
    promised = np.mean([own[DEFAULT] - own[name] for name in chosen])
    gained = np.mean([score[DEFAULT] - score[name] for name in chosen])
    agreement = spearmanr(list(own.values()), list(score.values())).statistic
    return float(promised), float(gained), float(np.mean([score[name] for name in chosen])), float(agreement)


def table(worlds: Sequence[World], *, pool: int) -> str:
    """A row a way and number of folds; means over worlds with Student's interval."""
    of_worlds = [judged(world, pool=pool) for world in worlds]
    rows = [
        "| folds | chosen by | promised gain x 1000 | gain elsewhere | over a search's way | agreement of ranks |",
        "|---|---|---|---|---|---|",
    ]
    for n_folds in (1, 2):
        for way in WAYS:
            found = [of[way, n_folds] for of in of_worlds]
            over = [of[TODAY].score - of[way, n_folds].score for of in of_worlds]
            cells = [shown_gain([one.promised for one in found]), shown_gain([one.gained for one in found])]
            cells += ["" if (way, n_folds) == TODAY else shown_gain(over)]
            rows.append(f"| {n_folds} | {way} | {' | '.join(cells)} | {np.mean([o.agreement for o in found]):.2f} |")
    return "\n".join(rows) + "\n"


def worlds_of(curves: Iterable[Curve], *, seed: int = 0) -> list[World]:
    """In the order of their names, of what was trained with one seed."""
    by_world: dict[str, dict[tuple[str, int], Curve]] = {}
    for curve in curves:
        if curve.seed == seed:
            by_world.setdefault(curve.data, {})[curve.name, curve.fold] = curve
    return [World(of) for _, of in sorted(by_world.items())]


def main() -> None:
    """Print the table; see the module."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--pool", type=int, default=8, help="configurations to choose from, beside the default [8]")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the table of curves")
    options = parser.parse_args()
    worlds = worlds_of(Curves(options.results))
    print(f"{len(worlds)} worlds, {', '.join(str(len(world.names)) for world in worlds)} configurations")
    print(table(worlds, pool=options.pool))


if __name__ == "__main__":
    main()
