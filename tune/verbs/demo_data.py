"""The demo dataset, written out as a folder that `--data` takes.

sentinel-tune demo-data PATH [--specimens N] [--seed N]
"""

import argparse
import os

from trainable.errors import UserError
from trainable.shown import brief, shown
from tune.printed.next_command import option_words
from tune.printed.shell_words import quoted


def run(arguments: argparse.Namespace) -> int:
    """Draw and write it; returns the exit status 0."""
    if os.path.lexists(arguments.path):
        raise UserError(f"PATH must not exist yet, but {arguments.path} does; choose another folder")
    if arguments.specimens < 1:
        raise UserError(f"`--specimens >= 1` must hold, but got {brief(arguments.specimens)}")
    from trainable.data.demo import draw_demo  # imports numpy and more

    draw_demo(arguments.path, n_specimens=arguments.specimens, seed=arguments.seed)
    option = quoted(option_words(data=arguments.path))
    print(f"wrote {arguments.specimens} specimens to {shown(arguments.path)}; use it with `{option}`")
    return 0
