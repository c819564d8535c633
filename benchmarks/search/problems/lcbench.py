"""YAHPO's surrogate of LCBench: 7 parameters of small networks on 34 data sets, 52 epochs, without noise.

Zimmer et al. 2021 (LCBench, Apache 2.0); Pfisterer et al. 2022 (YAHPO Gym). Not kept here: `model.onnx` and
`encoding.json` of https://github.com/slds-lmu/yahpo_data, folder `lcbench`, in a folder that `--lcbench` names.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.problems.problem import DrawnSpace, Training, Values
from search_spaces.parameter import Draws, Plain
from tune.decisions.sampler import Space

Floats = NDArray[np.float32]

_INPUTS = ("batch_size", "learning_rate", "momentum", "weight_decay", "num_layers", "max_units", "max_dropout")
"""Of the model, behind the epoch."""

_SECONDS, _LOSS = 0, 2
"""Outputs of the model: seconds until the end of the epoch; cross entropy on the validation data."""


@dataclass(frozen=True)
class LcBench:
    """Instance `number` is a data set. folder: holds the model."""

    number: int
    folder: Path
    max_epochs: int = 52

    @property
    def space(self) -> Space:
        """As `_draw` has it."""
        return DrawnSpace(_draw)

    def train(self, values: Values) -> Training:
        """An epoch takes what the surrogate says of the whole training, evenly, and never less than a tenth."""
        found = self._predicted(values)
        seconds = max(0.1, float(found[-1, _SECONDS]) / self.max_epochs)
        return Training(scores=tuple(found[:, _LOSS].astype(float).tolist()), epoch_seconds=seconds)

    def truth(self, values: Values) -> float:
        """Lowest of the curve."""
        return float(self._predicted(values)[:, _LOSS].min())

    def _predicted(self, values: Values) -> Floats:
        numbers = np.array([float(values[name]) for name in _INPUTS])
        rows = np.column_stack([np.arange(1, self.max_epochs + 1), np.tile(numbers, (self.max_epochs, 1))])
        codes = _data_sets(self.folder)
        code = np.full((self.max_epochs, 1), codes[self.number % len(codes)], dtype=np.int32)
        (found,) = _model(self.folder).run(None, {"x_cat": code, "x_cont": rows.astype(np.float32)})
        predicted: Floats = found
        return predicted


@cache
def _model(folder: Path) -> Any:
    import onnxruntime  # an extra of this project

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(str(folder / "model.onnx"), options, providers=["CPUExecutionProvider"])


@cache
def _data_sets(folder: Path) -> list[int]:
    """Their codes; one of the 35 has no curves in LCBench."""
    codes = json.loads((folder / "encoding.json").read_text(encoding="utf-8"))["OpenML_task_id"]
    return [code for name, code in codes.items() if name not in ("#na#", "167083")]


def _draw(trial: Draws) -> dict[str, Plain]:
    return {
        "batch_size": trial.suggest_int("batch_size", 16, 512, step=1, log=True),
        "learning_rate": trial.suggest_float("learning_rate", 1e-4, 0.1, log=True),
        "momentum": trial.suggest_float("momentum", 0.1, 0.99, log=False),
        "weight_decay": trial.suggest_float("weight_decay", 1e-5, 0.1, log=False),
        "num_layers": trial.suggest_int("num_layers", 1, 5, step=1, log=False),
        "max_units": trial.suggest_int("max_units", 64, 1024, step=1, log=True),
        "max_dropout": trial.suggest_float("max_dropout", 0.0, 1.0, log=False),
    }
