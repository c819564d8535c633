"""What the user reads when a training without a search fails."""

from pathlib import Path

from trainable.errors import UserError
from trainable.failure import Failure, FailureKind
from tune.command_line.endings import kept_traceback, say_problems
from tune.report.console import Console


def tell_failure(failure: Failure, what: str, folder: Path, console: Console) -> None:
    """Tell on one line why a training failed, and where its traceback is if that says more.

    what: which training, and when. folder: `--out`.
    Raises: UserError for what the user can mend before anything is trained.
    """
    if failure.problems:
        raise UserError(failure.problems)
    if failure.kind is FailureKind.DISK:
        say_problems(
            [
                f"`--out` must take checkpoints, but {folder} did not: {failure.message}; make room, then the same "
                "command goes on from the last whole one"
            ]
        )
        return
    if failure.kind is FailureKind.ERROR and failure.traceback_tail:
        console.say(f"the traceback is {kept_traceback(failure.traceback_tail)}")
    say_problems([f"{what}: {' '.join(failure.message.split()) or failure.type}"])
