"""The one error a user sees: the rule, what was found, the remedy; never a traceback."""

from collections.abc import Iterable


class UserError(Exception):
    """A mistake in what the user gave; commands print it as clear lines and exit with status 2.

    Every problem of one input is collected and raised at once. A problem reads
    "`rule` must hold, but got value; remedy or valid choices".
    """

    def __init__(self, problems: str | Iterable[str]) -> None:
        self.problems: tuple[str, ...] = (problems,) if isinstance(problems, str) else tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type["UserError"], tuple[tuple[str, ...]]]:
        """Survive the way from a worker process to the one that prints."""
        return (type(self), (self.problems,))
