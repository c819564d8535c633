"""The search spaces that are built in.

sentinel-tune spaces [NAME]
"""

from collections.abc import Mapping

from search_spaces.space import SearchSpace, list_spaces
from tune.command_line.parsing import Given


def run(given: Given) -> int:
    """Print all, a line each, or one as a table; returns the exit status 0."""
    name: str | None = given.options().name
    print(SearchSpace.load(name).table() if name is not None else listing(list_spaces()))
    return 0


def listing(entries: Mapping[str, str]) -> str:
    """Names and what they are about, in two columns."""
    width = max(map(len, entries), default=0)
    return "\n".join(f"{name:<{width}}  {about}" for name, about in entries.items())
