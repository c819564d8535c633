"""How many trials share a GPU follows from what was measured."""

import pytest

from tune.cluster.gpu_share import SideBySide, choose_share

GIB = 2**30


def measured(*speeds: float, peak_gib: float = 4) -> list[SideBySide]:
    counts = (1, 2, 4)
    return [
        SideBySide(n=n, specimens_per_second=speed, peak_bytes=int(peak_gib * GIB))
        for n, speed in zip(counts, speeds, strict=False)
    ]


@pytest.mark.parametrize(
    ("found", "gpu_gib", "share", "why"),
    [
        (measured(100, 180, 300), 80, 0.25, "four pay"),
        (measured(100, 180, 190), 80, 0.5, "four bring no more than two"),
        (measured(100, 105, 108), 80, 1.0, "one fills the GPU"),
        (measured(100, 105, 150), 80, 0.25, "two do not pay, four do"),
        (measured(100, 180, 300), 16, 0.5, "four do not fit its memory, with their features"),
        (measured(100, 180, 300), 12, 1.0, "two would leave their features no room"),
        (measured(100, 0), 80, 1.0, "two ran out of memory"),
        (measured(0), 4, 1.0, "not even one fits"),
    ],
)
def test_as_many_share_a_gpu_as_fit_and_pay(found, gpu_gib, share, why):
    assert choose_share(found, gpu_bytes=gpu_gib * GIB).gpus_per_trial == share, why


def test_the_reason_holds_what_was_measured():
    reason = choose_share(measured(100, 180, 300), gpu_bytes=16 * GIB).reason

    assert reason.startswith("2 trials a GPU: ")
    assert "1: 100, 2: 180, 4: 300" in reason
    assert "8.0 GiB of 16.0 GiB; 4 would not fit its memory" in reason
