"""What the tests check of annotations at run time: shapes and dtypes of arrays. All else in them is mypy's.

jaxtyping has an import hook of its own, but wraps whatever a module defines, arrays or not, and checks again what has
not changed since the last call: that took two thirds of the time of a training in the tests.
"""

import ast
import functools
import inspect
import sys
from collections.abc import Callable, Sequence
from dataclasses import is_dataclass
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from beartype.door import is_bearable
from jaxtyping import jaxtyped

ROOT = Path(__file__).parent.parent
NAME = "_check_arrays"
VAR_POSITIONAL, VAR_KEYWORD = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
MOST_ITEMS = 16


class ArrayMismatch(TypeError):
    """An array is not as annotated."""


def modules_with_arrays(package: str) -> list[str]:
    """The modules of a package that name jaxtyping: in all others there is nothing to check."""
    files = sorted((ROOT / package).rglob("*.py"))
    having = [file.relative_to(ROOT) for file in files if "from jaxtyping import" in file.read_text(encoding="utf-8")]
    return [".".join(file.with_suffix("").parts) for file in having]


def check_modules(names: Sequence[str]) -> None:
    """From now on, what these modules define refuses arrays that are not as annotated; none is imported yet."""
    assert not sys.modules.keys() & {*names}
    sys.meta_path.insert(0, _Finder(names))


def check_arrays(defined: Any) -> Any:
    """A function that refuses arrays which are not as it says, or a dataclass that does so of its fields."""
    if isinstance(defined, type):
        if is_dataclass(defined):
            defined.__init__ = _checked(defined.__init__)  # type: ignore[misc]
        return defined
    return _checked(defined)


def _checked(function: Callable[..., Any]) -> Callable[..., Any]:
    hints = {name: hint for name, hint in function.__annotations__.items() if "jaxtyping." in repr(hint)}
    if not hints:
        return function
    signature, seen = inspect.signature(function), set[object]()

    def check(args: Any, kwargs: Any, **result: Any) -> None:
        __tracebackhide__ = True
        bound = signature.bind(*args, **kwargs)
        with jaxtyped("context"):  # what `batch` is in one argument, it is in all others and in what is returned
            for name, value in {**bound.arguments, **result}.items():
                kind = name in signature.parameters and signature.parameters[name].kind
                each = value if kind is VAR_POSITIONAL else value.values() if kind is VAR_KEYWORD else [value]
                if name in hints and not all(is_bearable(one, hints[name]) for one in each):
                    raise ArrayMismatch(f"{function.__qualname__}: `{name}` is not {hints[name]}: {_form(value)}")

    @functools.wraps(function)
    def checked(*args: Any, **kwargs: Any) -> Any:
        __tracebackhide__ = True
        given = _form((args, kwargs))
        if given is None or given not in seen:
            check(args, kwargs)
            seen.add(given)
        result = function(*args, **kwargs)
        returned = _form((args, kwargs, result)) if "return" in hints else given
        if returned is None or returned not in seen:
            check(args, kwargs, **{"return": result})
            seen.add(returned)
        return result

    return checked


def _form(value: Any) -> object:
    """All of a value that a check looks at, or None where that is too much: types, shapes and dtypes."""
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return type(value), tuple(value.shape), value.dtype
    if isinstance(value, dict):
        return _form([*value.items()])
    if isinstance(value, list | tuple):
        forms = [_form(item) for item in value[: MOST_ITEMS + 1]]
        return None if len(forms) > MOST_ITEMS or None in forms else (type(value), *forms)
    return type(value)


class _Finder(MetaPathFinder):
    """Finds modules where Python does, and has those that it was given decorated."""

    def __init__(self, names: Sequence[str]) -> None:
        self._names = {*names}

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        spec = PathFinder.find_spec(fullname, path, target) if fullname in self._names else None
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    def path_stats(self, path: Any) -> Any:  # noqa: ARG002
        raise OSError("bytecode is neither read nor written: that of the module is the undecorated one's")

    def source_to_code(self, data: Any, path: Any, *, _optimization: int = -1) -> Any:  # type: ignore[override]
        return compile(_decorated(data), path, "exec", dont_inherit=True, optimize=_optimization)


class _Decorator(ast.NodeTransformer):
    """Puts `check_arrays` nearest to functions, whose annotations other decorators may hide, and outside of classes."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        node.decorator_list.append(ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return self.generic_visit(node)

    def visit_ClassDef(self, node: ast.ClassDef) -> ast.AST:
        node.decorator_list.insert(0, ast.copy_location(ast.Name(NAME, ast.Load()), node))
        return self.generic_visit(node)


def _decorated(source: bytes) -> ast.Module:
    tree = _Decorator().visit(ast.parse(source))
    begins = int(ast.get_docstring(tree) is not None)
    tree.body.insert(begins, ast.parse(f"from {__name__} import check_arrays as {NAME}").body[0])
    return ast.fix_missing_locations(tree)
