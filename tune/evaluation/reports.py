"""Everything that is said of one model on one set of events, and of several models beside one another."""

import os
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from trainable.data.task_words import PART_NAMES
from trainable.export.facts import ModelFacts
from trainable.plain_values import JsonObject
from trainable.scoring.evaluation import Evaluation, ModelForecasts
from trainable.scoring.out_of_fold import Difference
from tune.evaluation.events import Leak
from tune.evaluation.worst_class_event import WorstClassEvent
from tune.evaluation.worst_events import WorstEvent

FORMAT_VERSION = 1

CLASS_KINDS = {"log_loss": "log loss", "brier": "Brier", "accuracy": "accuracy", "macro_f1": "macro F1", "ece": "ECE"}
"""Figures of classes -> what they are called."""

TRAINED_ON, KNOWN = "trained on", "known"
"""What the events of known domains are called where a model was trained on all of them, on some or perhaps on some."""

PARTS_WORDS = {
    PART_NAMES["id"]: "ID are events of domains that the model knows, OOD those of domains that it does not.",
    TRAINED_ON: "The model was trained on all events of domains that it knows; OOD are those of other domains.",
    KNOWN: "Known are events of domains that the model knows, some of which it was, or may have been, trained on; OOD "
    "are those of domains that it does not know.",
}
"""What the events of known domains are called -> what that means."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredData:
    """What the models are scored on.

    source: as `--data` names it. fingerprint: of all of it. which: "held-out", "validation" or "all"; about: the same
    in words. n_events, n_specimens: scored. n_dropped: specimens of the data left out for their images.
    """

    source: str
    fingerprint: str
    which: str
    about: str
    n_events: int
    n_specimens: int
    n_dropped: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ModelReport:
    """One model.

    name: short and unique among those evaluated together. spec: as the user named it. is_folder: `folder` is the user's
    own, not a download. floors: name -> metrics of forecasts without images, scored on the same events with the labels
    that the model was trained on; None where `floors_missing` says why.
    """

    name: str
    spec: str
    folder: Path
    is_folder: bool
    facts: ModelFacts
    data: ScoredData
    leak: Leak
    forecasts: ModelForecasts
    evaluation: Evaluation
    floors: dict[str, dict[str, float]] | None
    floors_missing: str
    worst: Sequence[WorstEvent | WorstClassEvent]

    @property
    def part_names(self) -> dict[str, str]:
        """What the parts are called here: ID of events alone that were held out, or set apart by the data's own split.

        "id" remains the key of the known domains' events in all files, whatever they are called.
        """
        return PART_NAMES | {"id": self._name_of_known()}

    def _name_of_known(self) -> str:
        if self.leak.n_specimens:
            known = self.evaluation.groups.get("id")
            return TRAINED_ON if known is not None and self.leak.n_specimens >= known.n_images else KNOWN
        return KNOWN if self.leak.warning and self.data.which == "all" else PART_NAMES["id"]

    def warnings(self) -> list[str]:
        """What a reader must know before the first figure."""
        warnings = [self.leak.warning] if self.leak.warning else []
        if self.data.which == "held-out" and self.facts.scores_of == "held-out events":
            study = f", {self.facts.study_id}," if self.facts.study_id else ""
            calibration = "sigma" if self.evaluation.classes is None else "temperature"
            warnings.append(
                f"{self.name}'s best epoch and {calibration} were chosen on these held-out events, so its score is a "
                f"little too good; a confirmation of its study{study} (`sentinel-tune confirm`) measures without that"
            )
        if self.leak.n_specimens and "score/all" in self.facts.scores:
            where = "its confirmation, on" if self.facts.scores_of == "confirmation" else "training, on its own"
            warnings.append(
                f"in {where} held-out events, {self.name} scored {self.facts.scores['score/all']:.4f}"
                f"{_interval_words(self.facts)}: expect that elsewhere"
            )
        return warnings

    def to_dict(self) -> JsonObject:
        """`report.json` as plain values."""
        facts = self.facts
        trained = ("epochs", "seeds", "data", "data_fingerprint", "holdout", "fold", "backbone", "study_id", "config")
        return {
            "format_version": FORMAT_VERSION,
            "model": {"name": self.name, "source": self.spec, "trained_as": facts.name}
            | {name: getattr(facts, name) for name in trained},
            "data": asdict(self.data),
            "leak": asdict(self.leak),
            "part_names": self.part_names,
            "warnings": self.warnings(),
            **self.evaluation.to_dict(),
            "floors": self.floors,
            "floors_missing": self.floors_missing,
            "worst_events": [event.to_dict() for event in self.worst],
        }


@dataclass(frozen=True, eq=False, kw_only=True)
class Comparison:
    """Several models on the same events, the first being what the others are compared to.

    evaluations: by name, with the same domains counted as known for all. differences: name -> score/all, score/id,
    score/ood -> that model's minus the first's. notes: what makes the comparison less than it seems. part_names: what
    the parts are called, as in `ModelReport`.
    """

    data: ScoredData
    evaluations: dict[str, Evaluation]
    differences: dict[str, dict[str, Difference]]
    notes: Sequence[str]
    part_names: dict[str, str]

    @property
    def first(self) -> str:
        """The name of the model that the others are compared to."""
        return next(iter(self.evaluations))

    def verdict(self, name: str) -> str:
        """Whether a model differs from the first beyond what other domains would have changed."""
        difference = self.differences[name]["score/all"]
        if difference.high < 0:
            return "better"
        return "worse" if difference.low > 0 else "no difference beyond noise"

    def to_dict(self) -> JsonObject:
        """`comparison.json` as plain values."""
        return {
            "format_version": FORMAT_VERSION,
            "data": asdict(self.data),
            "compared_to": self.first,
            "notes": list(self.notes),
            "part_names": self.part_names,
            "models": {
                name: {
                    "score": evaluation.score,
                    "parts": evaluation.parts,
                    "intervals": evaluation.intervals,
                    **{kind: target_values(evaluation, kind) for kind in explaining_kinds(evaluation)[:2]},
                    "differences": {key: asdict(d) for key, d in self.differences[name].items()}
                    if name in self.differences
                    else None,
                    "verdict": self.verdict(name) if name in self.differences else None,
                }
                for name, evaluation in self.evaluations.items()
            },
        }


def _interval_words(facts: ModelFacts) -> str:
    if "score/all" not in facts.intervals:
        return ""
    low, high = facts.intervals["score/all"]
    return f" [{low:.3f}, {high:.3f}]"


def target_values(evaluation: Evaluation, kind: str) -> dict[str, dict[str, float | None]]:
    """Group ("all", "id", "ood") -> target -> one of its scores."""
    return {
        name: {target: group.figure(target, kind) for target in group.targets}
        for name, group in evaluation.groups.items()
    }


def explaining_kinds(evaluation: Evaluation) -> tuple[str, ...]:
    """Figures of a target that explain a score, the first ones first."""
    if evaluation.classes is None:
        return ("r2", "mae", "rmse")
    return ("accuracy", "macro_f1", *(kind for kind in CLASS_KINDS if kind not in ("accuracy", "macro_f1")))


def common_part_names(reports: Sequence[ModelReport]) -> dict[str, str]:
    """What the parts of the same events are called for several models together."""
    names = {report.part_names["id"] for report in reports}
    return PART_NAMES | {"id": names.pop() if len(names) == 1 else KNOWN}


def model_names(specs: Sequence[str]) -> list[str]:
    """A short name a model, unique and fit for a file: the folder's, or its parent's where that is just "model"."""
    names: list[str] = []
    for spec in specs:
        stem = _stem(spec)
        name, count = stem, 1
        while name in names:
            count += 1
            name = f"{stem}-{count}"
        names.append(name)
    return names


def _stem(spec: str) -> str:
    """models:/beetles@champion -> beetles-champion, runs:/1234/model -> 1234, trained/lora/model -> lora."""
    is_uri = spec.startswith(("runs:/", "models:/"))
    path = Path(spec.partition(":/")[2].strip("/")) if is_uri else Path(os.path.expanduser(spec)).absolute()
    parts = list(path.parts[:-1] if path.name == "model" and len(path.parts) > 2 - is_uri else path.parts)
    shown = "-".join(parts) if is_uri else parts[-1]
    return re.sub(r"[^A-Za-z0-9._-]+", "-", shown).strip(".-") or "model"


def shown_groups(evaluation: Evaluation) -> list[str]:
    """ "all", "id", "ood"; one part alone where there is no other, since all is the same then."""
    if not evaluation.domains:
        return ["all"]
    names = list(evaluation.groups)
    return names if len(names) > 2 else names[1:]


def scores_with_intervals(evaluation: Evaluation) -> dict[str, tuple[float, float, float]]:
    """Group ("all", "id", "ood") -> score, low, high."""
    return {
        name: (group.score, *evaluation.intervals[f"score/{name}"])
        for name, group in evaluation.groups.items()
        if name == "all" or evaluation.domains
    }
