"""The extra `onnx`: packages that write and check an ONNX file, without which all else works."""

import importlib.util

from trainable.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""The file's format, what computes it, and what torch's exporter writes the graph with."""


def check_packages() -> None:
    """Raises: UserError naming what must be installed to write ONNX."""
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        raise UserError(
            f"`--format onnx` must have {', '.join(PACKAGES)} installed, but lacks {', '.join(missing)}; "
            f"`pip install {' '.join(missing)}`, or `pip install -e '.[onnx]'` where this program was installed from"
        )
