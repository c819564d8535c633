"""What the packages import is declared, and what they take from others' private parts is held to tested minors."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
OURS = ("tune", "trainable", "search_spaces")
NO_DISTRIBUTION = {"_typeshed", "sentinel_export"}
"""What type checkers alone see, and an exported model's own program."""

EXTRAS = ("onnx",)
"""Of what our packages import where it is installed; an extra for people, such as a dashboard, is imported nowhere."""

PRIVATE = re.compile(r"(^|\.)_[a-z]", re.IGNORECASE)


@cache
def known() -> Mapping[str, list[str]]:
    """Top-level names that are installed, and the distributions they come with."""
    return packages_distributions()


def declared() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = (line for extra in EXTRAS for line in project["optional-dependencies"][extra])
    found = [Requirement(line) for line in (*project["dependencies"], *optional)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def imported(path: Path) -> Iterator[str]:
    """The dotted names that a file imports or reads of an imported package, such as `ray._private.state`."""
    nodes = list(ast.walk(ast.parse(path.read_text())))
    modules = {a.name.partition(".")[0] for node in nodes if isinstance(node, ast.Import) for a in node.names}
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in modules:
            yield f"{node.value.id}.{node.attr}"


@pytest.fixture(scope="module")
def names() -> set[str]:
    """All that our packages import of others."""
    found = {name for package in OURS for path in (ROOT / package).rglob("*.py") for name in imported(path)}
    ours = {*OURS, *NO_DISTRIBUTION, *sys.stdlib_module_names}
    return {name for name in found if name.partition(".")[0] not in ours}


def distributions_of(name: str) -> set[str]:
    return {canonicalize_name(found) for found in known().get(name.partition(".")[0], [])}


@pytest.mark.seconds
def test_every_import_is_declared(names):
    assert len(names) > 100
    assert sorted(name for name in names if not distributions_of(name) & declared().keys()) == []


@pytest.mark.seconds
def test_private_names_are_taken_of_tested_minors_alone(names):
    private = {name for name in names if PRIVATE.search(name)}
    assert {name.partition(".")[0] for name in private} >= {"ray", "optuna"}
    for name in private:
        (requirement,) = (declared()[found] for found in distributions_of(name) & declared().keys())
        caps = [part.version for part in requirement.specifier if part.operator in ("<", "==")]
        assert caps, f"{name}: {requirement} has no upper end"
        assert "." in caps[0], f"{name}: {requirement} allows minors that nobody tested"


@pytest.mark.slow
def test_the_lowest_versions_agree_with_each_other(tmp_path):
    uv = shutil.which("uv")
    assert uv is not None
    command = [uv, "pip", "compile", "--quiet", "--resolution", "lowest-direct", "--all-extras", "--no-header"]
    command += ["--cache-dir", str(tmp_path), "pyproject.toml"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch==" in done.stdout
