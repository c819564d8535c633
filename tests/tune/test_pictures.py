"""The report's main figures as PNG, as MLflow shows them."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from tests.tune.made_study import made_study
from tests.tune.test_saved_view import uri as uri
from tests.tune.test_tracking import client
from tests.tune.test_tracking import empty_database as empty_database
from tune.report_page.kept_files import kept_files
from tune.report_page.pictures import pictures
from tune.report_page.view import view_of
from tune.tracking.syncing import sync

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader:DeprecationWarning")

FIGURES = {"best-score.png", "learning-curves.png", "importance.png"}


def drawn(n: int) -> dict[str, bytes]:
    return dict(pictures(view_of(Path("made"), made_study(n), is_running=False)))


@pytest.mark.seconds
def test_a_study_has_three_pictures_that_show_something_and_are_small():
    found = drawn(40)
    assert set(found) == FIGURES
    for name, png in found.items():
        picture = Image.open(io.BytesIO(png))
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1_000_000) or []) > 50, name
        assert len(png) < 150_000


def test_what_cannot_be_drawn_is_left_out():
    assert set(drawn(3)) == FIGURES - {"importance.png"}
    assert drawn(0) == {}


@pytest.mark.seconds
def test_the_same_study_gives_the_same_pictures_and_another_others():
    assert drawn(12) == drawn(12)
    assert drawn(12)["learning-curves.png"] != drawn(11)["learning-curves.png"]


def test_a_name_in_any_script_can_be_drawn():
    begun, *others = made_study(4)
    entries = [replace(begun, study_id="Käfer $x$ 甲虫"), *others]
    assert dict(pictures(view_of(Path("made"), entries, is_running=False)))


@pytest.mark.seconds
def test_mlflow_keeps_them_with_the_page_and_sends_them_once(uri: str, tmp_path: Path):
    entries = made_study(12)
    files = kept_files(Path("made"), entries)
    run_id = str(sync(entries, uri, "beetles", files=files).parent_run_id)
    held = Path(client(uri).download_artifacts(run_id, "", str(tmp_path)))
    for path, content in files.items():
        assert (held / path).read_bytes() == (content if isinstance(content, bytes) else content.encode())
    assert {path.name for path in (held / "figures").iterdir()} == FIGURES
    assert sync(entries, uri, "beetles", files=files).n_requests == 2
