"""What the tests check of annotations at run time: shapes and dtypes of arrays. All else in them is mypy's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from beartype import beartype

ROOT = Path(__file__).parent.parent


def modules_with_arrays(package: str) -> list[str]:
    """The modules of a package that name jaxtyping: to decorate all others takes time and checks nothing."""
    files = sorted((ROOT / package).rglob("*.py"))
    having = [file.relative_to(ROOT) for file in files if "from jaxtyping import" in file.read_text(encoding="utf-8")]
    return [".".join(file.with_suffix("").parts) for file in having]


def check_arrays(function: Callable[..., Any]) -> Callable[..., Any]:
    """`function` that refuses arrays which are not as it says; jaxtyping's import hook decorates with it."""
    hints = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    if not hints:
        return function
    function.__annotations__ = hints
    return beartype(function)
