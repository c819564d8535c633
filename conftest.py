"""The arrays of `trainable/` are checked against their annotations wherever a test calls it.

pytest loads this file before tests/conftest.py, and so before anything imports `trainable`. jaxtyping's own option,
`--jaxtyping-packages`, does not reach the processes of pytest-xdist.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process: tests run side by side. Set before torch is loaded

from jaxtyping import install_import_hook

from tests.shape_checks import modules_with_arrays

install_import_hook(modules_with_arrays("trainable"), "tests.shape_checks.check_arrays")
