"""The demo dataset, written out as a folder that `--data` takes.

sentinel-tune demo-data PATH [--specimens N] [--seed N]
"""

import argparse

from trainable.errors import UserError


def run(arguments: argparse.Namespace) -> int:
    """Draw and write it; returns the exit status 0."""
    if arguments.path.exists():
        raise UserError(f"PATH must not exist yet, but {arguments.path} does; choose another folder")
    if arguments.specimens < 1:
        raise UserError(f"`--specimens >= 1` must hold, but got {arguments.specimens}")
    from trainable.data.demo import draw_demo  # imports numpy and more

    draw_demo(arguments.path, n_specimens=arguments.specimens, seed=arguments.seed)
    print(f"wrote {arguments.specimens} specimens to {arguments.path}; use it with `--data {arguments.path}`")
    return 0
