"""The tables of SEARCH.md."""

import math
from collections.abc import Callable, Sequence
from operator import methodcaller

import numpy as np

from benchmarks.search.methods import CHANGES, STARTED, STOCK
from benchmarks.search.ours import NAME
from benchmarks.search.ray_peers import LOWEST
from benchmarks.search.regret import Course, Courses, Instance, difference, share_to_reach
from benchmarks.search.results import BUDGETS

COLUMNS = (6.0, 12.0, *BUDGETS)
FIRST = BUDGETS[0]


def problem_table(courses: Courses, problem: str) -> str:
    """A row a way of choosing, the lowest regret at 24 lengths first."""
    rows = [
        f"| method | n | trials | {' | '.join(f'{look:g}' for look in COLUMNS)} "
        f"| {' | '.join(f'less {STOCK}, {budget:g}' for budget in BUDGETS)} | share of 24 | lost by choosing |",
        "|---" * (5 + len(COLUMNS) + len(BUDGETS)) + "|",
    ]
    ways = [way for way in courses if way not in CHANGES and _of(courses, way, problem)]
    for way in sorted(ways, key=lambda way: _mean(courses, way, problem, lambda c: c.at(FIRST))):
        own = _of(courses, way, problem)
        reached = [c for c in own if FIRST in c.looks]
        trials = np.mean([c.trials[c.looks.index(FIRST)] for c in reached]) if reached else math.nan
        cells = [way, str(len(own)), f"{trials:.0f}"]
        cells += [_shown(_mean(courses, way, problem, methodcaller("at", look))) for look in COLUMNS]
        for budget in BUDGETS:
            less = difference(courses, way, STOCK, budget, problems=[problem])
            cells.append("" if less is None or way == STOCK else str(less))
        share = share_to_reach(courses, way, STOCK, FIRST, problem=problem)
        cells.append("" if share is None else str(share))
        cells.append(_shown(_mean(courses, way, problem, lambda c: c.lost_by_choosing(FIRST))))
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def pooled_table(courses: Courses, problems: Sequence[str]) -> str:
    """Ours less each other way, all instances of all problems alike."""
    rows = [
        f"| ours less | {' | '.join(f'{look:g}' for look in COLUMNS)} | n |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for way in courses:
        if way in CHANGES or way.removesuffix(LOWEST) in STARTED or way == NAME:
            continue
        found = [difference(courses, NAME, way, look, problems=problems) for look in COLUMNS]
        if any(found):
            n = max(one.n for one in found if one is not None)
            rows.append(f"| {way} | {' | '.join('' if f is None else str(f) for f in found)} | {n} |")
    return "\n".join(rows) + "\n"


def changes_table(courses: Courses, problems: Sequence[str]) -> str:
    """Ours with one thing changed, less ours, at 24 lengths."""
    rows = [f"| changed | {' | '.join(problems)} | all, 12 | all, 24 |", "|---" * (3 + len(problems)) + "|"]
    for way in CHANGES:
        found = [difference(courses, way, NAME, FIRST, problems=[problem]) for problem in problems]
        found += [difference(courses, way, NAME, look, problems=problems) for look in (12.0, FIRST)]
        if any(found):
            cells = ["" if one is None else f"{one} ({one.n})" for one in found]
            rows.append(f"| {way.removeprefix(f'{NAME}, ')} | {' | '.join(cells)} |")
    return "\n".join(rows) + "\n"


def tables(courses: Courses, problems: Sequence[str]) -> str:
    """All of them, under headings."""
    there = {at[0] for own in courses.values() for at in own}
    ordered = [problem for problem in problems if problem in there]
    parts = [f"### {problem}\n\n{problem_table(courses, problem)}" for problem in ordered]
    parts.append(f"### all problems\n\n{pooled_table(courses, ordered)}")
    if any(way in CHANGES for way in courses):
        parts.append(f"### one thing changed\n\n{changes_table(courses, ordered)}")
    return "\n".join(parts)


def _of(courses: Courses, way: str, problem: str) -> list[Course]:
    own: dict[Instance, Course] = dict(courses[way])
    return [course for (name, _), course in own.items() if name == problem]


def _mean(courses: Courses, way: str, problem: str, of: Callable[[Course], float | None]) -> float:
    values = [value for value in map(of, _of(courses, way, problem)) if value is not None]
    return float(np.mean(values)) if values else math.nan


def _shown(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.1f}"
