"""What a search that starts warm learns from: unless it is told, what the earlier studies did."""

from trainable.errors import UserError
from trainable.plain_values import JsonObject
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given
from tune.journal.journal import read_entries
from tune.printed.next_command import option_words
from tune.printed.shell_words import quoted
from tune.report.console import Console
from tune.study.kept_options import kept_options

LEARNED_FROM = ("data", "task", "skip_bad_images", "drop_duplicates", "backbone")
"""Options that a search takes from the studies of its --warm-start, unless it is given others."""


def learned_from_earlier(given: Given) -> JsonObject:
    """Options that were not given, as the studies of `--warm-start` had them; those that they took from are told.

    Raises: UserError where they differ in it, and for every folder that holds no readable study.
    """
    studies, problems = {}, []
    for folder in dict.fromkeys(given.values.get("warm_start") or ()):
        try:
            studies[folder] = kept_options(read_entries(folder))
        except UserError as error:
            problems += [f"--warm-start: {problem}" for problem in error.problems]
    found: JsonObject = {}
    for name in LEARNED_FROM:
        values = {folder: kept[name] for folder, kept in studies.items() if kept.get(name) is not None}
        if name in given.values or not values:
            continue
        if len(set(values.values())) > 1:
            had = ", ".join(f"{value} in {folder}" for folder, value in values.items())
            problems.append(f"`--{name}` must be given where the studies of --warm-start differ in it, which had {had}")
        found[name] = next(iter(values.values()))
    if problems:
        raise UserError(problems)
    if taken := {name: value for name, value in found.items() if value != getattr(SearchOptions, name)}:
        words = quoted(option_words(**taken))
        Console(json=given.values.get("json", False)).say(f"as in the studies of --warm-start: {words}")
    return found
