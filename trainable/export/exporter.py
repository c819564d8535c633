"""Export of a trained model: one self-contained folder, checked against what was trained before it is in its place.

config.json          all that inference needs beside the weights, how it was trained, every file's sha256
model.safetensors    `visual.*` in open_clip's names, `*_code.*`, `head.*`; of further members what differs
adapter/             the adapters alone in peft's format (`adapter_1/` of member 1, and so on)
confirmation.json    the configuration's forecasts of events it had not seen, where it was confirmed
training_data.json   digests of the photographs, events and sites that it was trained on
README.md            the model card
"""

import copy
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainable.checksums import to_json
from trainable.export.facts import ModelFacts
from trainable.export.model_card import model_card
from trainable.export.placing import EXPORT, EXPORT_NAMES, place_folder
from trainable.export.standalone import (
    CONFIG,
    FORMAT_VERSION,
    KIND,
    WEIGHTS,
    ExportedModel,
    config_digest,
    file_digest,
    read_config,
)
from trainable.export.training_record import RECORD, TrainingRecord
from trainable.frozen.backbone import Backbone
from trainable.plain_values import JsonObject
from trainable.scoring.group_floor import SharedFloor
from trainable.scoring.targets import Targets
from trainable.tail.adapters import adapter_config, adapter_state, merge_adapters
from trainable.tail.tail import Tail
from trainable.training.label_units import LabelUnits
from trainable.training.number_units import NumberUnits
from trainable.training.views import mean_of_views

CARD, EVIDENCE = "README.md", "confirmation.json"
TOLERANCE = 1e-5
"""Largest difference between exported and trained, in SDs of the labels; of values beyond 1, as a share of them."""

_N_CHECKED, _CHECK_SEED = 8, 20_260_102


class ExportMismatch(RuntimeError):
    """What was written does not predict what the trained model predicts: our mistake, never the user's."""


def export_model(
    folder: Path,
    *,
    backbone: Backbone,
    tails: Sequence[Tail],
    targets: Targets | None = None,
    units: LabelUnits | None = None,
    known_domains: Sequence[int] | Sequence[str],
    known_species: Sequence[str] | None = None,
    number_units: NumberUnits | None = None,
    test_flips: Sequence[bool] | None = None,
    sigmas: Mapping[str, Sequence[float]],
    floors: Sequence[SharedFloor] = (),
    facts: ModelFacts,
    evidence: Mapping[str, Any] | None = None,
    record: TrainingRecord | None = None,
) -> Path:
    """Write the model to `folder`, whole and checked or not at all; an earlier export there is replaced.

    backbone: whose features the tails were trained on. tails: the trained members, adapters and all, on any device.
    targets: what they forecast, in units in which they learnt it; the challenge's where none are given.
    known_domains, known_species: ascending, as the tails' codes have them; known_species is None where no tail has
    one and no floor is by species, and number_units where none has a code for numbers. test_flips: of each tail, if
    its forecasts are the mean for an image and for it flipped left to right; None where none is. sigmas: "known" and
    "unknown" -> one a target; of classes a temperature. floors: what has a share of predictions for known domains
    beside the tails. record: of what was trained on.
    Raises: UserError when `folder` holds something else than an export. ExportMismatch. ValueError for sigmas that are
    not finite and positive.
    """
    targets = Targets.beetles() if targets is None else targets
    _check_sigmas(sigmas, n_targets=len(targets))
    tower = _on_cpu(backbone)
    trained = [_in_label_units(copy.deepcopy(tail).cpu().eval(), units) for tail in tails]
    floors = sorted(floors, key=lambda floor: floor.by)
    flips = [False] * len(trained) if test_flips is None else list(test_flips)

    def write(temporary: Path) -> None:
        config = _config(tower, trained[0], targets=targets, known_domains=known_domains, sigmas=sigmas, facts=facts)
        config["n_members"] = len(trained)
        forms = [_form(tail, test_flips=of) for tail, of in zip(trained, flips, strict=True)]
        reads_names = known_species is not None
        if any(form != forms[0] or form["reads_species"] != reads_names for form in forms):
            config["members"] = forms
        if known_species is not None:
            config["known_species"] = list(known_species)
        if number_units is not None:
            config["numbers"] = number_units.to_dict()
        if all(flips):
            config["test_flips"] = True
        if floors:
            config["floors"] = {floor.by: floor.share for floor in floors}
        state = _shared_and_own([_member_state(tower, tail, floors) for tail in trained])
        _check_finite(state)
        _save(temporary / WEIGHTS, state)
        for index, tail in enumerate(trained):
            _write_adapter(temporary / (f"adapter_{index}" if index else "adapter"), tail, backbone.name)
        card = model_card(
            facts,
            task=targets.task,
            known_domains=known_domains,
            known_species=known_species,
            number_units=number_units,
            sigmas=sigmas,
            has_record=record is not None,
        )
        (temporary / CARD).write_text(card, encoding="utf-8")
        if evidence is not None:
            (temporary / EVIDENCE).write_text(to_json(evidence) + "\n", encoding="utf-8")
        if record is not None:
            (temporary / RECORD).write_text(to_json(record.to_dict(), indent=0) + "\n", encoding="utf-8")
        write_config(temporary, config, unchecked=(CARD,))
        exported, spread = ExportedModel.load(temporary), torch.from_numpy(targets.spread)
        _check_equal(exported, tower, trained, number_units, floors, flips, sizes=spread)

    return place_folder(folder, write, own_names=EXPORT_NAMES, what=EXPORT)


def copy_export(exported: Path, folder: Path) -> Path:
    """Copy an exported folder, checked, to `folder`, whole or not at all; an earlier export there is replaced.

    Raises: UserError when `folder` holds something else; ModelFolderError when `exported` cannot be read.
    """
    read_config(exported)

    def write(temporary: Path) -> None:
        for path in exported.iterdir():
            if re.fullmatch(EXPORT_NAMES, path.name):
                copy = shutil.copytree if path.is_dir() else shutil.copyfile
                copy(path, temporary / path.name)
        read_config(temporary)

    return place_folder(folder, write, own_names=EXPORT_NAMES, what=EXPORT)


def write_config(folder: Path, config: Mapping[str, Any], *, unchecked: Sequence[str] = ()) -> None:
    """Write `config.json` with the sha256 of itself and of every file in the folder but `unchecked`."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name not in (*unchecked, CONFIG))
    sums = {path.relative_to(folder).as_posix(): file_digest(path) for path in files}
    plain = json.loads(json.dumps({**config, "sha256": {}}, allow_nan=False))
    plain["sha256"] = {CONFIG: config_digest(plain), **sums}
    (folder / CONFIG).write_text(json.dumps(plain, indent=2) + "\n", encoding="utf-8")


def _config(
    backbone: Backbone,
    tail: Tail,
    *,
    targets: Targets,
    known_domains: Sequence[int] | Sequence[str],
    sigmas: Mapping[str, Sequence[float]],
    facts: ModelFacts,
) -> JsonObject:
    form = _form(tail)
    return {
        "kind": KIND,
        "format_version": FORMAT_VERSION,
        "n_members": 1,
        "model_cfg": {
            k: backbone.model_cfg[k] for k in ("embed_dim", "vision_cfg", "quick_gelu") if k in backbone.model_cfg
        },
        "domain_code": form["domain_code"],
        "head_widths": form["head_widths"],
        "transform": backbone.transform.to_dict(),
        "targets": list(targets.names),
        **_of_task(targets),
        "known_domains": list(known_domains),
        **_calibration(targets, sigmas),
        "facts": facts.to_dict(),
    }


def _form(tail: Tail, *, test_flips: bool = False) -> JsonObject:
    """What may differ between the members of a model, beside their weights."""
    code, layers = tail.domain_code, tail.head.layers
    return {
        "domain_code": None if code is None else list(code.embedding.weight.shape),
        "reads_species": tail.species_code is not None,
        **({} if tail.number_code is None else {"reads_numbers": True}),
        **({"test_flips": True} if test_flips else {}),
        "head_widths": [layers[0].in_features, *(layer.out_features for layer in layers)],
    }


def _of_task(targets: Targets) -> dict[str, object]:
    """What predictions are clipped to; of another task than the challenge, which has one range, the task as well."""
    if targets.task.is_beetles:
        return {"label_range": [targets.task.targets[0].low, targets.task.targets[0].high]}
    if targets.task.has_classes:
        return {"classes": list(targets.task.classes), "task": targets.to_dict()}
    return {"bounds": [[target.low, target.high] for target in targets.task.targets], "task": targets.to_dict()}


def _calibration(targets: Targets, sigmas: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """A sigma a target, or the temperature of classes, of known and of unknown domains."""
    if targets.task.has_classes:
        return {"temperatures": {kind: float(values[0]) for kind, values in sigmas.items()}}
    return {"sigmas": {kind: [float(value) for value in values] for kind, values in sigmas.items()}}


@torch.no_grad()
def _in_label_units(tail: Tail, units: LabelUnits | None) -> Tail:
    """The same tail, whose last layer gives the labels' own units instead of those that were learnt."""
    if units is not None and not units.are_the_targets_own:
        last = tail.head.layers[-1]
        assert isinstance(last, nn.Linear)
        spread, centre = (torch.from_numpy(values) for values in (units.spread, units.centre))
        last.weight.copy_(last.weight.double() * spread[:, None])
        last.bias.copy_(last.bias.double() * spread + centre)
    return tail


@torch.no_grad()
def _member_state(backbone: Backbone, tail: Tail, floors: Sequence[SharedFloor]) -> dict[str, Tensor]:
    """One member's weights under the names of `standalone.Network`, adapters merged, float32."""
    visual = {**backbone.visual.state_dict(), **_merged(tail).open_clip_state()}
    state = {f"visual.{name}": value for name, value in visual.items()}
    state |= {f"head.{name.removeprefix('layers.')}": value for name, value in tail.head.layers.state_dict().items()}
    for name, code in (("domain_code", tail.domain_code), ("species_code", tail.species_code)):
        if code is not None:
            n_codes = len(code.embedding.weight)
            state[f"{name}.weight"] = code(torch.arange(n_codes))  # a table: what computed it is not needed
    if tail.number_code is not None:
        state["number_code.weight"] = tail.number_code.table()
    return state | {f"floor.{floor.by}.weight": torch.from_numpy(floor.floor.table).float() for floor in floors}


def _merged(tail: Tail) -> Tail:
    """The same tail with its adapters folded into plain blocks."""
    if not hasattr(tail.blocks, "peft_config"):
        return tail
    return Tail(
        tail.architecture,
        between=list(tail.between),
        blocks=list(merge_adapters(tail.blocks)),
        ln_post=tail.ln_post,
        proj=tail.proj,
        domain_code=tail.domain_code,
        species_code=tail.species_code,
        number_code=tail.number_code,
        head=tail.head,
    )


def _shared_and_own(members: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The first member's weights, and of each other what differs, as `member_1.NAME`."""
    first, *others = members
    state = dict(first)
    for index, member in enumerate(others, start=1):
        own = {
            name: value for name, value in member.items() if name not in first or not torch.equal(value, first[name])
        }
        state |= {f"member_{index}.{name}": value for name, value in own.items()}
    return state


def _write_adapter(folder: Path, tail: Tail, backbone: str) -> None:
    """Nothing is written for a tail that was trained in full."""
    if not hasattr(tail.blocks, "peft_config"):
        return
    first_block = tail.architecture.n_blocks - len(tail.blocks)
    config = adapter_config(tail.blocks, first_block=first_block) | {"base_model_name_or_path": backbone}
    folder.mkdir()
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    _save(folder / "adapter_model.safetensors", adapter_state(tail.blocks, first_block=first_block))


def _save(path: Path, state: Mapping[str, Tensor]) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    path.touch()
    mode = path.stat().st_mode  # what the user's umask gives; safetensors lets nobody else read
    # clones: safetensors takes no tensors that share memory
    tensors = {name: value.detach().clone().contiguous() for name, value in state.items()}
    try:
        save_file(tensors, path, {"format": "pt"})
    except SafetensorError as error:
        if (found := re.search(r"\(os error (\d+)\)", str(error))) is None:
            raise
        raise OSError(int(found[1]), os.strerror(int(found[1])), str(path)) from error
    path.chmod(mode)


def _check_finite(state: Mapping[str, Tensor]) -> None:
    """Raises: ExportMismatch for weights that nobody could load."""
    if wrong := [name for name, value in state.items() if not value.isfinite().all()]:
        raise ExportMismatch(f"weights must be finite, but {', '.join(wrong[:3])} are not; nothing was exported")


@torch.inference_mode()
def _check_equal(
    exported: ExportedModel,
    backbone: Backbone,
    tails: Sequence[Tail],
    number_units: NumberUnits | None,
    floors: Sequence[SharedFloor],
    flips: Sequence[bool],
    *,
    sizes: Tensor,
) -> None:
    """Exported against trained on fixed images, each member by itself. sizes: of usual values, one a target.

    Raises: ExportMismatch.
    """
    size = backbone.architecture.image_size
    images = np.random.default_rng(_CHECK_SEED).integers(0, 256, (_N_CHECKED, size, size, 3), dtype=np.uint8)
    pixels = backbone.transform.normalize(torch.from_numpy(images))
    domains = torch.arange(_N_CHECKED) % (len(exported.known_domains) + 1)
    names = torch.arange(_N_CHECKED) % (len(exported.known_species) + 1)
    inputs, as_trained = _checked_numbers(exported, number_units)
    given = (pixels, domains, names if exported.reads_species else None, inputs)
    for index, (member, tail) in enumerate(zip(exported.members, tails, strict=True)):
        species = None if tail.species_code is None else names
        tap = tail.architecture.n_blocks - len(tail.between) - len(tail.blocks)
        views = [pixels, pixels.flip(-1)] if flips[index] else [pixels]
        own, *flipped = (
            tail(backbone.forward_taps(view, [tap])[tap], domains, species=species, numbers=as_trained)
            for view in views
        )
        if flipped:
            own = mean_of_views(own, flipped[0], of_classes=bool(exported.classes))
        wanted = _beside_floors(own, floors, domains, names, is_known=domains < len(exported.known_domains))
        error = float(((member(*given) - wanted).abs() / torch.maximum(wanted.abs(), sizes)).max())
        if not error <= TOLERANCE:
            raise ExportMismatch(
                f"exported and trained must agree within {TOLERANCE:g}, but member {index} differs by {error:.3g}; "
                "nothing was exported"
            )


def _checked_numbers(exported: ExportedModel, units: NumberUnits | None) -> tuple[Tensor | None, Tensor | None]:
    """Made-up numbers, far and missing ones among them, as the exported model reads them and as the training did."""
    if units is None:
        return None, None
    drawn = np.random.default_rng(_CHECK_SEED).normal(scale=3, size=(_N_CHECKED, len(units.names)))
    numbers = np.where(drawn > 1, np.nan, units.mean + units.sd * drawn)
    rows = [dict(zip(units.names, row, strict=True)) for row in numbers.tolist()]
    return exported.number_inputs(rows), torch.from_numpy(units.read(numbers))


def _beside_floors(
    own: Tensor, floors: Sequence[SharedFloor], domains: Tensor, species: Tensor, *, is_known: Tensor
) -> Tensor:
    """What a tail predicts, mixed with floors by their shares where the domain is known."""
    mixed = (1 - sum(floor.share for floor in floors)) * own.double()
    for floor in floors:
        mixed += floor.share * torch.from_numpy(floor.floor.table)[domains if floor.by == "domain" else species]
    return torch.where(is_known[:, None], mixed, own.double()).float()


def _on_cpu(backbone: Backbone) -> Backbone:
    if backbone.device.type == "cpu":
        return backbone
    return replace(backbone, visual=copy.deepcopy(backbone.visual).cpu(), _half_blocks=None)


def _check_sigmas(sigmas: Mapping[str, Sequence[float]], *, n_targets: int) -> None:
    values = {kind: np.asarray(sigmas[kind], dtype=np.float64) for kind in ("known", "unknown")}
    if any(v.shape != (n_targets,) or not np.isfinite(v).all() or (v <= 0).any() for v in values.values()):
        raise ValueError(f"a sigma must be finite and above 0 for each of {n_targets} targets, but got {values}")
