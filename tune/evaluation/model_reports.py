"""From a loaded model and labelled specimens to its report and pictures."""

from dataclasses import dataclass
from pathlib import Path

from trainable.checksums import from_json
from trainable.data.copies import shared_line
from trainable.data.specimens import Specimens
from trainable.data.splits import Split
from trainable.data.task import Task
from trainable.errors import UserError
from trainable.export.facts import ModelFacts
from trainable.export.standalone import ModelFolderError, read_config
from trainable.export.training_record import RECORD, TrainingRecord
from trainable.scoring.evaluation import ModelForecasts, evaluate_forecasts, score_differences, with_common_parts
from tune.evaluation.events import ChosenEvents, Training, leak_of
from tune.evaluation.forecasting import targets_of_model
from tune.evaluation.reports import Comparison, ModelReport, ScoredData, common_part_names
from tune.evaluation.worst_events import find_worst_events
from tune.study.study_data import split_floors

OTHERS = "the model was trained on other data (another fingerprint), so the labels it learned from are not at hand"


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelSource:
    """A model that is not loaded yet.

    name: short and unique. spec: as the user named it. folder: exported. is_folder: the user's own, not a download.
    record: of what it was trained on; None of a model that was exported without one.
    """

    name: str
    spec: str
    folder: Path
    is_folder: bool
    facts: ModelFacts
    task: Task
    record: TrainingRecord | None


def read_source(name: str, spec: str, folder: Path) -> ModelSource:
    """What an exported folder says of itself; its files are checked, its weights stay unread.

    Raises: UserError with every problem of the folder.
    """
    try:
        config = read_config(folder)
        facts = ModelFacts.from_dict(config.get("facts", {}))
        targets = targets_of_model(config)
        record = _read_record(folder) if RECORD in config["sha256"] else None
    except ModelFolderError as error:
        raise UserError(error.problems) from error
    except ValueError as error:
        raise UserError(f"{folder}/config.json must tell what the model forecasts, but {error}") from error
    except UserError as error:
        rule = f"{folder}/config.json must tell how the model was trained, but"
        raise UserError(f"{rule} {problem}" for problem in error.problems) from error
    is_folder = not spec.startswith(("runs:/", "models:/", "hf://"))
    return ModelSource(
        name=name, spec=spec, folder=folder, is_folder=is_folder, facts=facts, task=targets.task, record=record
    )


def _read_record(folder: Path) -> TrainingRecord:
    """Raises: ValueError; UserError."""
    return TrainingRecord.from_dict(from_json((folder / RECORD).read_bytes()))


def scored_data(specimens: Specimens, chosen: ChosenEvents) -> ScoredData:
    """The data and the part of them that is scored."""
    return ScoredData(
        source=specimens.source,
        fingerprint=specimens.fingerprint,
        which=chosen.which,
        about=chosen.about,
        n_events=int(specimens.frame["event_id"].iloc[chosen.rows].nunique()),
        n_specimens=len(chosen.rows),
        n_dropped=specimens.n_dropped,
    )


def make_report(
    source: ModelSource,
    forecasts: ModelForecasts,
    *,
    specimens: Specimens,
    chosen: ChosenEvents,
    training: Training | None,
) -> ModelReport:
    """Everything that is said of one model; forecasts: of the chosen specimens. training: None on other data."""
    copies = seen = None
    if training is None:
        seen = None if source.record is None else source.record.seen(specimens)
    else:
        copies = shared_line(specimens.digests, specimens.names, training.rows, chosen.rows)
    return ModelReport(
        name=source.name,
        spec=source.spec,
        folder=source.folder,
        is_folder=source.is_folder,
        facts=source.facts,
        data=scored_data(specimens, chosen),
        leak=leak_of(source.name, training, chosen, specimens.frame, copies=copies, seen=seen),
        forecasts=forecasts,
        evaluation=evaluate_forecasts(forecasts),
        floors=None if training is None else _floors(forecasts, specimens, chosen, training),
        floors_missing=OTHERS if training is None else "",
        worst=find_worst_events(forecasts, specimens, chosen.rows),
    )


def compare(reports: list[ModelReport], data: ScoredData) -> Comparison:
    """Two or more models on the same events, the others beside the first."""
    forecasts = {report.name: report.forecasts for report in reports}
    common = with_common_parts(forecasts)
    notes = list(dict.fromkeys(warning for report in reports for warning in report.warnings()))
    if any((f.is_known != common[name].is_known).any() for name, f in forecasts.items()):
        notes.append(
            "the models know different domains: here a domain is known only where all of them know it, so scores "
            "differ from those in their own reports"
        )
    first, *others = common
    return Comparison(
        data=data,
        evaluations={name: evaluate_forecasts(f) for name, f in common.items()},
        differences={name: score_differences(common[name], common[first]) for name in others},
        notes=notes,
        part_names=common_part_names(reports),
    )


def _floors(
    forecasts: ModelForecasts, specimens: Specimens, chosen: ChosenEvents, training: Training
) -> dict[str, dict[str, float]]:
    """Forecasts without images from the labels that the model was trained on, for the events it is scored on."""
    is_known = forecasts.is_known[forecasts.event_of_image]
    split = Split(
        policy=training.policy,
        fold=0,
        train=training.rows,
        id_=chosen.rows[is_known],
        ood=chosen.rows[~is_known],
        held_out_sites=(),
        held_out_domains=(),
        n_leaked_events=0,
    )
    return split_floors(specimens, [split])
