"""Run docs/notebook.ipynb from top to bottom, and keep what its cells show.

python -m docs.site.notebook
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

FILE = Path(__file__).resolve().parents[1] / "notebook.ipynb"
SHOWN_FOLDER = "/beetles"
"""In place of the folder in which it ran."""

CELL_SECONDS = 1500


def executed(folder: Path) -> NotebookNode:
    """The notebook with fresh outputs, run in a folder; nothing in it tells where or when.

    Raises: nbclient's CellExecutionError where a cell fails.
    """
    notebook = nbformat.read(FILE, as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    own = os.environ | {"SENTINEL_TUNE_CACHE": str(folder / "cache")}
    NotebookClient(notebook, timeout=CELL_SECONDS, resources=resources, coalesce_streams=True).execute(env=own)
    for number, cell in enumerate(notebook.cells):
        cell["id"], cell["metadata"] = f"cell-{number}", {}
        cell.get("outputs", []).sort(key=lambda output: output.get("name") == "stdout")  # progress first, as it came
    notebook["metadata"] = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    text = nbformat.writes(notebook).replace(str(folder), SHOWN_FOLDER)
    return nbformat.reads(text, as_version=4)


def write(notebook: NotebookNode) -> None:
    """Put it into the place of the one that there is."""
    FILE.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        write(executed(Path(scratch)))
