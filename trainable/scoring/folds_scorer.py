"""The score of a configuration that was trained once a fold: the held-out events of all folds, judged together."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from trainable.scoring.scoring import EventForecast, HeldOutScorer, ScoredPart, floor_predictions, metrics_of
from trainable.scoring.targets import Targets

if TYPE_CHECKING:
    from trainable.data.splits import Split


class FoldsScorer:
    """Scores one array of predictions a fold.

    An event that several folds hold out counts once in each. Its sigma is fitted on other sites of its own fold, as
    where there is but one.
    """

    def __init__(self, scorers: Sequence[HeldOutScorer]) -> None:
        """scorers: one a fold, of the same targets."""
        self._scorers = tuple(scorers)

    def score(self, predictions: Sequence[ArrayLike]) -> dict[str, float]:
        """As `HeldOutScorer.score`, over the events of all folds; of one fold equal to it."""
        given = list(zip(self._scorers, predictions, strict=True))
        if not all(np.isfinite(np.asarray(values)).all() for _, values in given):
            return dict.fromkeys(self.metric_names(), float("nan"))
        return metrics_of(_joined([scorer.scored(values) for scorer, values in given]), self._scorers[0].targets)

    def forecasts(self, predictions: Sequence[ArrayLike]) -> dict[str, EventForecast]:
        """Part -> the forecasts of all folds, fold after fold; predictions as for `score`, all finite."""
        given = zip(self._scorers, predictions, strict=True)
        return {name: part.forecast for name, part in _joined([s.scored(values) for s, values in given]).items()}

    def metric_names(self) -> list[str]:
        """As of `HeldOutScorer`; a part that one of the folds has is there."""
        return list(dict.fromkeys(name for scorer in self._scorers for name in scorer.metric_names()))


def floors(
    labels: ArrayLike,
    event_ids: ArrayLike,
    site_ids: ArrayLike,
    domain_ids: ArrayLike,
    species: ArrayLike,
    splits: Sequence["Split"],
    *,
    targets: Targets | None = None,
) -> dict[str, dict[str, float]]:
    """Metrics of three predictors that see no image, scored like any trial: what a model must beat.

    "constant": mean of the training events' labels, or how often each class is theirs. "domain_mean", "species_mean":
    the same of the training events in which the domain or species occurs, each event once; the constant where it occurs
    in none; left out where the task has no domains, or no covariate. splits: one a fold.
    """
    scorer = FoldsScorer([HeldOutScorer(labels, event_ids, site_ids, split, targets=targets) for split in splits])
    of_folds = [floor_predictions(labels, event_ids, domain_ids, species, split, targets=targets) for split in splits]
    return {name: scorer.score([given[name] for given in of_folds]) for name in of_folds[0]}


def _joined(folds: Sequence[Mapping[str, ScoredPart]]) -> dict[str, ScoredPart]:
    names = dict.fromkeys(name for parts in folds for name in parts)
    return {name: _one_part([parts[name] for parts in folds if name in parts]) for name in names}


def _one_part(parts: Sequence[ScoredPart]) -> ScoredPart:
    if len(parts) == 1:
        return parts[0]
    forecasts = [part.forecast for part in parts]
    labels = np.concatenate([forecast.labels for forecast in forecasts])
    mu = np.concatenate([forecast.mu for forecast in forecasts])
    together = EventForecast(
        labels=labels,
        mu=mu,
        sigma=np.concatenate([forecast.sigma for forecast in forecasts]),
        crps=np.concatenate([forecast.crps for forecast in forecasts]),
        pooled_sigma=forecasts[0].targets.rule.fit(labels, mu, np.full((1, len(labels)), 1 / len(labels)))[0],
        sites=np.concatenate([forecast.sites for forecast in forecasts]),
        event_ids=np.concatenate([forecast.event_ids for forecast in forecasts]),
        targets=forecasts[0].targets,
    )
    return ScoredPart(
        together,
        np.concatenate([part.images for part in parts]),
        np.concatenate([part.image_labels for part in parts]),
    )
