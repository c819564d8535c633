"""The demo dataset, written out as a folder that `--data` takes.

sentinel-tune demo-data PATH [--specimens N] [--seed N]
"""

import os

from trainable.counts import counted
from trainable.errors import UserError
from trainable.shown import shown
from tune.command_line.options import DemoDataOptions
from tune.command_line.parsing import Given
from tune.printed.next_command import option_words
from tune.printed.shell_words import quoted


def run(given: Given) -> int:
    """Draw and write it; returns the exit status 0."""
    options: DemoDataOptions = given.options()
    if os.path.lexists(options.path):
        raise UserError(f"PATH must not exist yet, but {options.path} does; choose another folder")
    from trainable.data.demo import draw_demo  # imports numpy and more

    draw_demo(options.path, n_specimens=options.specimens, seed=options.seed)
    words = quoted(option_words(data=options.path))
    print(f"wrote {counted(options.specimens, 'specimen')} to {shown(options.path)}; use it with `{words}`")
    return 0
