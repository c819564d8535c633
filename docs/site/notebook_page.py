"""docs/notebook.ipynb as a page of the site: its text, its code, and what the cells showed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

MOST_LINES = 40
"""Of a text that a cell printed; in between are dots."""


def notebook_page(file: Path) -> str:
    """Markdown with pictures inside."""
    notebook = json.loads(file.read_text(encoding="utf-8"))
    return "\n".join(line for cell in notebook["cells"] for line in _cell(cell))


def _cell(cell: dict[str, Any]) -> Iterator[str]:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        yield f"{source}\n"
        return
    yield f"```python\n{source}\n```\n"
    for output in cell["outputs"]:
        yield from _output(output)


def _output(output: dict[str, Any]) -> Iterator[str]:
    """The richest of the forms in which it is there."""
    data = output.get("data", {})
    if "image/png" in data:
        yield f'<img alt="what the cell draws" src="data:image/png;base64,{"".join(data["image/png"]).strip()}">\n'
    elif "text/html" in data:
        html = "".join(data["text/html"])
        yield "\n".join(line for line in html.splitlines() if line.strip()) + "\n"
    else:
        yield f"```text\n{_shortened(''.join(output.get('text') or data['text/plain']))}\n```\n"


def _shortened(text: str) -> str:
    lines = text.rstrip("\n").splitlines()
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES // 2], "...", *lines[-MOST_LINES // 2 :]]
    return "\n".join(lines)
