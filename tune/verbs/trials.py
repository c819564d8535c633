"""All trials of a study as a table, also while another process works on it.

sentinel-tune trials STUDY [--csv FILE] [--json]
"""

from trainable.errors import UserError
from tune.command_line.options import TrialsOptions
from tune.command_line.outputs import file_problem, unwritten, wrote
from tune.command_line.parsing import Given
from tune.decisions.standings import Standings
from tune.journal.journal import owner_of, read_entries
from tune.report.console import Console
from tune.report.trial_table import FIRST_COLUMNS, trial_table, trial_text, write_trials_csv


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0.

    Raises: UserError when the folder holds no study, or the file cannot be written.
    """
    options: TrialsOptions = given.options()
    if (
        options.csv is not None
        and (problem := file_problem(options.csv, "--csv", begins=",".join(FIRST_COLUMNS))) is not None
    ):
        raise UserError(problem)
    is_running = owner_of(options.study) is not None
    standings = Standings.of(read_entries(options.study))
    table = trial_table(standings, is_running=is_running)
    if options.csv is not None:
        try:
            write_trials_csv(options.csv, table)
        except OSError as error:
            raise unwritten(options.csv, "--csv", error) from error
    csv = None if options.csv is None else str(options.csv)
    Console(json=options.json).finish(
        text="\n".join([trial_text(table), *([] if options.csv is None else [wrote(options.csv)])]),
        json={"study": str(options.study), "study_id": standings.study_id, "trials": table.to_dicts(), "csv": csv},
    )
    return 0
