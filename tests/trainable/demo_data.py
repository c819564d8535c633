"""The small demo as trials read it, extracted into the session's cache."""

from pathlib import Path

import numpy as np

from tests.beetles import TARGETS
from trainable.data.specimens import load_specimens
from trainable.data.splits import make_split
from trainable.frozen.backbone import load_backbone
from trainable.frozen.extract import extract
from trainable.training.trial_data import TrialData

TAPS = (4, 5)


def demo_data(cache: Path, *, n_copies: int = 0) -> TrialData:
    """Of the tower with random weights, fold 0 held out; with copies of the images if asked to."""
    specimens = load_specimens("demo:120", cache_dir=cache, n_processes=1)
    frame = specimens.frame
    backbone = load_backbone("tiny:random")
    store, *copies = (
        extract(
            backbone,
            specimens.images,
            data_fingerprint=specimens.fingerprint,
            taps=TAPS,
            cache_dir=cache,
            n_processes=0,
            copy=copy,
        )
        for copy in range(n_copies + 1)
    )
    return TrialData(
        store=store,
        copies=tuple(copies),
        labels=frame[list(TARGETS)].to_numpy(np.float32),
        domain_ids=frame["domain_id"].to_numpy(np.int64),
        event_ids=frame["event_id"].to_numpy(np.int64),
        site_ids=frame["site_id"].to_numpy(str),
        species=frame["species"].to_numpy(str),
        split=make_split(frame, holdout="both", fold=0, seed=0),
    )
