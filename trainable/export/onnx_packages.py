"""The extra `onnx`: packages that write and check an ONNX file, without which all else works."""

import importlib.util
from importlib.metadata import version

from trainable.errors import UserError

PACKAGES = ("onnx", "onnxruntime", "onnxscript")
"""The file's format, what computes it, and what torch's exporter writes the graph with."""

LATEST_FAILING = (2, 6)
"""Of torch: its exporter cannot decompose these models for a batch of any size, nor write the weights' flags."""


def check_packages() -> None:
    """Raises: UserError naming all that must be installed to write ONNX."""
    problems = [problem for problem in [torch_problem(version("torch"))] if problem is not None]
    if missing := [name for name in PACKAGES if importlib.util.find_spec(name) is None]:
        problems.append(
            f"`--format onnx` must have {', '.join(PACKAGES)} installed, but lacks {', '.join(missing)}; "
            f"`pip install {' '.join(missing)}`, or `pip install -e '.[onnx]'` where this program was installed from"
        )
    if problems:
        raise UserError(problems)


def torch_problem(installed: str) -> str | None:
    """Why this version of torch, such as "2.6.0+cpu", cannot write ONNX; None where it can."""
    major, minor, *_ = installed.split(".")
    if (int(major), int(minor)) > LATEST_FAILING:
        return None
    latest = ".".join(map(str, LATEST_FAILING))
    return (
        f"`--format onnx` must have a torch after {latest}, whose exporter fails on these models, but has {installed}; "
        "`pip install -U torch torchvision`"
    )
