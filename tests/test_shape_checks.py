"""The arrays of `trainable/` are checked in the tests, and nowhere else."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from jaxtyping import Float
from torch import Tensor

from tests.shape_checks import ROOT, ArrayMismatch, check_arrays
from trainable.training.losses import event_weights, specimen_losses


def test_an_array_of_another_shape_than_annotated_is_refused_where_torch_would_broadcast_it() -> None:
    with pytest.raises(ArrayMismatch, match="`targets`"):
        specimen_losses(torch.zeros(4, 3), torch.zeros(1, 3), None)


def test_an_array_of_another_dtype_than_annotated_is_refused() -> None:
    with pytest.raises(ArrayMismatch, match="`mu`"):
        specimen_losses(torch.zeros(4, 3, dtype=torch.int64), torch.zeros(4, 3), None)


def test_what_is_returned_is_checked_at_each_call_with_the_arguments() -> None:
    lengths = iter([2, 2, 3])

    @check_arrays
    def draw(like: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        return like.new_zeros(next(lengths))

    assert [len(draw(torch.zeros(2))) for _ in range(2)] == [2, 2]
    with pytest.raises(ArrayMismatch, match="`return`"):
        draw(torch.zeros(2))


def test_each_of_many_arrays_is_checked() -> None:
    @check_arrays
    def count(*arrays: Float[Tensor, "2"], **named: Float[Tensor, "3"]) -> int:
        return len(arrays) + len(named)

    assert count(torch.zeros(2), torch.zeros(2), a=torch.zeros(3)) == 3
    with pytest.raises(ArrayMismatch, match="`arrays`"):
        count(torch.zeros(2), torch.zeros(3))
    with pytest.raises(ArrayMismatch, match="`named`"):
        count(torch.zeros(2), a=torch.zeros(3), b=torch.zeros(2))


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
