"""From trained tails to an exported folder: what `train` and `retrain` share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from trainable.data.specimens import Specimens
from trainable.errors import UserError
from trainable.export.exporter import export_model
from trainable.export.facts import MemberFacts, ModelFacts
from trainable.export.training_record import TrainingRecord
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.frozen.features import identity_key, store_identity
from trainable.scoring.group_floor import BY_SPECIES, SharedFloor, group_floors, shared_floors
from trainable.scoring.scoring import EventForecast
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData
from tune.tracking.versions import library_versions


@dataclass(frozen=True, kw_only=True)
class ModelQuality:
    """What is known of a model's quality; all of it may be empty. The fields are those of `ModelFacts`."""

    scores: Mapping[str, float] = field(default_factory=dict)
    scores_of: str = ""
    intervals: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    interval_level: float | None = None
    floors: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    verdict: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """What a trainer's weights are of: the name of a configuration, for how many epochs."""

    name: str
    epochs: int


def export_trainers(
    folder: Path,
    trainers: Sequence[TailTrainer],
    *,
    name: str,
    trained: Sequence[Trained],
    backbone: str,
    specimens: Specimens,
    sigmas: Mapping[str, Sequence[float]],
    floor_shares: Mapping[str, float] | None = None,
    measured: ModelQuality | None = None,
    evidence: Mapping[str, object] | None = None,
    study_id: str | None = None,
) -> Path:
    """Export the weights that the trainers hold now as one model, a member each, to `folder`, whole or not at all.

    trainers: of equal data. trained: what each of them is. backbone: as on the command line. specimens: what the
    trainers' features were made of. sigmas: "known" and "unknown" -> one a target. floor_shares: floor -> its share.
    evidence: the configuration's out-of-fold forecasts, written as `confirmation.json`.
    Raises: UserError when the backbone or the data are not those that the features were made from, or when `folder`
    holds what is no export of ours.
    """
    loaded = load_backbone(backbone)
    _check_origin(loaded, trainers[0], specimens)
    data, shares = trainers[0].data, floor_shares or {}
    facts = model_facts(
        trainers,
        name=name,
        trained=trained,
        backbone=loaded,
        specimens=specimens,
        floor_shares=shares,
        measured=measured,
        study_id=study_id,
    )
    known_species = next((t.known_species for t in trainers if t.known_species is not None), None)
    if known_species is None and BY_SPECIES in shares:
        known_species = data.train_species()
    return export_model(
        folder,
        backbone=loaded,
        tails=[trainer.tail for trainer in trainers],
        targets=data.targets,
        units=trainers[0].units,
        known_domains=trainers[0].known_domains,
        known_species=known_species,
        number_units=next((t.number_units for t in trainers if t.number_units is not None), None),
        test_flips=[trainer.config.augment.test_flips for trainer in trainers],
        sigmas=sigmas,
        floors=_floors(data, shares) if shares else (),
        facts=facts,
        evidence=evidence,
        record=TrainingRecord.of(specimens, data.split.train),
    )


def model_facts(
    trainers: Sequence[TailTrainer],
    *,
    name: str,
    trained: Sequence[Trained],
    backbone: Backbone,
    specimens: Specimens,
    floor_shares: Mapping[str, float] | None = None,
    measured: ModelQuality | None = None,
    study_id: str | None = None,
) -> ModelFacts:
    """What the trainers, their data and what was measured say of the model that they hold."""
    measured = measured or ModelQuality()
    first, data = trainers[0], trainers[0].data
    split = data.split
    configs = [trainer.config.to_dict() for trainer in trainers]
    is_of_one = all(config == configs[0] for config in configs)
    members = [
        MemberFacts(name=of.name, config=config, epochs=of.epochs, seed=trainer.seed)
        for of, config, trainer in zip(trained, configs, trainers, strict=True)
    ]
    return ModelFacts(
        name=name,
        config=configs[0] if is_of_one else {},
        epochs=max(of.epochs for of in trained),
        seeds=tuple(dict.fromkeys(member.seed for member in members)),
        members=() if is_of_one else tuple(members),
        floor_shares=dict(floor_shares or {}),
        backbone=backbone.name,
        backbone_fingerprint=backbone.fingerprint,
        data=specimens.source,
        data_fingerprint=specimens.fingerprint,
        n_specimens=len(split.train),
        n_events=len(np.unique(data.event_ids[split.train])),
        holdout=split.policy,
        fold=None if split.policy == "all" else split.fold,
        held_out_sites=split.held_out_sites,
        held_out_domains=split.held_out_domains,
        n_leaked_events=split.n_leaked_events,
        scores=dict(measured.scores),
        scores_of=measured.scores_of,
        intervals=dict(measured.intervals),
        interval_level=measured.interval_level,
        floors={floor: dict(metrics) for floor, metrics in measured.floors.items()},
        verdict=measured.verdict,
        study_id=study_id,
        precision=str(first.precision),
        versions=library_versions(),
    )


def held_out_sigmas(forecasts: Mapping[str, EventForecast]) -> dict[str, list[float]]:
    """Sigmas for new events of known and unknown domains, from forecasts of held-out ones ("id", "ood").

    A kind of domain of which nothing was held out gets the other's.
    """
    pooled: dict[str, list[float]] = {part: forecast.pooled_sigma.tolist() for part, forecast in forecasts.items()}
    of_kind = {"known": ("id", "ood"), "unknown": ("ood", "id")}
    return {kind: next(pooled[part] for part in parts if part in pooled) for kind, parts in of_kind.items()}


def _floors(data: TrialData, shares: Mapping[str, float]) -> list[SharedFloor]:
    """By all that was trained on."""
    found = group_floors(data.labels, data.event_ids, data.domain_ids, data.species, data.split, targets=data.targets)
    return shared_floors(found, shares)


def _check_origin(backbone: Backbone, trainer: TailTrainer, specimens: Specimens) -> None:

    store = trainer.data.store
    if identity_key(store_identity(backbone, specimens.features_fingerprint)) != store.key:
        raise UserError(
            f"a model is exported with the backbone and the data that it was trained on, but the features {store.path} "
            f"were not made with {backbone.name} from {specimens.source} as they are now; extract and train again"
        )
