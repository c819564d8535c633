"""Data that are no beetles': photographs of leaves at places of regions, whose traits show in their colours."""

from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from trainable.data.specimens import Specimens, load_specimens
from trainable.data.splits import make_split
from trainable.data.task import Task
from trainable.frozen.backbone import load_backbone
from trainable.frozen.extract import extract
from trainable.scoring.targets import Targets
from trainable.training.trial_data import TrialData

N_PLACES, PER_PLACE = 8, 6


def leaf_table() -> pd.DataFrame:
    """Leaves whose length shows in their brightness and mass in their colour; two photographs of each plot."""
    rng = np.random.default_rng(3)
    rows = []
    for place in range(N_PLACES):
        for leaf in range(PER_PLACE):
            bright, red = rng.uniform(0, 1, 2) if leaf % 2 == 0 else (rows[-1]["bright"], rows[-1]["red"])
            rows.append(
                {
                    "file_name": f"photos/{place}-{leaf}.png",
                    "bright": bright,
                    "red": red,
                    "length (mm)": round(1000 + 4000 * bright, 1),
                    "mass": round(0.001 * red, 6),
                    "plot": f"{place}/{leaf // 2}",
                    "place": f"Wald {place}",
                    "region": ["Süd", "Nord", "Ost"][place % 3],
                    "number": place % 3,
                    "genus": ["Acer", "", "Quercus"][leaf % 3],
                }
            )
    return pd.DataFrame(rows)


def draw_leaves(folder: Path) -> None:
    """The photographs and metadata.csv, in a folder that exists."""
    (folder / "photos").mkdir()
    rng = np.random.default_rng(4)
    rows = leaf_table()
    for row in rows.itertuples():
        shade = np.array([255 * row.red, 255 * row.bright, 128]) + rng.normal(0, 4, (32, 32, 3))
        Image.fromarray(shade.clip(0, 255).astype(np.uint8)).save(folder / row.file_name)
    rows.drop(columns=["bright", "red"]).to_csv(folder / "metadata.csv", index=False)


def read_leaves(folder: Path, task: Task, cache: Path) -> Specimens:
    """The specimens of a folder of leaves; cache: a folder that need not exist."""
    return load_specimens(str(folder), task=task, cache_dir=cache, n_processes=1)


def leaf_data(specimens: Specimens, cache: Path, *, holdout: str) -> TrialData:
    """Features of the tiny backbone for trials on leaves, fold 0 held out, as workers read them from a file."""
    store = extract(
        load_backbone("tiny:random"),
        specimens.images,
        data_fingerprint=specimens.fingerprint,
        taps=(5, 6),
        cache_dir=cache,
        n_processes=0,
    )
    TrialData(
        store=store,
        labels=specimens.labels.astype(np.float32),
        domain_ids=specimens.ids("domain_id"),
        event_ids=specimens.ids("event_id"),
        site_ids=specimens.ids("site_id"),
        species=specimens.ids("species"),
        numbers=specimens.numbers,
        split=make_split(specimens.frame, holdout=holdout, fold=0, seed=0),
        targets=Targets.of(specimens.task, specimens.labels, specimens.ids("event_id")),
    ).save(cache / "data")
    return TrialData.load(cache / "data")
