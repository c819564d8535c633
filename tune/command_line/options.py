"""The options of verbs: one frozen class a verb, made of classes for what several verbs have in common.

Here are those of searching; `model_options.py` has those of the verbs that make or use an exported model.
"""

import math
import os
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from trainable.allowance import usable_cpus
from trainable.errors import UserError
from trainable.frozen.model_folder import name_problem
from trainable.plain_values import LARGEST_WHOLE, JsonObject
from trainable.storage.place import Place
from trainable.storage.remote_folder import RemoteFolder
from tune.command_line.declaration import Options, argument, option
from tune.command_line.mlflow_names import UI_PORT, experiment_problem
from tune.command_line.study_options import ClusterOptions, RunsOptions, StoppingOptions, VerdictOptions


@dataclass(frozen=True, kw_only=True)
class OutputOptions(Options):
    """How a command's result is printed."""

    json: bool = option(
        False, "print exactly one JSON object on stdout, everything else on stderr", kept="for one session"
    )


@dataclass(frozen=True, kw_only=True)
class MachineOptions(OutputOptions, title="this machine"):
    """What of this machine a command takes."""

    cache: Path | None = option(
        None,
        "folder for demo data and extracted features [SENTINEL_TUNE_CACHE or ~/.cache/sentinel-tune]",
        own_folder=True,
    )
    device: Literal["auto", "cpu", "cuda"] = option("auto", "where to compute; auto takes CUDA where there is one")
    workers: int = option(usable_cpus(), "CPUs to use when no cluster is joined", at_least=1, at_most=100_000)

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
class TrackingUri(Options, title="MLflow"):
    """The server or database of MLflow's records."""

    tracking_uri: str | None = option(
        None,
        "MLflow tracking URI [the study's, else MLFLOW_TRACKING_URI or sqlite in the working folder]",
        kept="as the study had it",
    )


@dataclass(frozen=True, kw_only=True)
class TrackingOptions(TrackingUri, title="MLflow"):
    """Where MLflow's records go."""

    experiment: str = option("sentinel-tune", "MLflow experiment", check=experiment_problem)


@dataclass(frozen=True, kw_only=True)
class TaskOptions(Options, title="data and backbone"):
    """What the data are of."""

    task: str | None = option(
        None,
        "what is predicted from which columns: a built-in task, or a YAML file [the model's; else task.yaml beside the "
        "data, else beetles]",
        file_names=True,
        kept="as the study had it",
    )


@dataclass(frozen=True, kw_only=True)
class CleaningOptions(Options, title="data and backbone"):
    """Which specimens are left out."""

    skip_bad_images: bool = option(
        False, "drop and count unreadable images instead of refusing the data", kept="for life"
    )
    drop_duplicates: bool = option(
        False, "of specimens with the same photograph, byte for byte, keep the first alone", kept="for life"
    )


@dataclass(frozen=True, kw_only=True)
class DataOptions(TaskOptions, CleaningOptions, MachineOptions, title="data and backbone"):
    """What is learned from, and by which frozen backbone."""

    data: str = option(
        "demo",
        "demo, demo:N (N specimens), demo:N:K (of world K), a folder (parquet shards, or images with metadata), "
        "or hf://OWNER/NAME",
        often=True,
        file_names=True,
        kept="as the study had it",
    )
    backbone: str = option(
        "tiny",
        "tiny, tiny:random, hf-hub:imageomics/bioclip-2, or local-dir:PATH (an open_clip folder)",
        often=True,
        check=name_problem,
        kept="as the study had it",
    )
    features: RemoteFolder | None = option(
        None, "s3:// or gs:// URI where features are kept, for nodes whose --cache is not shared [only in --cache]"
    )
    seed: int = option(0, "seed of everything random", at_least=0, at_most=LARGEST_WHOLE, kept="for life")


@dataclass(frozen=True, kw_only=True)
class SplitOptions(Options, title="scoring"):
    """Which events are held out to be scored."""

    holdout: Literal["site", "domain", "both", "official"] = option(
        "both",
        "held-out events: unseen sites (ID), unseen domains (OOD), both, or the official split, which leaks",
        kept="for life",
    )
    fold: int = option(0, "which of the held-out folds", at_least=0, kept="for life")


@dataclass(frozen=True, kw_only=True)
class PrecisionOptions(Options, title="this machine"):
    """In which number format training multiplies its matrices."""

    precision: Literal["auto", "float32", "bfloat16"] = option(
        "auto",
        "matrix products of training; auto is what the study had, else bfloat16 on CUDA, float32 on a CPU",
        kept="for life",
    )


@dataclass(frozen=True, kw_only=True)
class SearchOptions(
    StoppingOptions, RunsOptions, VerdictOptions, SplitOptions, DataOptions, PrecisionOptions, ClusterOptions,
    TrackingOptions, title="the search"
):  # fmt: skip
    """Options of `search`."""

    space: str = option(
        "full",
        "a search space by name (see `sentinel-tune spaces`) or a YAML file",
        often=True,
        kept="as the study had it",
    )
    trials: int = option(24, "trials in all, starting points included", at_least=1, often=True)
    epochs: int = option(20, "full length of a trial in epochs", at_least=1, often=True, kept="for life")
    study: Place | None = option(
        None,
        "folder of the study, a path or s3:// or gs:// URI [studies/SPACE-DATE-TIME]",
        often=True,
        own_folder=True,
        kept="for one session",
    )
    resume: Place | None = option(
        None,
        "go on with the study in this folder; what it was given holds until given anew",
        often=True,
        kept="for one session",
    )
    accept_change: bool = option(
        False,
        "at --resume, take what --config changes; what makes results incomparable is refused all the same",
        kept="for one session",
    )
    warm_start: tuple[Place, ...] = option(
        (),
        "folders of earlier studies: begin with their best; on equal data their results are told to the sampler too",
        kept="for life",
    )
    search_folds: int | None = option(
        None,
        "folds that score each trial, trained once without what any of them holds out: --fold, and the domains of "
        "those after it; 2 unless given, or 1 where the data have fewer than 4",
        at_least=1,
        kept="for life",
    )
    train_each_fold: bool = option(
        False,
        "train each trial once for each of its folds, with what the others hold out: more to train on, several times "
        "as long",
        kept="for life",
    )
    no_variants: bool = option(False, "do not run the space's starting points first", kept="for life")
    variants_in_full: bool = option(
        False,
        "never stop the space's starting points early; without it this holds for the default alone",
        kept="for life",
    )
    no_confirm: bool = option(False, "do not confirm the best trials against the default at the end")
    confirm_share: float = option(
        0.3, "share of --time-budget that is kept for confirming from the start", at_least=0, below=1
    )

    @property
    def trainings(self) -> int:
        """Of one trial, once `search_folds` is known."""
        return (self.search_folds or 1) if self.train_each_fold else 1

    @property
    def grace(self) -> int:
        """Epochs before a trial may be stopped: 10 to 15 % of the length unless given."""
        return self.grace_epochs if self.grace_epochs is not None else max(1, round(self.epochs / 8))

    @property
    def patience_epochs(self) -> int:
        """Epochs in a row without a better score after which a trial ends, never fewer than are its grace."""
        return self.patience if self.patience is not None else max(self.grace, math.ceil(self.epochs / 2))

    def problems(self) -> Iterator[str]:
        """Also of options that contradict one another."""
        yield from super().problems()
        if self.grace > self.epochs:
            yield f"`--grace-epochs <= --epochs` must hold, but got {self.grace} > {self.epochs}"


@dataclass(frozen=True, kw_only=True)
class TrainOptions(DataOptions, PrecisionOptions, SplitOptions, title="the training"):
    """Options of `train`."""

    variant: str = option("default", "a variant by name (see `sentinel-tune variants`) or a YAML file", often=True)
    epochs: int | None = option(
        None,
        "epochs to train; schedules and ramps are laid out over them [20 of a variant by name, those of a file]",
        at_least=1,
        often=True,
    )
    out: Path | None = option(
        None,
        "folder of checkpoints and results; training resumes in one with checkpoints [trained/VARIANT-DATE-TIME]",
        often=True,
        own_folder=True,
    )


@dataclass(frozen=True, kw_only=True)
class ExtractOptions(DataOptions, ClusterOptions, title="the extraction"):
    """Options of `extract`."""

    space: str = option("full", "extract every depth that this search space can reach", often=True)


@dataclass(frozen=True, kw_only=True)
class StudyOptions(OutputOptions):
    """Options of the verbs that read one study."""

    study: Place = argument("folder of the study, a path or s3:// or gs:// URI", own_folder=True)


@dataclass(frozen=True, kw_only=True)
class TrialsOptions(StudyOptions):
    """Options of `trials`."""

    csv: Path | None = option(None, "write a CSV file: a row a trial, numbers exact", file_names=True)


@dataclass(frozen=True, kw_only=True)
class EnqueueOptions(StudyOptions):
    """Options of `enqueue`."""

    configuration: tuple[str, ...] = argument(
        "KEY=VALUE ..., such as optim.lr=2e-4 tail.n_blocks=2, the rest as in the space's base; or a YAML file of a "
        "variant, or a variant by name where the study does not try it anyway",
        file_names=True,
    )


@dataclass(frozen=True, kw_only=True)
class StopOptions(StudyOptions):
    """Options of `stop`."""

    trial: str | None = argument("end this trial alone [the whole search, in order]", default=None)


@dataclass(frozen=True, kw_only=True)
class ReportOptions(OutputOptions):
    """Options of `report`."""

    studies: tuple[Place, ...] = argument("folders of studies, paths or s3:// or gs:// URIs", own_folder=True)
    output: Path | None = option(None, "the HTML file to write [report-STUDY.html]", file_names=True, often=True)


@dataclass(frozen=True, kw_only=True)
class SyncOptions(StudyOptions, TrackingUri, title="MLflow"):
    """Options of `sync`."""

    experiment: str | None = option(None, "MLflow experiment [that of the study]", check=experiment_problem)


@dataclass(frozen=True, kw_only=True)
class UiOptions(TrackingUri, title="MLflow"):
    """Options of `ui`."""

    study: Place | None = argument("show this study's trials [all that MLflow holds]", default=None, own_folder=True)
    port: int = option(
        UI_PORT, "port of this machine to listen on, or another if it is taken", at_least=1, at_most=65535
    )
    experiment: str | None = option(None, "MLflow experiment [that of the study]", check=experiment_problem)


@dataclass(frozen=True, kw_only=True)
class ConfirmOptions(VerdictOptions, RunsOptions, StudyOptions, MachineOptions, ClusterOptions, TrackingUri):
    """Options of `confirm`."""


@dataclass(frozen=True, kw_only=True)
class InspectOptions(MachineOptions, title="the task"):
    """Options of `inspect`."""

    data: str = argument(
        "folder of photographs (with a table, or folders called as classes), of parquet files, or hf://OWNER/NAME",
        file_names=True,
    )
    write: bool = option(False, "write the proposed task beside the data, as task.yaml", often=True)


@dataclass(frozen=True, kw_only=True)
class DemoDataOptions(Options):
    """Options of `demo-data`."""

    path: Path = argument("folder to write to; must not exist")
    specimens: int = option(1500, "how many to draw", at_least=1, at_most=math.inf)
    seed: int = option(0, "the world that is drawn: seed of all of it", at_least=0, at_most=LARGEST_WHOLE)


@dataclass(frozen=True, kw_only=True)
class ListingOptions(Options):
    """Options of the verbs that list what is built in."""

    name: str | None = argument("show this one in full", default=None)


def plain_options(options: Options) -> JsonObject:
    """Options as plain values for JSON and YAML."""
    return {f.name: plain_value(getattr(options, f.name)) for f in fields(options)}


def plain_value(value: object) -> Any:
    """One option's value for JSON and YAML: paths and URIs as text, tuples as lists."""
    if isinstance(value, tuple):
        return [plain_value(item) for item in value]
    return str(value) if isinstance(value, Path | RemoteFolder) else value
