"""The variants: named configurations that are built in.

sentinel-tune variants [NAME]
"""

import argparse

from search_spaces.space import list_variants, read_variant
from tune.verbs.spaces import listing


def run(arguments: argparse.Namespace) -> int:
    """Print all, a line each, or one in full; returns the exit status 0."""
    print(read_variant(arguments.name).text() if arguments.name is not None else listing(list_variants()))
    return 0
