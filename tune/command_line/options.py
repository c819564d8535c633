"""The options of verbs: one frozen class a verb, each field with its default and help.

Here are those of searching; `model_options.py` has those of the verbs that make or use an exported model.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from trainable.allowance import usable_cpus
from trainable.errors import UserError
from trainable.frozen.model_folder import name_problem
from trainable.shown import brief
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.command_line.mlflow_names import experiment_problem, model_name_problem
from tune.command_line.trial_resources import parse_resources


def option(default: Any, text: str) -> Any:
    """A field with its default and help."""
    return field(default=default, metadata={"help": text})


GPU_SHARE = {
    "help": "GPUs a trial occupies, fractions allowed; auto measures on CUDA how many side by side pay [1 on CUDA, "
    "else 0]",
    "parse": "share",
}


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How a command's result is printed."""

    json: bool = option(False, "print exactly one JSON object on stdout, everything else on stderr")


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OutputOptions):
    """What of this machine a command takes."""

    cache: Path | None = option(
        None, "folder for demo data and extracted features [SENTINEL_TUNE_CACHE or ~/.cache/sentinel-tune]"
    )
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where to compute; auto takes CUDA where there is one")
    workers: int = option(usable_cpus(), "CPUs to use when no cluster is joined")

    @property
    def cache_folder(self) -> Path:
        """Absolute folder for demo data and features."""
        chosen = self.cache or os.environ.get("SENTINEL_TUNE_CACHE") or "~/.cache/sentinel-tune"
        folder = os.path.expanduser(chosen)
        if folder.startswith("~"):  # an unknown user, or one without HOME and entry in the system's list
            raise UserError(
                f"`--cache` must name a folder that can be found, but the home folder of {chosen} is not known; give "
                "another, or set HOME"
            )
        return Path(folder).absolute()


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where MLflow's records go."""

    tracking_uri: str | None = option(None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]")
    experiment: str = option("sentinel-tune", "MLflow experiment")


@dataclass(frozen=True, kw_only=True)
class DataOptions(MachineOptions):
    """What is learned from, and by which frozen backbone."""

    data: str = field(
        default="demo",
        metadata={
            "help": "demo, demo:N (N specimens), a folder (parquet shards, or images with metadata), or "
            "hf://OWNER/NAME",
            "file_names": True,
        },
    )
    backbone: str = option("tiny", "tiny, hf-hub:imageomics/bioclip-2, or local-dir:PATH (an open_clip folder)")
    features: RemoteFolder | None = option(
        None, "s3:// or gs:// URI where features are kept, for nodes whose --cache is not shared [only in --cache]"
    )
    skip_bad_images: bool = option(False, "drop and count unreadable images instead of refusing the data")
    drop_duplicates: bool = option(False, "of specimens with the same photograph, byte for byte, keep the first alone")
    seed: int = option(0, "seed of everything random")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where trials and extraction run."""

    local: bool = option(False, "run in this process without Ray: same code path, for debugging")
    address: str | None = option(None, "Ray cluster to join [RAY_ADDRESS; else Ray is started here]")
    wait_for_nodes: float | None = field(
        default=None,
        metadata={
            "help": "on a cluster that grows on demand: ask for room for --max-concurrent trials, and wait so long "
            "for a first node: 90s, 10m",
            "parse": "duration",
        },
    )


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which events are held out to be scored."""

    holdout: Literal["site", "domain", "both", "official"] = option(
        "both", "held-out events: unseen sites (ID), unseen domains (OOD), both, or the official split, which leaks"
    )
    fold: int = option(0, "which of the held-out folds")


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions:
    """In which number format training multiplies its matrices."""

    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "matrix products of training; auto is bfloat16 on CUDA, float32 on a CPU"
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions(DataOptions, PrecisionOptions, SplitOptions, ClusterOptions, TrackingOptions):
    """Options of `search`."""

    space: str = option("full", "a search space by name (see `sentinel-tune spaces`) or a YAML file")
    trials: int = option(24, "trials in all, starting points included")
    epochs: int = option(20, "full length of a trial in epochs")
    grace_epochs: int | None = option(None, "epochs before a trial may be stopped [an eighth of --epochs, at least 1]")
    reduction_factor: int = option(3, "at each rung one trial in this many goes on")
    study: Place | None = option(None, "folder of the study, a path or s3:// or gs:// URI [studies/SPACE-DATE-TIME]")
    resume: Place | None = option(None, "go on with the study in this folder; what it was given holds until given anew")
    accept_change: bool = option(
        False, "at --resume, take what --config changes; what makes results incomparable is refused all the same"
    )
    warm_start: tuple[Place, ...] = option(
        (), "folders of earlier studies: begin with their best; on equal data their results are told to the sampler too"
    )
    cpus_per_trial: float = option(1.0, "CPUs a trial occupies")
    gpus_per_trial: float | Literal["auto"] | None = field(default=None, metadata=GPU_SHARE)
    trial_resources: tuple[str, ...] = option(
        (),
        "further resources of the cluster that a trial occupies, NAME=AMOUNT, as a search's part of it",
    )
    max_concurrent: int | None = option(None, "trials side by side at most [as many as fit]")
    time_budget: float | None = field(
        default=None,
        metadata={"help": "end this session after so long, resumable: 90s, 30m, 2h, 1h30m", "parse": "duration"},
    )
    plateau: int = option(
        0,
        "propose no more when so many trials in a row did not better the best by more than the noise between seeds, "
        "for which the default runs twice more; 0 is off",
    )
    target_score: float | None = option(None, "end when a trial scores this or lower")
    no_variants: bool = option(False, "do not run the space's starting points first")
    no_confirm: bool = option(False, "do not confirm the best trials against the default at the end")
    confirm_top: int = option(3, "best trials to confirm, unlike one another")
    confirm_folds: int | None = option(None, "held-out folds to confirm on [2 that the search did not score by]")
    confirm_seeds: int = option(1, "seeds to confirm with on each fold")
    confirm_share: float = option(0.2, "share of --time-budget that is kept for confirming from the start")

    @property
    def grace(self) -> int:
        """Epochs before a trial may be stopped: 10 to 15 % of the length unless given."""
        return self.grace_epochs if self.grace_epochs is not None else max(1, round(self.epochs / 8))


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DataOptions, PrecisionOptions, SplitOptions):
    """Options of `train`."""

    variant: str = option("default", "a variant by name (see `sentinel-tune variants`) or a YAML file")
    epochs: int = option(20, "epochs to train; schedules and ramps are laid out over them")
    out: Path | None = option(
        None, "folder of checkpoints and results; one with checkpoints is gone on with [trained/VARIANT-DATE-TIME]"
    )


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(DataOptions, ClusterOptions):
    """Options of `extract`."""

    space: str = option("full", "extract every depth that this search space can reach")


@dataclass(frozen=True, kw_only=True)
class StudyOptions(OutputOptions):
    """Options of the verbs that read one study."""

    study: Place = field(metadata={"help": "folder of the study, a path or s3:// or gs:// URI", "positional": True})


@dataclass(frozen=True, kw_only=True)
class SyncOptions(StudyOptions):
    """Options of `sync`."""

    tracking_uri: str | None = option(None, "MLflow tracking URI [that of the study]")
    experiment: str | None = option(None, "MLflow experiment [that of the study]")


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(StudyOptions, MachineOptions, ClusterOptions):
    """Options of `confirm`."""

    confirm_top: int = option(3, "best trials to confirm, unlike one another")
    confirm_folds: int | None = option(None, "held-out folds to confirm on [2 that the search did not score by]")
    confirm_seeds: int = option(1, "seeds to confirm with on each fold")
    time_budget: float | None = field(
        default=None, metadata={"help": "end after so long, resumable: 90s, 30m, 2h, 1h30m", "parse": "duration"}
    )
    cpus_per_trial: float = option(1.0, "CPUs a run occupies")
    gpus_per_trial: float | Literal["auto"] | None = field(default=None, metadata=GPU_SHARE)
    trial_resources: tuple[str, ...] = option(
        (), "further resources of the cluster that a run occupies, NAME=AMOUNT, as a search's part of it"
    )
    max_concurrent: int | None = option(None, "runs side by side at most [as many as fit]")
    tracking_uri: str | None = option(None, "MLflow tracking URI [that of the study]")


def check_options(options: Any) -> None:
    """Raise UserError naming every option whose value cannot be, all at once."""
    problems = [*_range_problems(options), *_name_problems(options)]
    if isinstance(options, DataOptions) and (problem := name_problem(options.backbone)) is not None:
        problems.append(problem)
    if isinstance(options, SearchOptions) and not 0 <= options.confirm_share < 1:
        problems.append(f"`0 <= --confirm-share < 1` must hold, but got {options.confirm_share:g}")
    try:
        parse_resources(getattr(options, "trial_resources", ()))
    except UserError as error:
        problems.extend(error.problems)
    if getattr(options, "trial", None) is not None and getattr(options, "config", None) is not None:
        problems.append("`--trial` and `--config` cannot both be given; leave one out")
    if isinstance(options, SearchOptions) and options.grace > options.epochs:
        problems.append(f"`--grace-epochs <= --epochs` must hold, but got {options.grace} > {options.epochs}")
    if problems:
        raise UserError(problems)


def _range_problems(options: Any) -> Iterator[str]:
    for name, (low, high) in _RANGES.items():
        value = getattr(options, name, None)
        if not isinstance(value, int | float) or low <= value <= high:
            continue
        flag = f"--{name.replace('_', '-')}"
        rule = f"{flag} >= {low}" if value < low else f"{flag} <= {high}"
        yield f"`{rule}` must hold, but got {brief(value)}"
    for name in ("cpus_per_trial", "time_budget", "time", "wait_for_nodes"):
        value = getattr(options, name, None)
        if value is not None and not value > 0:
            yield f"`--{name.replace('_', '-')} > 0` must hold, but got {value:g}"


def _name_problems(options: Any) -> Iterator[str]:
    for name in ("study", "out", "submission", "cache"):
        value = getattr(options, name, None)
        if isinstance(value, Path) and os.path.normpath(value) in ("/", "//"):
            yield f"`--{name}` must name a folder of its own, but got {value}, which holds all others"
        elif isinstance(value, Path) and value.name == "..":
            yield f"`--{name}` must end in a folder's name, but got {value}"
    for name, problem_of in (("experiment", experiment_problem), ("name", model_name_problem)):
        text = getattr(options, name, None)
        if text is not None and (problem := problem_of(text)) is not None:
            yield problem


_MANY = 1_000_000
_RANGES = {
    "trials": (1, _MANY), "epochs": (1, _MANY), "grace_epochs": (1, _MANY), "reduction_factor": (2, _MANY),
    "fold": (0, _MANY), "workers": (1, 100_000), "cpus_per_trial": (0, 100_000), "gpus_per_trial": (0, 100_000),
    "max_concurrent": (1, _MANY), "seed": (0, 2**63 - 1), "plateau": (0, _MANY), "confirm_top": (1, _MANY),
    "confirm_folds": (1, _MANY), "confirm_seeds": (1, 1000), "seeds": (1, 1000), "domain": (0, 2**63 - 1),
    "nodes": (1, 100_000), "cpus_per_node": (1, 100_000), "max_requeues": (0, _MANY),
}  # fmt: skip
"""Option -> its least and its largest value; what is larger is a slip of the finger."""


def plain_options(options: Any) -> dict[str, Any]:
    """Options as plain values for JSON and YAML."""
    return {f.name: plain_value(getattr(options, f.name)) for f in fields(options)}


def plain_value(value: Any) -> Any:
    """One option's value for JSON and YAML: paths and URIs as text, tuples as lists."""
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return str(value) if isinstance(value, Path | RemoteFolder) else value
