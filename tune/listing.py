"""`spaces`, `variants` and `demo-data`: what is built in, shown or written out."""

import argparse

from search_spaces.space import SearchSpace, list_spaces, list_variants, read_variant
from trainable.errors import UserError


def spaces(arguments: argparse.Namespace) -> int:
    """sentinel-tune spaces [NAME]"""
    if arguments.name:
        print(SearchSpace.load(arguments.name).table())
    else:
        _print_list(list_spaces())
    return 0


def variants(arguments: argparse.Namespace) -> int:
    """sentinel-tune variants [NAME]"""
    if arguments.name:
        print(read_variant(arguments.name).text())
    else:
        _print_list(list_variants())
    return 0


def demo_data(arguments: argparse.Namespace) -> int:
    """sentinel-tune demo-data PATH [--specimens N] [--seed N]"""
    from trainable.data.demo import draw_demo

    if arguments.path.exists():
        raise UserError(f"PATH must not exist yet, but {arguments.path} does; choose another folder")
    if arguments.specimens < 1:
        raise UserError(f"`--specimens >= 1` must hold, but got {arguments.specimens}")
    draw_demo(arguments.path, n_specimens=arguments.specimens, seed=arguments.seed)
    print(f"wrote {arguments.specimens} specimens to {arguments.path}; use it with `--data {arguments.path}`")
    return 0


def _print_list(entries: dict[str, str]) -> None:
    width = max(map(len, entries), default=0)
    for name, about in entries.items():
        print(f"{name:<{width}}  {about}")
