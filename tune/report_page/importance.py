"""Which parameters told good trials from others, and how sure that is: Optuna's PED-ANOVA over bootstrap draws."""

import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import quantiles
from typing import Any

from search_spaces.space import SearchSpace
from tune.decisions.sampler import Ranges
from tune.decisions.trial_record import TrialRecord
from tune.decisions.varied import Varied
from tune.report_page.view import StudyView, evenly

MIN_TRIALS = 10
"""With fewer, the best tenth is a single trial."""

LEVEL = 0.8
"""Share of the draws within an interval."""

MAX_TRIALS = 500
"""Of more, so many count, evenly over the ranking: Optuna takes seconds a draw of thousands."""

_TRIALS_DRAWN = 6_000
_MAX_DRAWS = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    """Of one parameter, as a share of all: over all trials, and the interval over draws of trials."""

    varied: Varied
    share: float
    low: float
    high: float


def importances(view: StudyView) -> list[Importance]:
    """Most important first; empty with too few trials.

    Trials that were stopped early count too: they rank behind all that ran further, by their scores, as they do for
    the sampler. Those that failed, and comparisons that the sampler does not know, do not count.
    """
    ranked = _ranked(view.trials)
    if len(ranked) < MIN_TRIALS or not view.varied:
        return []
    frozen = _frozen(evenly(ranked, MAX_TRIALS), view)
    rng = random.Random(0)
    n_draws = min(_MAX_DRAWS, _TRIALS_DRAWN // len(frozen))
    whole = _shares(frozen)
    draws = [_shares(sorted(rng.choices(frozen, k=len(frozen)), key=lambda t: t.value)) for _ in range(n_draws)]
    found = []
    for varied in view.varied:
        name = varied.parameter.name
        if name in whole:
            cuts = quantiles([draw.get(name, 0.0) for draw in draws], n=20, method="inclusive")
            found.append(Importance(varied=varied, share=whole[name], low=cuts[1], high=cuts[-2]))
    return sorted(found, key=lambda importance: -importance.share)


def _ranked(trials: Sequence[TrialRecord]) -> list[TrialRecord]:
    ended = [
        t for t in trials if t.state in ("completed", "pruned") and t.values is not None and t.best_score is not None
    ]
    return sorted(ended, key=lambda t: (t.state == "pruned", -t.epoch if t.state == "pruned" else 0, t.best_score))


def _frozen(ranked: Sequence[TrialRecord], view: StudyView) -> list[Any]:
    """Optuna's trials, whose value is the rank: PED-ANOVA asks only which are the best tenth."""
    from optuna.trial import create_trial

    ranges = Ranges(SearchSpace.from_dict(view.standings.header["space"]))
    same: dict[str, Any] = {}  # what is the same object need not be compared
    found = []
    for rank, trial in enumerate(ranked):
        assert trial.values is not None
        own = {name: same.setdefault(name, d) for name, d in ranges.of(trial.values).items()}
        made = create_trial(value=rank, params=trial.values, distributions=own)
        made._trial_id = rank  # two drawn copies of one trial are the same one
        found.append(made)
    return found


def _shares(trials: Sequence[Any]) -> dict[str, float]:
    import optuna
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
    from optuna.storages import InMemoryStorage
    from optuna.study import Study, StudyDirection

    class Drawn(Study):
        """A study of given trials, which it does not copy one by one."""

        def __init__(self) -> None:
            storage = InMemoryStorage()
            storage.create_new_study([StudyDirection.MINIMIZE], "drawn")
            super().__init__("drawn", storage)

        def get_trials(self, deepcopy: bool = True, states: Any = None) -> list[Any]:  # noqa: ARG002
            return list(trials)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few trials of a regime: the interval says so
        verbosity = optuna.logging.get_verbosity()
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        try:
            return dict(get_param_importances(Drawn(), evaluator=PedAnovaImportanceEvaluator()))
        finally:
            optuna.logging.set_verbosity(verbosity)
