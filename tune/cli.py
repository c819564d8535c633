"""`sentinel-tune VERB ...`, the same as `python -m tune VERB ...`: one command a verb, each in the file of its name."""

import argparse
import importlib
import os
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from trainable.errors import UserError
from trainable.shown import brief, meant
from trainable.storage.remote_folder import StorageError
from tune.command_line.cluster_options import SlurmOptions, SubmitOptions
from tune.command_line.declaration import Options
from tune.command_line.endings import EXIT_USER_ERROR, end_of, say_problems
from tune.command_line.model_options import EvaluateOptions, ExportOptions, PredictOptions, RetrainOptions
from tune.command_line.options import (
    ConfirmOptions,
    DemoDataOptions,
    EnqueueOptions,
    ExtractOptions,
    InspectOptions,
    ListingOptions,
    ReportOptions,
    SearchOptions,
    StopOptions,
    StudyOptions,
    SyncOptions,
    TrainOptions,
    TrialsOptions,
    UiOptions,
)
from tune.command_line.parsing import Given, add_options, given_options, split_command, unknown_options
from tune.command_line.places import named_places
from tune.command_line.streams import StdoutError, leave_stdout, settle_streams
from tune.execution.interrupts import EXIT_INTERRUPTED, stop_signals
from tune.jobs.job_folder import check_results_last

EXIT_NOT_SHOWN = 1
EXIT_BROKEN_PIPE = 141


@dataclass(frozen=True, slots=True)
class Verb:
    """A command: its name, one line of help, and the class of its options.

    commands: verbs that this one runs elsewhere, given behind its own options; `Given.command` holds the words.
    """

    name: str
    about: str
    options: type[Options]
    commands: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module of its name, whose `run` takes what was given and returns the exit status."""
        return f"tune.verbs.{self.name.replace('-', '_')}"


RUN_ELSEWHERE = ("plan", "search", "confirm", "retrain", "evaluate", "train", "extract")
"""Verbs that a job of a cluster can run."""

VERBS = (
    Verb("search", "extract once, run the variants, propose, stop early, compare", SearchOptions),
    Verb("plan", "check and measure what a search will take, before it is run", SearchOptions),
    Verb("confirm", "train a study's best trials and the default on other folds: a verdict", ConfirmOptions),
    Verb("retrain", "train the confirmed winner on all data, export and register it", RetrainOptions),
    Verb("evaluate", "score exported models on labelled data, with figures", EvaluateOptions),
    Verb("predict", "forecast from images with an exported model", PredictOptions),
    Verb(
        "export",
        "write a model as the challenge's submission, a torch program or an ONNX file, or push it to the hub",
        ExportOptions,
    ),
    Verb("train", "train one configuration to its end, without a search", TrainOptions),
    Verb("extract", "run the frozen blocks over the images, store features", ExtractOptions),
    Verb(
        "submit",
        "send a command to a Ray cluster as a job, and follow it",
        SubmitOptions,
        commands=RUN_ELSEWHERE,
    ),
    Verb("status", "how a study stands, also while it runs", StudyOptions),
    Verb("enqueue", "have a study try a configuration of yours next, also while it runs", EnqueueOptions),
    Verb("stop", "end a running search in order, or one of its trials", StopOptions),
    Verb("trials", "list a study's trials with scores and parameters", TrialsOptions),
    Verb("report", "write what studies found as one HTML page, with figures", ReportOptions),
    Verb("replay", "print a study's decisions with their reasons, and check them", StudyOptions),
    Verb("ui", "show a study's trials in MLflow's pages, on this machine", UiOptions),
    Verb("sync", "bring MLflow to exactly what a study's journal holds", SyncOptions),
    Verb(
        "slurm",
        "write another verb's Slurm job, which goes on where the time limit stopped it",
        SlurmOptions,
        commands=RUN_ELSEWHERE,
    ),
    Verb("spaces", "list the search spaces, or show one as a table", ListingOptions),
    Verb("variants", "list the variants, or show one", ListingOptions),
    Verb("inspect", "look at a folder of photographs, propose its task.yaml", InspectOptions),
    Verb("demo-data", "write the demo dataset to a folder", DemoDataOptions),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        if (match := re.fullmatch(r"argument (\S+): ignored explicit argument (.*)", message)) is not None:
            message = f"`{match[1]}` is on or off and takes no value, but got {match[2]}: give it, or leave it out"
        raise UserError(f"{message} (see `{self.prog} --help`)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit status: 0 done, 2 the user's mistake, 130 interrupted, 1 failed."""
    if "_ARGCOMPLETE" in os.environ:  # a shell asks what may come next
        import argcomplete  # of no use to any other run

        argcomplete.autocomplete(_make_parser())  # ends the process
    settle_streams()
    places: dict[str, str] = {}
    try:
        with stop_signals():
            return _dispatch(list(sys.argv[1:] if argv is None else argv), places)
    except UserError as error:
        say_problems(error.problems)
        return EXIT_USER_ERROR
    except StorageError as error:
        say_problems([f"`object storage must answer`, but it did not: {error}; try again when it does"])
        return EXIT_USER_ERROR
    except KeyboardInterrupt as error:
        print(f"interrupted: {error}" if str(error) else "interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:  # whoever read stdout has had enough, as `head` does
        leave_stdout()
        return EXIT_BROKEN_PIPE
    except StdoutError as error:
        leave_stdout()
        say_problems([f"`stdout` must take the result, but did not: {error.strerror}"])
        return EXIT_NOT_SHOWN
    except Exception as error:
        if hint := _mismatched_builds(error):
            say_problems([hint])
            return EXIT_USER_ERROR
        return end_of(error, places)


def parse_command(argv: Sequence[str]) -> tuple[Verb, Given]:
    """A command line's verb and what was given to it, each value parsed.

    Raises: UserError with every mistake that can be seen without doing anything.
    """
    named = next((verb for verb in VERBS if argv and verb.name == argv[0]), None)
    command: tuple[str, ...] = ()
    if named is not None and named.commands:
        own, command = split_command(argv[1:], named.commands)
        argv = [named.name, *own]
    elif argv and named is None and not argv[0].startswith("-"):
        names = [verb.name for verb in VERBS]
        hint = meant(argv[0], names) or "; `sentinel-tune --help` says what each is for"
        raise UserError(f"`VERB` must be one of {', '.join(names)}, but got {brief(argv[0])}{hint}")
    arguments, unknown = _make_parser().parse_known_args(argv)
    verb: Verb = arguments.verb
    if verb.commands and not command and unknown and not unknown[0].startswith("-"):
        command, unknown = tuple(unknown), []  # a misspelt one, as no `--` told where it begins
    if unknown:
        raise UserError(unknown_options(unknown, verb.options, verb.name))
    if verb.commands:
        _check_command(verb, command)
    return verb, replace(given_options(arguments, verb.options), command=command)


def _check_command(verb: Verb, command: tuple[str, ...]) -> None:
    """The mistakes of a command that is run elsewhere are told here, before it is sent."""
    if not command or command[0] not in verb.commands:
        got = f"{brief(command[0])}{meant(command[0], verb.commands)}" if command else "none"
        raise UserError(
            f"`{verb.name}` must be given a command, one of {', '.join(verb.commands)}, but got {got}; for example "
            f"`sentinel-tune {verb.name} -- {verb.commands[0]} --help` shows what it takes"
        )
    _, given = parse_command(command)
    given.options()


def _dispatch(argv: list[str], places: dict[str, str]) -> int:
    """places: is given the files and folders that the options name, for whoever tells what went wrong."""
    try:
        verb, given = parse_command(argv)
    except SystemExit:  # --help and --version
        sys.stdout.flush()
        raise
    _check_working_folder()
    places |= named_places(given)
    check_results_last(verb.name, given, Path.cwd())
    status = int(importlib.import_module(verb.module).run(given))
    sys.stdout.flush()  # so that a reader who has gone is noticed here
    return status


def _check_working_folder() -> None:
    try:
        os.getcwd()
    except OSError as error:
        raise UserError(
            f"the working folder must be there, but is not: {error.strerror}; change to another one (`cd`)"
        ) from None


@cache
def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="sentinel-tune",
        description="Honest, fast hyperparameter search for fine-tuning biological vision models.",
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"sentinel-tune {_version()}")
    verbs = parser.add_subparsers(dest="command", metavar="VERB", required=True)
    for verb in VERBS:
        command = verbs.add_parser(verb.name, help=verb.about, description=verb.about, allow_abbrev=False)
        command.set_defaults(verb=verb)
        add_options(command, verb.options)
        if verb.commands:
            command.usage = f"%(prog)s [OPTIONS] -- {{{','.join(verb.commands)}}} ..."
    return parser


def _mismatched_builds(error: Exception) -> str | None:
    """A missing operator is an ImportError or a RuntimeError."""
    if "torchvision::nms does not exist" not in str(error):
        return None
    return (
        "torch and torchvision must be builds of the same release; install both again from one index: "
        "`pip install --force-reinstall torch torchvision`"
    )


def _version() -> str:
    try:
        return metadata.version("sentinel-tune")
    except metadata.PackageNotFoundError:
        return "0.1.0 (not installed)"


if __name__ == "__main__":
    sys.exit(main())
