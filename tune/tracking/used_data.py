"""The data that a run learns from, as MLflow's UI shows it beside the run."""

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tune.tracking.desired_run import UsedDataset

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput


def dataset_inputs(datasets: Iterable[UsedDataset]) -> "list[DatasetInput]":
    """As MLflow's client takes them."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [
        DatasetInput(
            Dataset(
                name=used.name,
                digest=used.digest,
                source_type="specimens",
                source=json.dumps({"data": used.name}),
                profile=json.dumps({"rows": used.rows, "split": used.use}),
            ),
            [InputTag("mlflow.data.context", used.use)],
        )
        for used in datasets
    ]
