"""Numbers of things: one is one."""

import pytest

from trainable.counts import counted


@pytest.mark.parametrize(
    ("n", "noun", "words"),
    [
        (0, "image", "0 images"), (1, "image", "1 image"), (1500, "image", "1500 images"), (1, "entry", "1 entry"),
        (2, "entry", "2 entries"), (1, "held-out fold", "1 held-out fold"), (3, "held-out fold", "3 held-out folds"),
        (1.0, "CPU", "1 CPU"), (0.5, "CPU", "0.5 CPUs"), (16.0, "CPU", "16 CPUs"),
    ],
)  # fmt: skip
def test_a_number_of_things_reads_as_one_says_it(n, noun, words):
    assert counted(n, noun) == words
