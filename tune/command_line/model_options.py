"""Options of the verbs that make or use an exported model."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tune.command_line.declaration import argument, option
from tune.command_line.hub_names import licence_problem, repository_problem
from tune.command_line.mlflow_names import model_name_problem
from tune.command_line.options import (
    CleaningOptions,
    MachineOptions,
    OutputOptions,
    PrecisionOptions,
    StudyOptions,
    TaskOptions,
    TrackingOptions,
    TrackingUri,
)


@dataclass(frozen=True, kw_only=True)
class RetrainOptions(StudyOptions, PrecisionOptions, MachineOptions, TrackingUri, title="the model"):
    """Options of `retrain`."""

    trial: str | None = option(None, "a trial, such as t0007, or ensemble [what the confirmation decided for]")
    config: Path | None = option(None, "a configuration's YAML file instead of a trial")
    leading: bool = option(False, "the candidate that leads the confirmation, also where it is not proven to be better")
    epochs: int | None = option(None, "epochs to train [those that confirmation found best, else all]", at_least=1)
    seeds: int = option(
        1, "members of an ensemble, each trained with a seed of its own", at_least=1, at_most=1000, often=True
    )
    out: Path | None = option(
        None, "folder of checkpoints and of the model [retrained/STUDY-TRIAL]", own_folder=True, often=True
    )
    name: str | None = option(
        None,
        "name in the MLflow model registry [sentinel-beetles; of another task than the challenge, the study's]",
        check=model_name_problem,
        often=True,
    )
    force: bool = option(False, "move the alias champion without a win over the present champion")
    no_register: bool = option(False, "export only: leave MLflow's registry alone")

    def problems(self) -> Iterator[str]:
        """Also of options that contradict one another."""
        yield from super().problems()
        asked = {"--trial": self.trial is not None, "--config": self.config is not None, "--leading": self.leading}
        if len(given := [f"`{name}`" for name, is_given in asked.items() if is_given]) > 1:
            yield f"{' and '.join(given)} cannot both be given; leave one out"


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions(MachineOptions, TrackingOptions, TaskOptions, CleaningOptions, title="the evaluation"):
    """Options of `evaluate`."""

    models: tuple[str, ...] = argument(
        "exported folders, hf://OWNER/NAME, runs:/RUN/model or models:/NAME@ALIAS", file_names=True
    )
    data: str | None = option(
        None,
        "labelled data: demo, demo:N, demo:N:K, a folder (parquet shards, or images with metadata), or "
        "hf://OWNER/NAME [what MODEL was trained on]",
        file_names=True,
        often=True,
    )
    events: Literal["auto", "held-out", "validation", "all"] = option(
        "auto",
        "events to score: the model's held-out ones, the dataset's validation split, all; auto: the first it has",
        often=True,
    )
    out: Path | None = option(
        None,
        "folder of all files; without it results.json lies beside the model [MODEL/evaluation, or evaluations/NAME]",
        own_folder=True,
        often=True,
    )
    no_track: bool = option(False, "do not log the report to MLflow")


@dataclass(frozen=True, kw_only=True)
class ModelOptions(OutputOptions):
    """Of the verbs that read one model."""

    model: str = argument("an exported folder, hf://OWNER/NAME, runs:/RUN/model or models:/NAME@ALIAS", file_names=True)


@dataclass(frozen=True, kw_only=True)
class ExportOptions(ModelOptions, TrackingUri, title="the export"):
    """Options of `export`."""

    submission: Path | None = option(None, "write the challenge's folder here", own_folder=True)
    format: Literal["folder", "torch-export", "onnx"] = option("folder", "what to write to --out")
    out: Path | None = option(
        None,
        "where to write the model: a folder, or a .pt2 file for torch-export, or .onnx for onnx",
        own_folder=True,
    )
    push: str | None = option(
        None, "send the model to OWNER/NAME on the Hugging Face hub, as one commit", check=repository_problem
    )
    licence: str | None = option(
        None, "with --push: the hub's name of a licence, such as mit [unknown, to be chosen]", check=licence_problem
    )
    private: bool = option(False, "with --push: if the repository is new, show it to its owner alone")


@dataclass(frozen=True, kw_only=True)
class PredictOptions(MachineOptions, ModelOptions, TrackingUri, title="the forecast"):
    """Options of `predict`."""

    images: tuple[str, ...] = argument("image files, or folders of them", file_names=True)
    domain: str | None = option(None, "the domain of all images, a number or a name as the model's are [unknown]")
    species: str | None = option(
        None, "the scientific name, or the task's other covariate, of all images, for models that read it [unknown]"
    )
    numbers: Path | None = option(
        None, "a table of the images' paths and the numbers that the model reads [missing]", file_names=True
    )
    csv: Path | None = option(None, "write a CSV file: a row a specimen, then a row an event", file_names=True)
