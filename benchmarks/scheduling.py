"""Figure 9: the least time in which these trials could have run in these slots / the time that they took.

The least time is max(sum of all epochs' seconds / slots, longest trial), start-up of the first trial in each slot left
out of both. `in order` is a tighter bound beside it: the trials in the order in which they were asked for, each in the
slot that is free first, at no overhead; what lies between the two is not overhead but the last survivors running alone.
"""

import heapq
from collections import defaultdict

from benchmarks.figure import Figure, Target, Value
from benchmarks.recorded_search import N_SLOTS, recorded_search
from benchmarks.setting import Setting


def measure(setting: Setting) -> list[Figure]:
    """One figure, of the search that `recorded_search` runs."""
    search = recorded_search(setting)
    work: dict[str, float] = defaultdict(float)
    for steps in search.processes:
        for step in steps:
            work[step.trial] += step.ended - (step.first_step or step.began)
    total, longest = sum(work.values()), max(work.values())
    bound = max(total / N_SLOTS, longest)
    in_order = _list_schedule([work[trial] for trial in sorted(work)], n_slots=N_SLOTS)
    wall = _wall(search.processes)
    return [
        Figure(
            number=9,
            name=f"scheduling on Ray, {setting.backbones[0]}",
            ratio=bound / wall,
            parts=(
                Value("work", total, "s"),
                Value("slots", N_SLOTS),
                Value("longest trial", longest, "s"),
                Value("in order", in_order, "s"),
                Value("wall", wall, "s"),
                Value("in order / wall", in_order / wall),
                Value("trials", len(work)),
                Value("epochs", sum(len(steps) for steps in search.processes)),
            ),
            target=Target(">=", 0.9),
        )
    ]


def _wall(processes: list) -> float:  # type: ignore[type-arg]
    begun = min(steps[0].first_step or steps[0].began for steps in processes)
    return max(steps[-1].ended for steps in processes) - begun


def _list_schedule(seconds: list[float], *, n_slots: int) -> float:
    """The makespan of trials that start in this order, each in the slot that is free first."""
    free = [0.0] * n_slots
    for needed in seconds:
        heapq.heappush(free, heapq.heappop(free) + needed)
    return max(free)
