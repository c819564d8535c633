"""docs/notebook.ipynb shows what its cells do, and they still do it."""

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient
from nbformat import NotebookNode
from nbformat.v4 import new_code_cell, new_notebook

from docs.site.notebook import FILE, SHOWN_FOLDER, executed
from docs.site.notebook_page import notebook_page
from tests.conftest import DEMO
from tune.cli import main
from tune.execution.library_log import FILE_NAME, FOLDER_NAME

MOST_BYTES = 300_000
LOG = f"{FOLDER_NAME}/{FILE_NAME}"

SEARCH = """
import sys
import tune

sys.modules["ipywidgets"] = None  # as if it were not installed
print("said before", file=sys.stderr, flush=True)
tune.search(data={data!r}, space="smoke", trials=3, epochs=2, workers=2, confirm_top=1, confirm_folds=1, study="study")
"""


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: NotebookNode) -> set[str]:
    """What a cell showed: errors, tables, pictures, values."""
    outputs = [output for output in cell.outputs if output.output_type != "stream"]
    return {kind for output in outputs for kind in output.get("data", {output.output_type: ""})}


def test_the_kept_notebook_was_run_from_top_to_bottom_without_an_error():
    kept = nbformat.read(FILE, as_version=4)
    nbformat.validate(kept)
    cells = code_cells(kept)
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    shown = [kind for cell in cells for kind in kinds(cell)]
    assert "error" not in shown
    assert {"image/png", "text/html"} <= set(shown)
    text = FILE.read_text(encoding="utf-8")
    assert SHOWN_FOLDER in text
    assert "/tmp/" not in text
    assert len(text) < MOST_BYTES


def test_its_page_in_the_site_has_code_pictures_and_what_was_printed():
    page = notebook_page(FILE)
    assert "```python\nimport tune\n" in page
    assert 'src="data:image/png;base64,' in page
    assert "Verdict:" in page


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_it_runs_and_shows_what_it_showed(tmp_path: Path):
    kept, now = nbformat.read(FILE, as_version=4), executed(tmp_path)
    for before, after in zip(code_cells(kept), code_cells(now), strict=True):
        assert kinds(after) == kinds(before), before.source


LOAD = """
import sys
import tune

sys.modules["ipywidgets"] = None  # as if it were not installed
tune.load_model({model!r})
"""


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_model_is_loaded_without_a_word_of_a_librarys(demo_cache: Path, tmp_path: Path):
    options = [
        "--data",
        DEMO,
        "--epochs",
        "1",
        "--workers",
        "1",
        "--cache",
        str(demo_cache),
        "--out",
        str(tmp_path / "m"),
    ]
    assert main(["train", "--variant", "default", *options]) == 0
    cell = new_code_cell(LOAD.format(model=str(tmp_path / "m" / "model")))
    NotebookClient(new_notebook(cells=[cell]), resources={"metadata": {"path": str(tmp_path)}}).execute()

    assert [output.output_type for output in cell.outputs] == ["execute_result"]


class Watched(NotebookClient):
    """Counts the messages that clear a cell."""

    n_cleared = 0

    def clear_output(self, outs: list[NotebookNode], msg: dict[str, Any], cell_index: int) -> None:
        self.n_cleared += 1
        super().clear_output(outs, msg, cell_index)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_search_on_ray_leaves_what_its_cell_has_shown_and_adds_to_it_epoch_by_epoch(demo_cache: Path, tmp_path: Path):
    cell = new_code_cell(SEARCH.format(data=DEMO))
    kernel = Watched(new_notebook(cells=[cell]), resources={"metadata": {"path": str(tmp_path)}}, coalesce_streams=True)
    kernel.execute(env=os.environ | {"SENTINEL_TUNE_CACHE": str(demo_cache)})

    assert kernel.n_cleared == 0
    shown = {output.get("name", output.output_type): output.get("text", "") for output in cell.outputs}
    progress = shown.pop("stderr").splitlines()
    assert progress[0] == "said before"
    for said in (
        f"data {DEMO}: ",
        "t0000 default  epoch 1/2",
        "t0002  completed at epoch 2/2",
        "confirming ",
        "confirm default",
    ):
        assert any(line.startswith(said) for line in progress), said
    assert list(shown) == ["stdout", "execute_result"]
    assert "Verdict:" in shown["stdout"]
    lines_of_libraries = [line for line in progress if "packages" in line or "Warning" in line or "IProgress" in line]
    assert lines_of_libraries == []
    assert "Missing packages: ['ipywidgets']" in (tmp_path / "study" / LOG).read_text(encoding="utf-8")
