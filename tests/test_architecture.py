"""The architecture, held: which package may load which, seen in fresh processes."""

import ast
import importlib
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from importlib import metadata
from itertools import groupby
from pathlib import Path

import pytest

from tune.cli import VERBS

ROOT = Path(__file__).resolve().parents[1]


def loaded_by(statement: str) -> set[str]:
    code = f"import sys; {statement}; print(*sorted({{name.split('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("search_spaces.space", {"ray", "torch", "mlflow", "optuna", "tune"}),
        ("trainable.config", {"torch", "numpy", "pandas"}),
        ("trainable.scoring.scoring", {"torch", "ray", "optuna", "mlflow"}),
        ("trainable.data.specimens", {"torch", "ray", "optuna", "mlflow", "tune"}),
        ("trainable.data.decoding", {"torch", "pandas", "pyarrow", "scipy"}),
        pytest.param(
            "trainable.training.trainer, trainable.frozen.image_feed",
            {"ray", "optuna", "mlflow", "tune", "open_clip", "peft", "transformers", "torchvision", "timm"},
            marks=pytest.mark.slow,  # they load torch
        ),
        pytest.param(
            "trainable.frozen.extract",
            {"ray", "optuna", "mlflow", "tune", "search_spaces", "peft", "transformers"},
            marks=pytest.mark.slow,
        ),
        ("tune.decisions.decisions", {"ray", "mlflow", "torch"}),
        ("tune.cli", {"ray", "mlflow", "torch", "optuna", "pandas", "argcomplete"}),
        ("tune.verbs.plan", {"ray", "mlflow", "torch"}),
        ("tune.tracking.tracker, tune.tracking.syncing", {"ray", "mlflow", "torch", "optuna"}),
    ],
)
def test_importing_a_module_loads_no_package_it_must_not_know(module, forbidden):
    assert not loaded_by(f"import {module}") & forbidden


def test_only_one_file_of_trainable_imports_ray():
    importers = [path.name for path in (ROOT / "trainable").rglob("*.py") if "ray" in imported_packages(path)]

    assert importers == ["ray_trial.py"]


def test_imports_go_one_way():
    for path in (ROOT / "trainable").rglob("*.py"):
        assert not imported_packages(path) & {"tune", "search_spaces", "optuna", "mlflow"}, path.name
    for path in (ROOT / "search_spaces").rglob("*.py"):
        assert not imported_packages(path) & {"tune", "torch", "ray", "mlflow"}, path.name


def test_no_module_or_room_of_ours_shadows_a_library():
    """`python tune/search.py` looks for modules beside itself first."""
    packages = ("tune", "trainable", "search_spaces")
    found = (path for package in packages for path in (ROOT / package).iterdir() if path.suffix in ("", ".py"))
    ours = {path.stem for path in found if not path.name.startswith("_")}

    assert not ours & (set(sys.stdlib_module_names) | set(metadata.packages_distributions()))


def test_every_verb_has_the_file_of_its_name():
    for verb in VERBS:
        assert callable(importlib.import_module(verb.module).run), verb.name


ROOMS = (
    ("api", "search", "retrain", "evaluate"),
    ("verbs",),
    ("cli",),
    ("models", "planning", "jobs", "report_page"),
    ("evaluation", "execution"),
    ("study",),
    ("report",),
    ("extraction", "tracking"),
    ("cluster", "confirming"),
    ("command_line", "measuring"),
    ("decisions",),
    ("journal",),
    ("printed",),
)
"""The floors of `tune/`, top to bottom: a room, or a file beside the rooms, may import what lies below it."""


def test_no_room_of_tune_imports_one_on_its_own_floor_or_above_not_even_for_a_type():
    floor_of = {room: floor for floor, rooms in enumerate(ROOMS) for room in rooms}
    found = {path: room_of(path) for path in (ROOT / "tune").rglob("*.py") if not path.name.startswith("__")}

    assert floor_of.keys() == set(found.values())
    for path, room in found.items():
        for imported in {name.split(".")[1] for name in imported_modules(path) if name.startswith("tune.")} - {room}:
            assert floor_of[imported] > floor_of[room], f"{path.relative_to(ROOT)} imports from {imported}"


def test_the_drawing_has_these_floors_and_no_others():
    drawing = (
        (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    )

    assert tuple(tuple(line.partition("    ")[0].split()) for line in drawing.splitlines()) == ROOMS


SCRIPTS = {Path("search.py"), Path("retrain.py"), Path("evaluate.py")}
"""What `ray submit` names; each calls the verb of its name and holds nothing else."""


def test_the_scripts_beside_the_rooms_only_call_their_verbs():
    for script in SCRIPTS:
        names = {node.__class__ for node in ast.parse((ROOT / "tune" / script).read_text(encoding="utf-8")).body}
        assert names == {ast.Expr, ast.Import, ast.ImportFrom, ast.If}, script


def test_no_two_files_or_classes_of_tune_share_a_name():
    paths = [path for path in (ROOT / "tune").rglob("*.py") if not path.name.startswith("__")]
    classes = [
        node.name
        for path in paths
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ClassDef)
    ]

    assert repeated(path.name for path in paths if path.relative_to(ROOT / "tune") not in SCRIPTS) == []
    assert repeated(classes) == []


def repeated(names: Iterable[str]) -> list[str]:
    return [name for name, n in Counter(names).items() if n > 1]


def test_no_two_files_need_each_other():
    imports = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): {
            name for name in imported_modules(path) if name.startswith("tune.")
        }
        for path in (ROOT / "tune").glob("**/*.py")
    }
    TopologicalSorter(imports).prepare()  # its CycleError names the circle


MOST_LATE_IMPORTS = 85
"""Imports of our own modules inside functions: of what is heavy or optional, each with the reason beside it."""


@pytest.mark.seconds
def test_our_own_modules_are_imported_at_the_top_but_for_what_is_heavy():
    late = {
        path: list(late_imports(path)) for package in ("tune", "trainable") for path in (ROOT / package).rglob("*.py")
    }
    ours = {(path, node.lineno) for path, blocks in late.items() for block in blocks for node in block if is_ours(node)}
    unexplained = [
        f"{path.relative_to(ROOT)}:{block[0].lineno}"
        for path, blocks in late.items()
        for block in blocks
        if all(is_ours(node) for node in block) and "#" not in text_of(path, block)
    ]

    assert not unexplained
    assert len(ours) <= MOST_LATE_IMPORTS


MOST_ANYS = 199
"""Uses of `Any` in `tune/` and `trainable/`: of libraries without types, and of values whose type is a value, too."""


@pytest.mark.seconds
def test_what_is_known_has_a_type():
    names = [
        node
        for package in ("tune", "trainable")
        for path in (ROOT / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Name) and node.id == "Any"
    ]

    assert len(names) <= MOST_ANYS


def late_imports(path: Path) -> Iterator[list[ast.Import | ast.ImportFrom]]:
    """The imports inside functions, those in a row together; without rows in which none is of ours."""
    functions = [
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    seen: set[int] = set()
    for statement in (inside for function in functions for inside in ast.walk(function)):
        for name in ("body", "orelse", "finalbody"):
            body = getattr(statement, name, None)
            for are_imports, row in groupby(body if isinstance(body, list) else [], key=is_import):
                block = list(row)
                if are_imports and any(map(is_ours, block)) and block[0].lineno not in seen:
                    seen.add(block[0].lineno)
                    yield block


def is_import(node: ast.AST) -> bool:
    return isinstance(node, ast.Import | ast.ImportFrom)


def is_ours(node: ast.Import | ast.ImportFrom) -> bool:
    names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names]
    return bool({name.partition(".")[0] for name in names} & {"tune", "trainable", "search_spaces"})


def text_of(path: Path, block: list[ast.Import | ast.ImportFrom]) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return "\n".join(lines[block[0].lineno - 1 : block[-1].end_lineno])


def room_of(path: Path) -> str:
    """A folder of `tune/`, or the name of a file beside them."""
    inside = path.relative_to(ROOT / "tune")
    return inside.parts[0] if len(inside.parts) > 1 else inside.stem


def imported_modules(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def imported_packages(path: Path) -> set[str]:
    return {name.split(".")[0] for name in imported_modules(path)}
