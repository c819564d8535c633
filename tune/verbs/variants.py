"""The variants: named configurations that are built in.

sentinel-tune variants [NAME]
"""

from search_spaces.space import list_variants, read_variant
from tune.command_line.parsing import Given
from tune.verbs.spaces import listing


def run(given: Given) -> int:
    """Print all, a line each, or one in full; returns the exit status 0."""
    name: str | None = given.options().name
    print(read_variant(name).text() if name is not None else listing(list_variants()))
    return 0
