"""The expected calibration error by scikit-learn's reliability diagram, whose bins hold their upper edge as ours do."""

import numpy as np
from sklearn.calibration import calibration_curve

from trainable.scoring.class_rule import N_BINS


def calibration_error_of_scikit_learn(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """Mean over events of their bin's distance of accuracy from mean confidence; the diagram leaves empty bins out."""
    accuracy, mean = calibration_curve(is_right, confidence, n_bins=N_BINS, strategy="uniform", pos_label=1)
    edges = np.linspace(0, 1, N_BINS + 1)
    counts, _ = np.histogram(-confidence, bins=-edges[::-1])  # of negatives, so that it is the upper edge that is in
    events = counts[::-1]
    return float(np.average(np.abs(accuracy - mean), weights=events[events > 0]))
