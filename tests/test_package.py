"""What is installed and cited: the wheel holds all that the packages read, and CITATION.cff is of this version."""

import tomllib
from pathlib import Path
from zipfile import ZipFile

import yaml
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("tune", "trainable", "search_spaces")


def test_the_wheel_holds_types_and_every_file_of_the_packages(tmp_path):
    (wheel,) = WheelBuilder(str(ROOT)).build(directory=str(tmp_path), versions=["standard"])
    with ZipFile(wheel) as opened:
        shipped = set(opened.namelist())
    files = {
        path.relative_to(ROOT).as_posix()
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in (".py", ".yaml", ".typed", ".json", ".safetensors", ".sha256", ".md")
    }

    assert {f"{package}/py.typed" for package in PACKAGES} <= files
    tiny = "trainable/frozen/sentinel_tiny"
    assert {f"{tiny}/{name}" for name in ("open_clip_model.safetensors", "README.md")} <= files
    assert files <= shipped
    assert {name.partition("/")[0] for name in shipped if ".dist-info/" not in name} == set(PACKAGES)


def test_the_citation_is_of_this_version_and_has_what_its_format_asks_for():
    """Citation File Format 1.2.0: `authors`, `cff-version`, `message` and `title` are required."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

    assert citation["cff-version"] == "1.2.0"
    assert citation["title"]
    assert citation["message"]
    assert [author.keys() for author in citation["authors"]] == [{"name"}]
    assert citation["version"] == project["version"]
