"""Have a study try a configuration next, also while it runs: one trial more in all.

sentinel-tune enqueue STUDY KEY=VALUE ... [--json]
sentinel-tune enqueue STUDY VARIANT|FILE [--json]

Such as `enqueue STUDY optim.lr=2e-4 tail.n_blocks=2`, which every built-in space has room for.
"""

from pathlib import Path

from search_spaces.parameter import in_words
from search_spaces.space import SearchSpace
from search_spaces.variant import load_variant
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.command_line.configuration_words import values_of_words
from tune.command_line.options import EnqueueOptions
from tune.command_line.parsing import Given
from tune.decisions.decisions import Decisions
from tune.decisions.standings import Standings
from tune.journal.entries import Confirming, JournalEntry, SessionBegun, SessionEnded, study_of
from tune.journal.journal import owner_of, read_entries
from tune.journal.requests import leave_request, new_request, waiting_requests
from tune.printed.next_command import next_command
from tune.report.console import Console


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0.

    Raises: UserError naming all that does not lie in the study's space, or when the configuration was tried before.
    """
    options: EnqueueOptions = given.options()
    is_running = owner_of(options.study) is not None
    entries = read_entries(options.study)
    header = study_of(entries).header
    space = SearchSpace.from_dict(header["space"])
    values = _values(space, options.configuration, epochs=header["max_epochs"])
    requested = [request.values for request in waiting_requests(options.study)]
    Decisions.replay(space, entries).check_new(values, requested=requested)
    request = new_request("enqueue", values=values)
    leave_request(options.study, request)
    searches = is_running and _searches(entries)
    Console(json=options.json).finish(
        text=_text(options, values, searches=searches, local=Standings.of(entries).is_local),
        json={"study": str(options.study), "values": values, "request": request.request, "is_searching": searches},
    )
    return 0


def _values(space: SearchSpace, words: tuple[str, ...], *, epochs: int) -> JsonObject:
    """The sampler's values. Raises: UserError with all problems of the words."""
    if all("=" in word and not Path(word).is_file() for word in words):
        return space.values_of(_over_base(space, words, epochs))
    if len(words) > 1:
        wrong = ", ".join(repr(word) for word in words if "=" not in word)
        raise UserError(
            f"`CONFIGURATION` must be KEY=VALUE words, or one variant or file, but got {wrong} among others"
        )
    return space.values_of(load_variant(words[0], epochs=epochs))


def _over_base(space: SearchSpace, words: tuple[str, ...], epochs: int) -> TrialConfig:
    """The space's base with these values; of words that cannot be, the others are still held against the space."""
    base = space.base.config.with_epochs(epochs)
    values, problems = values_of_words(words)
    try:
        config = base.with_values(values)
    except UserError as error:
        problems += error.problems
        sound = {key: value for key, value in values.items() if not any(f"`{key}" in p for p in error.problems)}
        config = base.with_values(sound)
    if problems:
        problems += _outside(space, config, values)
        raise UserError(problems)
    return config


def _outside(space: SearchSpace, config: TrialConfig, given: JsonObject) -> list[str]:
    """Why a configuration does not lie in the space, as far as it was given."""
    try:
        space.values_of(config)
    except UserError as error:
        return [problem for problem in error.problems if any(f"`{key}`" in problem for key in given)]
    return []


def _searches(entries: list[JournalEntry]) -> bool:
    """Whether the last session has not come to confirm, or to end."""
    last = next((e for e in reversed(entries) if isinstance(e, SessionBegun | SessionEnded | Confirming)), None)
    return isinstance(last, SessionBegun)


def _text(options: EnqueueOptions, values: JsonObject, *, searches: bool, local: bool) -> str:
    shown = "  ".join(f"{name}={in_words(value)}" for name, value in values.items())
    if searches:
        return f"enqueued: {shown}\nit runs next, as one trial more"
    command = next_command("search", resume=options.study, local=local)
    return f"enqueued: {shown}\nno search runs: it is kept, as one trial more, for the next `{command}`"
