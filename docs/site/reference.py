"""Write the pages of docs/reference/ from the code.

python -m docs.site.reference
"""

from pathlib import Path

from docs.site.commands_page import commands_page
from docs.site.configuration_page import configuration_page
from docs.site.spaces_page import spaces_page, tasks_page

FOLDER = Path(__file__).resolve().parents[1] / "reference"


def pages() -> dict[str, str]:
    """File name -> the page that the code makes of it."""
    return {
        "commands.md": commands_page(),
        "configuration.md": configuration_page(),
        "spaces.md": spaces_page(),
        "tasks.md": tasks_page(),
    }


if __name__ == "__main__":
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
