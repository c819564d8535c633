"""The options of every verb: one frozen class a verb, each field with its default and help."""

import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from trainable.errors import UserError
from trainable.frozen.model_folder import name_problem


def _option(default: Any, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True, kw_only=True)
class OutputOptions:
    """How a command's result is printed."""

    json: bool = _option(False, "print exactly one JSON object on stdout, everything else on stderr")


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OutputOptions):
    """What of this machine a command takes."""

    cache: Path | None = _option(
        None, "folder for demo data and extracted features [SENTINEL_TUNE_CACHE or ~/.cache/sentinel-tune]"
    )
    device: Literal["auto", "cpu", "cuda"] = _option("auto", "where to compute; auto takes CUDA where there is one")
    workers: int = _option(os.cpu_count() or 1, "CPUs to use when no cluster is joined")

    @property
    def cache_folder(self) -> Path:
        """Absolute folder for demo data and features."""
        chosen = self.cache or os.environ.get("SENTINEL_TUNE_CACHE") or Path.home() / ".cache" / "sentinel-tune"
        return Path(chosen).expanduser().absolute()


@dataclass(frozen=True, kw_only=True)
class TrackingOptions:
    """Where MLflow's records go."""

    tracking_uri: str | None = _option(
        None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]"
    )
    experiment: str = _option("sentinel-tune", "MLflow experiment")


@dataclass(frozen=True, kw_only=True)
class DataOptions(MachineOptions):
    """What is learned from, and by which frozen backbone."""

    data: str = _option(
        "demo", "demo, demo:N (N specimens), a folder (parquet shards, or images with metadata), or hf://OWNER/NAME"
    )
    backbone: str = _option("tiny", "tiny, hf-hub:imageomics/bioclip-2, or local-dir:PATH (an open_clip folder)")
    skip_bad_images: bool = _option(False, "drop and count unreadable images instead of refusing the data")
    seed: int = _option(0, "seed of everything random")


@dataclass(frozen=True, kw_only=True)
class ClusterOptions:
    """Where trials and extraction run."""

    local: bool = _option(False, "run in this process without Ray: same code path, for debugging")
    address: str | None = _option(None, "Ray cluster to join [RAY_ADDRESS; else Ray is started here]")


@dataclass(frozen=True, kw_only=True)
class SplitOptions:
    """Which events are held out to be scored."""

    holdout: Literal["site", "domain", "both", "official"] = _option(
        "both", "held-out events: unseen sites (ID), unseen domains (OOD), both, or the official split, which leaks"
    )
    fold: int = _option(0, "which of the held-out folds")


@dataclass(frozen=True, kw_only=True)
class SearchOptions(DataOptions, SplitOptions, ClusterOptions, TrackingOptions):
    """Options of `search`."""

    space: str = _option("full", "a search space by name (see `sentinel-tune spaces`) or a YAML file")
    trials: int = _option(24, "trials in all, starting points included")
    epochs: int = _option(20, "full length of a trial in epochs")
    grace_epochs: int | None = _option(None, "epochs before a trial may be stopped [an eighth of --epochs, at least 1]")
    reduction_factor: int = _option(3, "at each rung one trial in this many goes on")
    study: Path | None = _option(None, "folder of the study [studies/SPACE-DATE-TIME]")
    resume: Path | None = _option(None, "go on with the study in this folder; what it was given holds until given anew")
    accept_change: bool = _option(
        False, "at --resume, take what --config changes; what makes results incomparable is refused all the same"
    )
    warm_start: tuple[Path, ...] = _option(
        (), "folders of earlier studies: begin with their best; on equal data their results are told to the sampler too"
    )
    cpus_per_trial: float = _option(1.0, "CPUs a trial occupies")
    gpus_per_trial: float | None = _option(None, "GPUs a trial occupies, fractions allowed [1 on CUDA, else 0]")
    max_concurrent: int | None = _option(None, "trials side by side at most [as many as fit]")
    time_budget: float | None = field(
        default=None,
        metadata={"help": "end this session after so long, resumable: 90s, 30m, 2h, 1h30m", "parse": "duration"},
    )
    plateau: int = _option(
        0,
        "propose no more when so many trials in a row did not better the best by more than the noise between seeds, "
        "for which the default runs twice more; 0 is off",
    )
    target_score: float | None = _option(None, "end when a trial scores this or lower")
    no_variants: bool = _option(False, "do not run the space's starting points first")
    no_confirm: bool = _option(False, "do not confirm the best trials against the default at the end")
    confirm_top: int = _option(3, "best trials to confirm, unlike one another")
    confirm_folds: int | None = _option(None, "held-out folds to confirm on [2 that the search did not score by]")
    confirm_seeds: int = _option(1, "seeds to confirm with on each fold")
    confirm_share: float = _option(0.2, "share of --time-budget that is kept for confirming from the start")

    @property
    def grace(self) -> int:
        """Epochs before a trial may be stopped: 10 to 15 % of the length unless given."""
        return self.grace_epochs if self.grace_epochs is not None else max(1, round(self.epochs / 8))


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DataOptions, SplitOptions):
    """Options of `train`."""

    variant: str = _option("default", "a variant by name (see `sentinel-tune variants`) or a YAML file")
    epochs: int = _option(20, "epochs to train; schedules and ramps are laid out over them")
    out: Path | None = _option(
        None, "folder of checkpoints and results; one with checkpoints is gone on with [trained/VARIANT-DATE-TIME]"
    )


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(DataOptions, ClusterOptions):
    """Options of `extract`."""

    space: str = _option("full", "extract every depth that this search space can reach")


@dataclass(frozen=True, kw_only=True)
class StudyOptions(OutputOptions):
    """Options of the verbs that read one study."""

    study: Path = field(metadata={"help": "folder of the study", "positional": True})


@dataclass(frozen=True, kw_only=True)
class SyncOptions(StudyOptions):
    """Options of `sync`."""

    tracking_uri: str | None = _option(None, "MLflow tracking URI [that of the study]")
    experiment: str | None = _option(None, "MLflow experiment [that of the study]")


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(StudyOptions, MachineOptions, ClusterOptions):
    """Options of `confirm`."""

    confirm_top: int = _option(3, "best trials to confirm, unlike one another")
    confirm_folds: int | None = _option(None, "held-out folds to confirm on [2 that the search did not score by]")
    confirm_seeds: int = _option(1, "seeds to confirm with on each fold")
    time_budget: float | None = field(
        default=None, metadata={"help": "end after so long, resumable: 90s, 30m, 2h, 1h30m", "parse": "duration"}
    )
    cpus_per_trial: float = _option(1.0, "CPUs a run occupies")
    gpus_per_trial: float | None = _option(None, "GPUs a run occupies, fractions allowed [1 on CUDA, else 0]")
    max_concurrent: int | None = _option(None, "runs side by side at most [as many as fit]")
    tracking_uri: str | None = _option(None, "MLflow tracking URI [that of the study]")


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(StudyOptions, MachineOptions):
    """Options of `retrain`."""

    trial: str | None = _option(None, "a trial of the study, such as t0007 [the one that confirmation decided for]")
    config: Path | None = _option(None, "a configuration's YAML file instead of a trial")
    epochs: int | None = _option(None, "epochs to train [those that confirmation found best, else all]")
    seeds: int = _option(1, "members of an ensemble, each trained with a seed of its own")
    out: Path | None = _option(None, "folder of checkpoints and of the model [retrained/STUDY-TRIAL]")
    name: str = _option("sentinel-beetles", "name in the MLflow model registry")
    force: bool = _option(False, "move the alias champion without a win over the present champion")
    no_register: bool = _option(False, "export only: leave MLflow's registry alone")
    tracking_uri: str | None = _option(None, "MLflow tracking URI [that of the study]")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MachineOptions, TrackingOptions):
    """Options of `evaluate`."""

    models: tuple[str, ...] = field(
        metadata={"help": "exported folders, runs:/RUN/model or models:/NAME@ALIAS", "positional": True}
    )
    data: str = _option(
        "demo", "labelled data: demo, demo:N, a folder (parquet shards, or images with metadata), or hf://OWNER/NAME"
    )
    events: Literal["auto", "held-out", "validation", "all"] = _option(
        "auto",
        "events to score: the model's held-out ones, the dataset's validation split, all; auto: the first it has",
    )
    skip_bad_images: bool = _option(False, "drop and count unreadable images instead of refusing the data")
    out: Path | None = _option(None, "folder of the report [MODEL/evaluation, or evaluations/NAME]")
    no_track: bool = _option(False, "do not log the report to MLflow")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OutputOptions):
    """Options of `export`."""

    model: str = field(
        metadata={"help": "an exported folder, runs:/RUN/model or models:/NAME@ALIAS", "positional": True}
    )
    submission: Path | None = _option(None, "write the challenge's folder here")
    format: Literal["folder", "torch-export"] = _option("folder", "what to write to --out")
    out: Path | None = _option(None, "where to write the model: a folder, or a .pt2 file for torch-export")
    tracking_uri: str | None = _option(
        None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]"
    )


@dataclass(frozen=True, kw_only=True)
class PredictOptions(MachineOptions):
    """Options of `predict`."""

    model: str = field(
        metadata={"help": "an exported folder, runs:/RUN/model or models:/NAME@ALIAS", "positional": True}
    )
    images: tuple[str, ...] = field(metadata={"help": "image files, or folders of them", "positional": True})
    domain: int | None = _option(None, "the domain of all images [unknown]")
    csv: Path | None = _option(None, "write a CSV file: a row a specimen, then a row an event")
    tracking_uri: str | None = _option(
        None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]"
    )


def check_options(options: Any) -> None:
    """Raise UserError naming every option whose value cannot be, all at once."""
    problems = [
        f"`--{name.replace('_', '-')} >= {low}` must hold, but got {getattr(options, name)}"
        for name, low in _LOWEST.items()
        if getattr(options, name, None) is not None and getattr(options, name) < low
    ]
    for name in ("cpus_per_trial", "time_budget"):
        value = getattr(options, name, None)
        if value is not None and not value > 0:
            problems.append(f"`--{name.replace('_', '-')} > 0` must hold, but got {value:g}")
    if isinstance(options, DataOptions) and (problem := name_problem(options.backbone)) is not None:
        problems.append(problem)
    if isinstance(options, SearchOptions) and not 0 <= options.confirm_share < 1:
        problems.append(f"`0 <= --confirm-share < 1` must hold, but got {options.confirm_share:g}")
    if isinstance(options, RetrainOptions) and options.trial is not None and options.config is not None:
        problems.append("`--trial` and `--config` cannot both be given; leave one out")
    if isinstance(options, SearchOptions) and options.grace > options.epochs:
        problems.append(f"`--grace-epochs <= --epochs` must hold, but got {options.grace} > {options.epochs}")
    if problems:
        raise UserError(problems)


_LOWEST = {
    "trials": 1, "epochs": 1, "grace_epochs": 1, "reduction_factor": 2, "fold": 0, "workers": 1,
    "gpus_per_trial": 0, "max_concurrent": 1, "seed": 0, "plateau": 0, "confirm_top": 1, "confirm_folds": 1,
    "confirm_seeds": 1, "seeds": 1, "domain": 0,
}  # fmt: skip


def plain_options(options: Any) -> dict[str, Any]:
    """Options as plain values for JSON and YAML."""
    return {name: plain_value(value) for name, value in asdict(options).items()}


def plain_value(value: Any) -> Any:
    """One option's value for JSON and YAML: paths as text, tuples as lists."""
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return str(value) if isinstance(value, Path) else value
