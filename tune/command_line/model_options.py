"""Options of the verbs that make or use an exported model."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tune.command_line.options import (
    MachineOptions,
    OutputOptions,
    PrecisionOptions,
    StudyOptions,
    TrackingOptions,
    option,
)

_NAMES_OF_FILES = {"positional": True, "file_names": True}
"""Arguments, one a word, that may be what a system takes for a file's name, with line breaks and bytes of any kind."""


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(StudyOptions, PrecisionOptions, MachineOptions):
    """Options of `retrain`."""

    trial: str | None = option(None, "a trial of the study, such as t0007 [the one that confirmation decided for]")
    config: Path | None = option(None, "a configuration's YAML file instead of a trial")
    epochs: int | None = option(None, "epochs to train [those that confirmation found best, else all]")
    precision: Literal["auto", "float32", "bfloat16"] = option("auto", "matrix products; auto is what the study had")
    seeds: int = option(1, "members of an ensemble, each trained with a seed of its own")
    out: Path | None = option(None, "folder of checkpoints and of the model [retrained/STUDY-TRIAL]")
    name: str = option("sentinel-beetles", "name in the MLflow model registry")
    force: bool = option(False, "move the alias champion without a win over the present champion")
    no_register: bool = option(False, "export only: leave MLflow's registry alone")
    tracking_uri: str | None = option(None, "MLflow tracking URI [that of the study]")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MachineOptions, TrackingOptions):
    """Options of `evaluate`."""

    models: tuple[str, ...] = field(
        metadata={"help": "exported folders, runs:/RUN/model or models:/NAME@ALIAS", **_NAMES_OF_FILES}
    )
    data: str | None = field(
        default=None,
        metadata={
            "help": "labelled data: demo, demo:N, a folder (parquet shards, or images with metadata), or "
            "hf://OWNER/NAME [what MODEL was trained on]",
            "file_names": True,
        },
    )
    events: Literal["auto", "held-out", "validation", "all"] = option(
        "auto",
        "events to score: the model's held-out ones, the dataset's validation split, all; auto: the first it has",
    )
    skip_bad_images: bool = option(False, "drop and count unreadable images instead of refusing the data")
    drop_duplicates: bool = option(False, "of specimens with the same photograph, byte for byte, keep the first alone")
    out: Path | None = option(None, "folder of the report [MODEL/evaluation, or evaluations/NAME]")
    no_track: bool = option(False, "do not log the report to MLflow")


@dataclass(frozen=True, kw_only=True)
class ExportOptions(OutputOptions):
    """Options of `export`."""

    model: str = field(
        metadata={"help": "an exported folder, runs:/RUN/model or models:/NAME@ALIAS", **_NAMES_OF_FILES}
    )
    submission: Path | None = option(None, "write the challenge's folder here")
    format: Literal["folder", "torch-export"] = option("folder", "what to write to --out")
    out: Path | None = option(None, "where to write the model: a folder, or a .pt2 file for torch-export")
    tracking_uri: str | None = option(None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(MachineOptions):
    """Options of `predict`."""

    model: str = field(
        metadata={"help": "an exported folder, runs:/RUN/model or models:/NAME@ALIAS", **_NAMES_OF_FILES}
    )
    images: tuple[str, ...] = field(metadata={"help": "image files, or folders of them", **_NAMES_OF_FILES})
    domain: int | None = option(None, "the domain of all images [unknown]")
    csv: Path | None = field(
        default=None, metadata={"help": "write a CSV file: a row a specimen, then a row an event", "file_names": True}
    )
    tracking_uri: str | None = option(None, "MLflow tracking URI [MLFLOW_TRACKING_URI or sqlite in the working folder]")
