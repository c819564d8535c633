"""Confirm a study's best trials against the default, without searching on.

sentinel-tune confirm STUDY [OPTIONS]
"""

from trainable.storage.place import Place
from tune.command_line.options import ConfirmOptions, SearchOptions
from tune.command_line.parsing import Given
from tune.verbs.search import run_study


def run(given: Given) -> int:
    """Run the verb; returns the exit status: 0 a verdict, 1 none could be given, 130 interrupted (resumable)."""
    options: ConfirmOptions = given.options()
    study: Place = options.study
    values = {name: value for name, value in given.values.items() if name != "study"}
    values |= {"resume": study, "no_confirm": False}
    return run_study(Given(SearchOptions, values, from_file=given.from_file - {"study"}), search_more=False)
