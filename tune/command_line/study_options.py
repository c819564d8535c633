"""What the options of `search` and `confirm` have in common: where runs go, what each takes, and when they end."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from trainable.errors import UserError
from tune.command_line.declaration import Options, option
from tune.command_line.trial_resources import parse_resources


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(Options, title="cluster"):
    """Where trials and extraction run."""

    local: bool = option(
        False, "run in this process without Ray: same code path, for debugging", kept="for one session"
    )
    address: str | None = option(
        None, "Ray cluster to join [RAY_ADDRESS; else Ray is started here]", kept="for one session"
    )
    wait_for_nodes: float | None = option(
        None,
        "on a cluster that grows on demand: ask for room for --max-concurrent trials, and wait so long "
        "for a first node: 90s, 10m",
        duration=True,
        above=0,
        kept="for one session",
    )


@dataclass(frozen=True, kw_only=True)
class RunsOptions(Options, title="resources of a trial or of a run that confirms"):
    """What the runs of a study, its trials and those of a confirmation, may take."""

    cpus_per_trial: float = option(1.0, "CPUs a trial occupies", above=0, at_most=100_000)
    gpus_per_trial: float | Literal["auto"] | None = option(
        None,
        "GPUs a trial occupies, fractions allowed; auto measures on CUDA how many side by side pay [1 on CUDA, else 0]",
        at_least=0,
        at_most=100_000,
    )
    trial_resources: tuple[str, ...] = option(
        (), "further resources of the cluster that a trial occupies, NAME=AMOUNT, as a search's part of it"
    )
    max_concurrent: int | None = option(None, "trials side by side at most [as many as fit]", at_least=1)
    time_budget: float | None = option(
        None, "end this session after so long, resumable: 90s, 30m, 2h, 1h30m", duration=True, above=0, often=True
    )

    def problems(self) -> Iterator[str]:
        """Also of the resources."""
        yield from super().problems()
        try:
            parse_resources(self.trial_resources)
        except UserError as error:
            yield from error.problems


@dataclass(frozen=True, kw_only=True)
class StoppingOptions(Options, title="stopping early"):
    """When trials, and the search, are stopped early."""

    grace_epochs: int | None = option(
        None, "epochs before a trial may be stopped [an eighth of --epochs, at least 1]", at_least=1, kept="for life"
    )
    reduction_factor: int = option(3, "at each rung one trial in this many goes on", at_least=2, kept="for life")
    patience: int | None = option(
        None,
        "a trial ends when so many epochs in a row brought it no better score; 0 is off [half of --epochs]",
        at_least=0,
        kept="for life",
    )
    plateau: int = option(
        0,
        "propose no more when so many trials in a row did not better the best by more than the noise between seeds, "
        "for which the default runs twice more; 0 is off",
        at_least=0,
    )
    target_score: float | None = option(None, "end when a trial scores this or lower")


@dataclass(frozen=True, kw_only=True)
class VerdictOptions(Options, title="confirming"):
    """What is confirmed, and on what."""

    confirm_top: int = option(3, "best trials to confirm, unlike one another", at_least=1)
    confirm_folds: int | None = option(
        None, "held-out folds to confirm on [3 that the search did not score by]", at_least=1
    )
    confirm_seeds: int = option(1, "seeds to confirm with on each fold", at_least=1, at_most=1000)
