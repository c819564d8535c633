"""The arrays of `trainable/` are checked in the tests, and nowhere else."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from tests.shape_checks import ROOT
from trainable.training.losses import event_weights, specimen_losses


def test_an_array_of_another_shape_than_annotated_is_refused_where_torch_would_broadcast_it() -> None:
    with pytest.raises(TypeCheckError, match="targets"):
        specimen_losses(torch.zeros(4, 3), torch.zeros(1, 3), None)


def test_an_array_of_another_dtype_than_annotated_is_refused() -> None:
    with pytest.raises(TypeCheckError, match="mu"):
        specimen_losses(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3), None)


def test_what_is_no_array_is_left_to_mypy() -> None:
    assert event_weights(np.array([7, 7]), exponent=np.float64(1)).tolist() == [1.0, 1.0]  # type: ignore[arg-type]


@pytest.mark.slow
def test_outside_the_tests_an_annotated_function_is_the_plain_one() -> None:
    script = (
        "import sys, trainable.training.losses as losses;"
        "assert not hasattr(losses.specimen_losses, '__wrapped__');"
        "assert 'beartype' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=True)
