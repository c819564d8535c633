"""One verb of the command line, run in this process."""

import importlib

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
    with stop_signals(), results_taken() as results:
        status = importlib.import_module(verb.module).run(given)
    if not results:
        raise RuntimeError(f"`{name}` ended with status {status} and without a result; what it printed says why")
    return dict(results[-1])
