"""One verb of the command line, run in this process."""

import importlib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from trainable.plain_values import JsonObject
from tune.cli import VERBS
from tune.command_line.parsing import given_values
from tune.execution.interrupts import stop_signals
from tune.report.console import results_taken


def run_verb(name: str, **options: object) -> JsonObject:
    """Run a verb of the command line in this process; returns what `--json` would print.

    Raises: UserError for the user's mistakes, RuntimeError when it ended without a result.
    """
    verb = next(verb for verb in VERBS if verb.name == name)
    given = given_values(verb.options, options)
    with stop_signals(), results_taken() as results, without_widgets():
        status = importlib.import_module(verb.module).run(given)
    if not results:
        raise RuntimeError(f"`{name}` ended with status {status} and without a result; what it printed says why")
    return dict(results[-1])


@contextmanager
def without_widgets() -> Iterator[None]:
    """Within the block tqdm does not tell a notebook's cell to install ipywidgets: none of its bars are shown here."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "IProgress not found")
        yield
