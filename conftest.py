"""The arrays of `trainable/` are checked against their annotations wherever a test calls it.

pytest loads this file before tests/conftest.py, and so before anything imports `trainable`.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # a process: tests run side by side. Set before torch is loaded

from tests.shape_checks import check_modules, modules_with_arrays

check_modules(modules_with_arrays("trainable"))
