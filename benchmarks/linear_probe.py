"""What a frozen tower's features tell of drought: ridge regression on them, on a demo's held-out sites."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from trainable.data.decoding import decode
from trainable.data.specimens import Specimens
from trainable.data.splits import SPLIT_SEED, Split, make_split
from trainable.data.task import beetles
from trainable.frozen.backbone import Backbone
from trainable.scoring.folds_scorer import floors
from trainable.scoring.scoring import HeldOutScorer

Floats = NDArray[np.float64]

_STRENGTHS = (1.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 3000.0)
_N_INNER_FOLDS = 5


@dataclass(frozen=True, slots=True)
class Probed:
    """A fold's scores, lower is better. probe, floors: metrics by name, those of each floor by its name."""

    fold: int
    probe: dict[str, float]
    floors: dict[str, dict[str, float]]

    def beats_every_floor(self, part: str) -> bool:
        """part: "id" or "ood"."""
        score = f"score/{part}"
        return all(self.probe[score] < floor[score] for floor in self.floors.values())


def probe(backbone: Backbone, specimens: Specimens, folds: Sequence[int]) -> list[Probed]:
    """Fit and score a linear probe on each fold of sites and domains; only the image features are told to it.

    The ridge's strength is the best on sites left out of training, in turns.
    """
    frame, features = specimens.frame, unit_features(backbone, specimens)
    labels, events = frame[list(beetles().names)].to_numpy(np.float64), frame["event_id"].to_numpy()
    sites, weights = frame["site_id"].to_numpy(), _weights(events)
    found = []
    for fold in folds:
        split = make_split(frame, holdout="both", fold=fold, seed=SPLIT_SEED)
        held_out = np.concatenate([split.id_, split.ood])
        strength = _best_strength(features, labels, weights, sites, split)
        predicted = _ridge(features, labels, weights, split.train, held_out, strength)
        groups = frame["domain_id"].to_numpy(), frame["species"].to_numpy()
        found.append(
            Probed(
                fold=fold,
                probe=HeldOutScorer(labels, events, sites, split).score(predicted),
                floors=floors(labels, events, sites, *groups, [split]),
            )
        )
    return found


def unit_features(backbone: Backbone, specimens: Specimens, *, batch_size: int = 256) -> Floats:
    """[specimens, embed_dim], each of norm 1, as the regressor of a tail reads them."""
    transform, batches = backbone.transform, []
    for start in range(0, len(specimens.frame), batch_size):
        rows = range(start, min(start + batch_size, len(specimens.frame)))
        pixels = [decode(encoded, transform.image_size) for encoded in specimens.images.read(rows)]
        batches.append(backbone.embed(transform.normalize(torch.from_numpy(np.stack(pixels)))))
    return torch.nn.functional.normalize(torch.cat(batches), dim=-1).double().numpy()


def _weights(events: NDArray[np.int64]) -> Floats:
    """[specimens]: an event of n specimens weighs as sqrt(n), between its specimens and itself."""
    _, event, count = np.unique(events, return_inverse=True, return_counts=True)
    return np.asarray(count[event] ** -0.5, dtype=np.float64)


def _best_strength(features: Floats, labels: Floats, weights: Floats, sites: NDArray[np.str_], split: Split) -> float:
    def error(strength: float) -> float:
        total = 0.0
        for inner in range(_N_INNER_FOLDS):
            is_out = np.isin(sites[split.train], np.unique(sites[split.train])[inner::_N_INNER_FOLDS])
            left, out = split.train[~is_out], split.train[is_out]
            misses = _ridge(features, labels, weights, left, out, strength) - labels[out]
            total += float((misses**2 * weights[out][:, None]).sum())
        return total

    return min(_STRENGTHS, key=error)


def _ridge(
    features: Floats,
    labels: Floats,
    weights: Floats,
    train: NDArray[np.int64],
    wanted: NDArray[np.int64],
    strength: float,
) -> Floats:
    """[wanted, 3] predictions from features of mean 0 and SD 1 over the rows of `train`."""
    mean, scale = features[train].mean(axis=0), features[train].std(axis=0)
    x, y, w = (features[train] - mean) / scale, labels[train], weights[train]
    middle = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
    x, y = ((values - m) * np.sqrt(w)[:, None] for values, m in zip((x, y), middle, strict=True))
    slopes = np.linalg.solve(x.T @ x + strength * np.eye(x.shape[1]), x.T @ y)
    return np.asarray(((features[wanted] - mean) / scale - middle[0]) @ slopes + middle[1], dtype=np.float64)
