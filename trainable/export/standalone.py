"""A trained model in a folder of its own: photographs in, forecasts out (of beetles and three drought indices, say).

This one file travels with the weights and imports torch and open_clip, and numpy, Pillow and safetensors, which those
bring. It reads `config.json` and `model.safetensors`; nothing of a model folder is executed or unpickled.

    model = ExportedModel.load("folder")
    predictions = model.predict(images, domains, species, numbers)      # [n, targets], one row a specimen
    model.forecast(predictions, events, domains)                        # event -> {"mu": [targets], "sigma": [targets]}

Of a model of *classes* a row of predictions is a logit a class, and `forecast` tells {"logits": [classes],
"temperature": float, "probabilities": [classes]}; `model.classes` has their names.

A *specimen* is one photographed beetle, an *event* all that were caught at one place and date, a *domain* an
ecological region, a *species* is told by its scientific name; one that was not trained on, or None, is *unknown*.
*Numbers* are what is known of a specimen beside its photograph, by name, such as {"size_mm": 12.5}; one that is absent,
None or NaN is *missing*. Domain, species and numbers may each be of no effect in a model.
`Model` is the interface of the beetle challenge.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import math
import os
import re
import sys
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, SupportsFloat

import numpy as np
import open_clip
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

KIND, FORMAT_VERSION = "sentinel-tune model", 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""PIL's names of what is read, whatever a file is called. For PostScript, say, PIL would start Ghostscript."""

LOWEST_SIGMA = 1e-3
"""A challenge's forecast never has a sigma below: it survives rounding to 4 decimals."""

MOST_SDS = 5.0
"""A number further from the training's mean counts as so far; a copy of that of the training."""

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
_MOST_CONFIG_BYTES, _MOST_FILES, MOST_PATCHES = 1 << 20, 1000, 1 << 14
MOST_TARGETS, MOST_CLASSES, MOST_NUMBERS = 100, 500, 100  # copies of those of a task: this file travels alone
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}  # only the other tower is used
_SLIVER = 100  # sides' ratio beyond which the middle alone is resized: the whole would take gigabytes
_DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras and scanners


Values = Mapping[str, Any]
"""An object as JSON has it."""

Rule = tuple[str, Callable[[Any], bool]]
"""What a value of a JSON file must be, in words, and whether one is."""


def _whole(low: int, high: int) -> Rule:
    return f"a whole number from {low} to {high}", lambda value: type(value) is int and low <= value <= high


def _number(low: float, high: float) -> Rule:
    return f"a number from {low:g} to {high:g}", lambda value: type(value) in (int, float) and low <= value <= high


def _one_of(*values: object) -> Rule:
    texts = [json.dumps(value) for value in values]  # which tell true from 1, and 1 from 1.0
    return " or ".join(texts), lambda value: json.dumps(value) in texts


def _list(rule: Rule, low: int, high: int, *, ascending: bool = False) -> Rule:
    length, order = f"{low}" if low == high else f"{low} to {high}", ", ascending" * ascending
    return (
        f"a list of {length}, each {rule[0]}{order}",
        lambda value: (
            type(value) is list
            and low <= len(value) <= high
            and all(map(rule[1], value))
            and (not ascending or value == sorted(set(value)))
        ),
    )


def _or(rule: Rule, other: Rule) -> Rule:
    return f"{rule[0]}, or {other[0]}", lambda value: rule[1](value) or other[1](value)


_ANY: Rule = ("anything", lambda _: True)
_TEXT: Rule = ("a text", lambda value: isinstance(value, str))
_OFF: Rule = ("off, or left out", lambda value: not value)
_FLAG: Rule = ("true, false or null", lambda value: value in (True, False, None))
_POSITIVE: Rule = ("a number above 0", lambda value: type(value) in (int, float) and 0 < value < math.inf)
_WIDTH, _SIDE = _whole(1, 1 << 14), _whole(1, 1 << 12)
_PAIR = _list(_SIDE, 2, 2)
_SQUARE = _or(_SIDE, ("a list of two equal ones", lambda value: _PAIR[1](value) and value[0] == value[1]))
_EPS: Rule = (
    '{"eps": a number above 0}',
    lambda value: type(value) is dict and [*value] == ["eps"] and _POSITIVE[1](value["eps"]),
)

_FINITE = _number(-sys.float_info.max, sys.float_info.max)
_OF_NUMBER: dict[str, Rule] = {"name": _TEXT, "mean": _FINITE, "sd": _POSITIVE}
_NUMBER_UNITS: Rule = (
    "an object with " + "; ".join(f"{name}: {rule[0]}" for name, rule in _OF_NUMBER.items()),
    lambda value: (
        type(value) is dict
        and value.keys() == _OF_NUMBER.keys()
        and all(_OF_NUMBER[key][1](of) for key, of in value.items())
    ),
)

TOWER: dict[str, Rule] = {
    "layers": _whole(1, 256),
    "width": _WIDTH,
    "head_width": _WIDTH,
    "mlp_ratio": _number(0.01, 64),
    "patch_size": _SQUARE,
    "image_size": _SQUARE,
    "pool_type": _one_of("tok", "avg"),
    "block_type": _one_of(None, "default"),
    "ls_init_value": _or(_one_of(None), _number(-1e6, 1e6)),
    "norm_kwargs": _or(_OFF, _EPS),
    **dict.fromkeys(("no_ln_pre", "final_ln_after_pool", "output_tokens"), _FLAG),
    **dict.fromkeys(("attentional_pool", "act_kwargs", "timm_model_name", "qk_norm", "scaled_cosine_attn"), _OFF),
    **dict.fromkeys(("scale_heads", "scale_attn_inner", "scale_attn", "scale_fc"), _OFF),
    # without effect on a tower that is loaded, evaluated, and not timm's
    **dict.fromkeys(("pos_embed_type", "patch_dropout", "attn_pooler_queries", "attn_pooler_heads"), _ANY),
    **dict.fromkeys(("timm_model_pretrained", "timm_pool", "timm_proj", "timm_proj_bias"), _ANY),
    **dict.fromkeys(("timm_drop", "timm_drop_path"), _ANY),
}
"""open_clip's `vision_cfg` of the towers that are read: plain VisionTransformers of bounded size."""

SCHEMA: dict[str, Any] = {
    "kind": _one_of(KIND),
    "format_version": _one_of(FORMAT_VERSION),
    "n_members": _whole(1, 1000),
    "model_cfg": {"embed_dim": _WIDTH, "quick_gelu": _FLAG, "vision_cfg": TOWER},
    "domain_code": _or(_one_of(None), _list(_whole(1, 1 << 20), 2, 2)),
    "head_widths": _list(_whole(1, 1 << 16), 2, 64),
    "transform": {
        "image_size": _SIDE,
        "mean": _list(_number(-1e6, 1e6), 3, 3),
        "std": _list(_POSITIVE, 3, 3),
        "interpolation": _one_of("bicubic", "bilinear"),
        "resize_mode": _one_of("shortest", "longest", "squash"),
        "fill_color": _whole(0, 255),
    },
    "targets": _one_of(["SPEI_30d", "SPEI_1y", "SPEI_2y"]),
    "label_range": _list(_number(-1e6, 1e6), 2, 2, ascending=True),
    "known_domains": _list(_whole(-(1 << 63), (1 << 63) - 1), 0, 1 << 20, ascending=True),
    "known_species": _list(_TEXT, 0, 1 << 20, ascending=True),
    "numbers": _list(_NUMBER_UNITS, 1, MOST_NUMBERS),
    "test_flips": _one_of(True),
    "floors": (
        'an object of the shares, above 0 and below 1 together, of "domain", "species" or both',
        lambda value: type(value) is dict and _are_shares(value),
    ),
    "sigmas": dict.fromkeys(("known", "unknown"), _list(_POSITIVE, 3, 3)),
    "facts": ("an object", lambda value: isinstance(value, dict)),
    "sha256": _ANY,
}
_MEMBER: dict[str, Rule] = {
    "domain_code": SCHEMA["domain_code"],
    "reads_species": _one_of(True, False),
    "reads_numbers": _one_of(True, False),
    "test_flips": _one_of(True),
    "head_widths": SCHEMA["head_widths"],
}
"""What tells a member from the others beside its weights, where they are not all of one form."""

_MAY_LACK_OF_MEMBER = {"reads_numbers", "test_flips"}

SCHEMA["members"] = (
    "a list of objects, one a member, each with " + "; ".join(f"{name}: {rule[0]}" for name, rule in _MEMBER.items()),
    lambda value: type(value) is list and all(_is_member(member) for member in value),
)


def _is_member(value: object) -> bool:
    return (
        isinstance(value, dict)
        and _MEMBER.keys() - _MAY_LACK_OF_MEMBER <= value.keys() <= _MEMBER.keys()
        and all(_MEMBER[k][1](v) for k, v in value.items())
    )


def _are_shares(value: dict[str, object]) -> bool:
    shares = [share for by, share in value.items() if by in _KNOWN and type(share) is float and share > 0]
    return 0 < len(shares) == len(value) and sum(shares) < 1


_KNOWN = {"domain": "known_domains", "species": "known_species"}
"""Where a configuration has what a floor's rows are of."""

_GROUP = _or(SCHEMA["known_domains"], _list(_TEXT, 0, 1 << 20, ascending=True))
_BOUND = _or(_one_of(None), _FINITE)
_ONLY_CHALLENGE = ("label_range",)

TASK_SCHEMA: dict[str, object] = {
    **{name: rule for name, rule in SCHEMA.items() if name not in _ONLY_CHALLENGE},
    "targets": _list(_TEXT, 1, MOST_TARGETS),
    "bounds": _list(_list(_BOUND, 2, 2), 1, MOST_TARGETS),
    "known_domains": _GROUP,
    "sigmas": dict.fromkeys(("known", "unknown"), _list(_POSITIVE, 1, MOST_TARGETS)),
    "task": _ANY,
}
"""Of a model of another task than the challenge, which has bounds, or none, for each target."""

_TEMPERATURE = _number(1e-6, 1e6)

CLASS_SCHEMA: dict[str, object] = {
    **{name: rule for name, rule in TASK_SCHEMA.items() if name not in ("bounds", "sigmas")},
    "targets": _list(_TEXT, 1, 1),
    "classes": _list(_TEXT, 2, MOST_CLASSES),
    "temperatures": dict.fromkeys(("known", "unknown"), _TEMPERATURE),
}
"""Of a model of classes: a temperature divides logits, larger or smaller by whether the domain was trained on."""

_MAY_LACK = {"facts", "quick_gelu", "known_species", "numbers", "test_flips", "floors", "members", *TOWER}


class ModelFolderError(ValueError):
    """A folder that holds no model which can be trusted and read; `problems`: everything that is wrong, a line each."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))

    def __reduce__(self) -> tuple[type[ModelFolderError], tuple[tuple[str, ...]]]:
        return type(self), (self.problems,)


class Network(nn.Module):
    """Pixels, domain, species and numbers to a value an output: open_clip's tower, unit norm, plus codes, regressor.

    An output is a target, or a class.
    """

    def __init__(
        self,
        visual: nn.Module,
        *,
        domain_shape: Sequence[int] | None,
        species_shape: Sequence[int] | None = None,
        number_shape: Sequence[int] | None = None,
        head_widths: Sequence[int],
        floors: Mapping[str, tuple[int, float]] | None = None,
        n_known_domains: int = 0,
        test_flips: bool = False,
        of_classes: bool = False,
    ) -> None:
        """domain_shape, species_shape: rows (known ones, then *unknown*) and channels of the codes, or None without.

        number_shape: channels and inputs (numbers, then indicators of missing ones) of their code, or None without.
        floors: "domain" and "species" -> rows (as above) of what is forecast for them whatever an image shows, and its
        share of the outputs for known domains. test_flips: forecasts are the mean over an image, resized and cropped,
        and the same flipped left to right. of_classes: outputs are logits.
        """
        super().__init__()
        self.visual = visual
        self.domain_code = None if domain_shape is None else nn.Embedding(domain_shape[0], domain_shape[1])
        self.species_code = None if species_shape is None else nn.Embedding(species_shape[0], species_shape[1])
        self.number_code = None if number_shape is None else nn.Linear(number_shape[1], number_shape[0], bias=False)
        self.head = nn.ModuleList(nn.Linear(n, m) for n, m in zip(head_widths[:-1], head_widths[1:]))  # noqa: B905, RUF007
        rows_and_shares = floors or {}
        self.floor = nn.ModuleDict({by: nn.Embedding(n, head_widths[-1]) for by, (n, _) in rows_and_shares.items()})
        self.floor_shares = {by: share for by, (_, share) in rows_and_shares.items()}
        self.n_known_domains = n_known_domains
        self.test_flips, self.of_classes = test_flips, of_classes

    def forward(
        self, pixels: Tensor, domains: Tensor, species: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        """float32 [B, 3, S, S], int64 [B], int64 [B] (None: all unknown), float32 [B, inputs] (None: all missing) ->
        [B, outputs], not clipped.
        """
        views = [self._embedded(view) for view in ([pixels, _flipped(pixels)] if self.test_flips else [pixels])]
        return self._forecast(views, domains, species, numbers)

    def _embedded(self, pixels: Tensor) -> Tensor:
        output = self.visual(pixels)
        features: Tensor = output[0] if isinstance(output, tuple) else output
        return features

    def tokens(self, pixels: Tensor, n_blocks: int) -> Tensor:
        """What leaves the first `n_blocks` blocks: [B, tokens, width]."""
        stream: Tensor = self.visual._embeds(pixels)  # type: ignore[operator]
        return _through(self.blocks[:n_blocks], stream)

    def from_tokens(
        self,
        views: Sequence[Tensor],
        n_blocks: int,
        domains: Tensor,
        species: Tensor | None,
        numbers: Tensor | None,
    ) -> Tensor:
        """The rest of `forward`, of what left the first `n_blocks` blocks: of the images, and of them flipped if any
        member asks for that.
        """
        own = [self._pooled(tokens, n_blocks) for tokens in (views if self.test_flips else views[:1])]
        return self._forecast(own, domains, species, numbers)

    def _pooled(self, tokens: Tensor, n_blocks: int) -> Tensor:
        pooled, _ = self.visual._pool(_through(self.blocks[n_blocks:], tokens))  # type: ignore[operator]
        projection = self.visual.proj
        features: Tensor = pooled if projection is None else pooled @ projection
        return features

    @property
    def blocks(self) -> nn.ModuleList:
        """The tower's, deepest last."""
        blocks: nn.ModuleList = self.visual.transformer.resblocks  # type: ignore[union-attr,assignment]
        return blocks

    def _forecast(
        self, views: Sequence[Tensor], domains: Tensor, species: Tensor | None, numbers: Tensor | None
    ) -> Tensor:
        """views: features of the images, or of them and of them flipped."""
        own, *flipped = [self._of_one_view(features, domains, species, numbers) for features in views]
        if flipped:
            own = _mean_of_views(own, flipped[0], of_classes=self.of_classes)
        return self._beside_floors(own, domains, species) if self.floor else own

    def _of_one_view(self, features: Tensor, domains: Tensor, species: Tensor | None, numbers: Tensor | None) -> Tensor:
        x = F.normalize(features, dim=-1)
        if self.domain_code is not None:
            x = x + self.domain_code(domains)
        if self.species_code is not None:
            x = x + _row_of(self.species_code, species, domains)
        if self.number_code is not None:
            if numbers is None:
                zeros = features.new_zeros(len(features), self.number_code.in_features // 2)
                numbers = torch.cat([zeros, torch.ones_like(zeros)], dim=1)
            x = x + self.number_code(numbers)
        for layer in self.head[:-1]:
            x = F.gelu(layer(x))
        result: Tensor = self.head[-1](x)
        return result

    def _beside_floors(self, own: Tensor, domains: Tensor, species: Tensor | None) -> Tensor:
        """Of known domains a share alone is what the image says, of unknown ones all."""
        mixed = (1 - sum(self.floor_shares.values())) * own
        for by, table in self.floor.items():
            mixed = mixed + self.floor_shares[by] * _row_of(table, domains if by == "domain" else species, domains)
        return torch.where((domains < self.n_known_domains)[:, None], mixed, own)


def _flipped(pixels: Tensor) -> Tensor:
    """Left to right."""
    return pixels.flip(-1)


def _mean_of_views(one: Tensor, other: Tensor, *, of_classes: bool) -> Tensor:
    """The mean of two forecasts; of classes logits of the mean of the probabilities that theirs come to."""
    if not of_classes:
        return (one + other) / 2
    views = torch.stack([F.log_softmax(one, dim=-1), F.log_softmax(other, dim=-1)])
    return torch.logsumexp(views, dim=0) - math.log(2)


def _row_of(table: nn.Module, indices: Tensor | None, domains: Tensor) -> Tensor:
    """The table's rows; the last one, of *unknown*, where no indices are given for as many specimens as domains."""
    if indices is None:
        indices = torch.full_like(domains, table.num_embeddings - 1)  # type: ignore[operator,arg-type]
    rows: Tensor = table(indices)
    return rows


class Ensemble(nn.Module):
    """Networks on one tower: what all have in common, from the pixels up, is computed once for all."""

    def __init__(self, members: Sequence[Network]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.n_shared = _n_shared(members)

    def forward(
        self, pixels: Tensor, domains: Tensor, species: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        """As `Network.forward`, of each member: [members, B, outputs]."""
        first: Network = self.members[0]  # type: ignore[assignment]
        known = (domains, species, numbers)
        if self.n_shared is None or len(self.members) == 1:
            return torch.stack([member(pixels, *known) for member in self.members])
        views, depth = [first.tokens(pixels, self.n_shared)], self.n_shared
        if any(member.test_flips for member in self.members):
            views.append(first.tokens(_flipped(pixels), depth))
        return torch.stack([member.from_tokens(views, depth, *known) for member in self.members])  # type: ignore[operator]


def _through(blocks: Iterable[nn.Module], stream: Tensor) -> Tensor:
    for block in blocks:
        stream = block(stream)
    return stream


_STEM = ("conv1", "class_embedding", "positional_embedding", "ln_pre")
"""Of the tower, what is before the first block."""


def _n_shared(members: Sequence[Network]) -> int | None:
    """How many blocks from the pixels up are one and the same in all members; None where what is before them is not."""
    first, *others = members
    if any(getattr(other.visual, name) is not getattr(first.visual, name) for other in others for name in _STEM):
        return None
    n_shared = 0
    for blocks in zip(*(member.blocks for member in members)):  # noqa: B905
        if any(block is not blocks[0] for block in blocks):
            break
        n_shared += 1
    return n_shared


def _share(first: nn.Module, other: nn.Module) -> None:
    """Let the other have the first's own parts wherever all weights are those in the first's memory."""
    for name, value in other._parameters.items():
        if value is not None and _is_same(first._parameters.get(name), value):
            other._parameters[name] = first._parameters[name]
    for name, part in other._modules.items():
        counterpart = first._modules.get(name)
        if part is None or counterpart is None:
            continue
        own, theirs = dict(part.named_parameters()), dict(counterpart.named_parameters())
        if own.keys() == theirs.keys() and all(_is_same(theirs[key], value) for key, value in own.items()):
            other._modules[name] = counterpart
        else:
            _share(counterpart, part)


def _is_same(one: Tensor | None, other: Tensor) -> bool:
    return one is not None and one.shape == other.shape and one.data_ptr() == other.data_ptr()


class ExportedModel:
    """A loaded model, in evaluation mode, float32.

    config: `config.json`. members: the networks whose mean is predicted. known_domains: ascending; a domain's index is
    its place among them, all others share the index after the last. known_species: likewise, names; none without a code
    for them. numbers: names of those that are read, in the order of the inputs. classes: names of what the outputs are
    logits of; none of real targets, which are an output each.
    """

    def __init__(self, config: dict[str, Any], members: Sequence[Network]) -> None:
        self.config = config
        self.ensemble = Ensemble(members).eval().requires_grad_(False)
        self.members = self.ensemble.members
        self.known_domains: tuple[int, ...] | tuple[str, ...] = tuple(config["known_domains"])
        self.known_species: tuple[str, ...] = tuple(config.get("known_species", ()))
        self.numbers: tuple[str, ...] = tuple(of["name"] for of in config.get("numbers", ()))
        self.targets: tuple[str, ...] = tuple(config["targets"])
        self.classes: tuple[str, ...] = tuple(config.get("classes", ()))
        lows, highs = zip(*_bounds(config))  # noqa: B905 - a submission is run by any Python
        self.limits = (
            np.array([-math.inf if low is None else low for low in lows]),
            np.array([math.inf if high is None else high for high in highs]),
        )

    @property
    def reads_species(self) -> bool:
        """Whether predictions depend on the species."""
        return "known_species" in self.config

    @classmethod
    def load(cls, folder: str | os.PathLike[str], device: str = "cpu") -> ExportedModel:
        """Raises: ModelFolderError naming everything missing, altered, of a newer format, or not safetensors."""
        path = Path(folder)
        config = read_config(path)
        try:
            model = cls(config, _load_members(path / WEIGHTS, config))
            model.ensemble.to(device)
            model._check_that_it_computes()
        except Exception as error:  # open_clip, torch and safetensors raise all kinds on what does not fit
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise ModelFolderError([f"{path} must hold a model that {CONFIG} describes, but {reason[0]}"]) from error
        return model

    def domain_indices(self, domains: Sequence[int | str | None]) -> Tensor:
        """Domain IDs -> int64 [B]; None and all that were not trained on -> len(known_domains)."""
        known: dict[object, int] = {domain: index for index, domain in enumerate(self.known_domains)}
        are_names = any(isinstance(domain, str) for domain in known)
        plain = (_domain_name(domain) if are_names else _domain_id(domain) for domain in domains)
        return torch.tensor([known.get(domain, len(known)) for domain in plain], dtype=torch.int64)

    def species_indices(self, species: Sequence[str | None]) -> Tensor:
        """Scientific names -> int64 [B]; None and all that were not trained on -> len(known_species)."""
        known: dict[str | None, int] = {name: index for index, name in enumerate(self.known_species)}
        names = (name.strip() if isinstance(name, str) else None for name in species)  # NaN, too, is no name
        return torch.tensor([known.get(name, len(known)) for name in names], dtype=torch.int64)

    def number_inputs(self, numbers: Sequence[Mapping[str, object] | None]) -> Tensor:
        """Numbers by name -> float32 [B, inputs]: standardised, 0 where missing; then 1 for each that is missing.

        None, NaN, what is no number, and names that are not there are missing; other names are passed over.
        """
        given = [[_plain_number(None if row is None else row.get(name)) for name in self.numbers] for row in numbers]
        values = np.array(given, dtype=np.float64).reshape(len(numbers), len(self.numbers))
        mean, sd = (np.array([of[name] for of in self.config.get("numbers", ())]) for name in ("mean", "sd"))
        is_missing = ~np.isfinite(values)
        with np.errstate(over="ignore"):
            standard = np.clip((values - mean) / sd, -MOST_SDS, MOST_SDS)
        inputs = np.concatenate([np.where(is_missing, 0.0, standard), is_missing], axis=1)
        return torch.from_numpy(inputs.astype(np.float32))

    def pixels(self, images: Sequence[bytes | Image.Image]) -> Tensor:
        """Encoded or opened images of any mode and size -> float32 [B, 3, S, S], as in training to the bit."""
        return self._normalized([decode(image, self.config["transform"]) for image in images])

    @torch.inference_mode()
    def predict_pixels(
        self,
        pixels: Tensor,
        domains: Sequence[int | str | None],
        species: Sequence[str | None] | None = None,
        numbers: Sequence[Mapping[str, object] | None] | None = None,
    ) -> NDArray[np.float64]:
        """float32 [B, 3, S, S] -> [B, outputs]: the mean of the members, clipped to the targets' bounds."""
        given = (
            pixels,
            self.domain_indices(domains),
            None if species is None else self.species_indices(species),
            None if numbers is None else self.number_inputs(numbers).to(pixels.dtype),
        )
        device = next(self.members.parameters()).device
        on_device = [None if tensor is None else tensor.to(device) for tensor in given]
        outputs = self.ensemble(*on_device)
        low, high = self.limits
        result: NDArray[np.float64] = np.clip(outputs.double().mean(dim=0).cpu().numpy(), low, high)
        return result

    def predict(
        self,
        images: Sequence[bytes | Image.Image],
        domains: Sequence[int | str | None],
        species: Sequence[str | None] | None = None,
        numbers: Sequence[Mapping[str, object] | None] | None = None,
        *,
        batch_size: int = 32,
        progress: Callable[[int, int], None] | None = None,
    ) -> NDArray[np.float64]:
        """Specimens -> [n, outputs]. images: any sequence, read in order; progress: called with (done, all) after each
        batch.

        species: None: all unknown. numbers: by name, as `number_inputs` takes them; None: all missing.
        Raises: ValueError unless there is a domain, and a species and numbers if any, for each image; whatever PIL
        raises for bytes that are no image.
        """
        known = {"a domain": domains, "a species": species, "numbers": numbers}
        for what, given in known.items():
            if given is not None and len(images) != len(given):
                raise ValueError(f"every image needs {what} (or None), but got {len(images)} and {len(given)}")
        results = [np.empty((0, len(self.classes or self.targets)))]
        n_done = 0
        for decoded in self._decoded_batches(images, batch_size):
            batch = slice(n_done, n_done + len(decoded))
            names = None if species is None else species[batch]
            of_each = None if numbers is None else numbers[batch]
            results.append(self.predict_pixels(self._normalized(decoded), domains[batch], names, of_each))
            n_done = batch.stop
            if progress is not None:
                progress(n_done, len(images))
        return np.concatenate(results)

    def forecast(
        self,
        predictions: NDArray[np.float64],
        event_of_specimen: Sequence[Hashable],
        domains: Sequence[int | str | None],
    ) -> dict[Hashable, dict[str, Any]]:
        """Event -> "mu" (the mean over its specimens) and "sigma" (of known or unknown domains), one a target.

        Of classes "logits" (the mean), "temperature" (of known or unknown domains) and "probabilities", one a class.
        predictions: [n, outputs]. An event counts as of a known domain if all its specimens do.
        """
        rows: dict[Hashable, list[int]] = {}
        for row, event in enumerate(event_of_specimen):
            rows.setdefault(event, []).append(row)
        is_known = self.domain_indices(domains).numpy() < len(self.known_domains)
        given = np.asarray(predictions, dtype=np.float64)
        return {
            event: self._event_forecast(given[members].mean(axis=0), "known" if is_known[members].all() else "unknown")
            for event, members in rows.items()
        }

    def _event_forecast(self, mean: NDArray[np.float64], kind: str) -> dict[str, Any]:
        """mean: [outputs], over an event's specimens. kind: of its domain."""
        if self.classes:
            temperature = float(self.config["temperatures"][kind])
            found = probabilities(mean, temperature)
            return {"logits": mean.tolist(), "temperature": temperature, "probabilities": found.tolist()}
        lowest = LOWEST_SIGMA if "label_range" in self.config else 0.0
        sigmas = [max(float(sigma), lowest) for sigma in self.config["sigmas"][kind]]
        return {"mu": mean.tolist(), "sigma": sigmas}

    def _check_that_it_computes(self) -> None:
        """Finite weights may still overflow, and sizes that fit may still not fit each other."""
        side = self.config["transform"]["image_size"]
        if not np.isfinite(self.predict_pixels(torch.zeros(1, 3, side, side), [None])).all():
            raise ValueError("what it predicts is no number")

    def _normalized(self, decoded: Sequence[NDArray[np.uint8]]) -> Tensor:
        size = self.config["transform"]["image_size"]
        stacked = np.stack(decoded) if decoded else np.empty((0, size, size, 3), dtype=np.uint8)
        pixels = torch.from_numpy(stacked).permute(0, 3, 1, 2).contiguous().float().div_(255)
        mean, std = (torch.tensor(self.config["transform"][name]).view(3, 1, 1) for name in ("mean", "std"))
        return pixels.sub_(mean).div_(std)

    def _decoded_batches(
        self, images: Sequence[bytes | Image.Image], batch_size: int
    ) -> Iterator[list[NDArray[np.uint8]]]:
        """Batches in order; while one is predicted, threads decode the next."""
        n_cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        with ThreadPoolExecutor(min(8, n_cpus), thread_name_prefix="decode") as pool:

            def submit(start: int) -> list[Any]:
                given = [images[row] for row in range(start, min(start + batch_size, len(images)))]
                for image in given:
                    if isinstance(image, Image.Image):
                        image.load()  # here: threads must not load one image twice at once
                return [pool.submit(decode, image, self.config["transform"]) for image in given]

            coming = submit(0)
            for start in range(0, len(images), batch_size):
                batch, coming = coming, submit(start + batch_size)
                yield [decoding.result() for decoding in batch]


class Model:
    """The challenge's interface: `load()`, then `predict` once an event."""

    def load(self) -> None:
        """Read the model that lies beside this file."""
        device = "cuda" if torch.cuda.is_available() else "cpu"
        self._model = ExportedModel.load(Path(__file__).absolute().parent, device)

    def predict(self, datapoints: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
        """One event's specimens -> target -> {"mu", "sigma"}.

        Of each: `relative_img` (PIL), `domainID`, `scientificName`; without a domain or a name it is of an unknown one.
        Numbers that the model reads are taken by their own names.
        """
        if not datapoints:
            raise ValueError("an event must have at least one specimen, but has none")
        domains = [point.get("domainID") for point in datapoints]
        species = [point.get("scientificName") for point in datapoints]
        predictions = self._model.predict([point["relative_img"] for point in datapoints], domains, species, datapoints)
        event = self._model.forecast(predictions, ["event"] * len(domains), domains)["event"]
        return {
            target: {"mu": event["mu"][i], "sigma": event["sigma"][i]} for i, target in enumerate(self._model.targets)
        }


def probabilities(logits: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """[..., classes] of logits divided by the temperature; each row sums to 1."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    found: NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return found


def _bounds(config: Values) -> list[list[float | None]]:
    """Of each output what it is clipped to, low and high."""
    if "classes" in config:
        return [[None, None]] * len(config["classes"])
    return list(config.get("bounds") or [config["label_range"]] * len(config["targets"]))


def open_image(encoded: bytes) -> Image.Image:
    """The image, its header read alone. Raises: whatever PIL raises for bytes that are no image of `IMAGE_FORMATS`."""
    return Image.open(io.BytesIO(encoded), formats=IMAGE_FORMATS)


def decode(image: bytes | Image.Image, transform: Mapping[str, Any]) -> NDArray[np.uint8]:
    """uint8 [S, S, 3], as in training: open_clip's evaluation transform before `ToTensor`.

    A palette's colours are picked, not mixed, transparent pixels keep the colour beneath, and EXIF orientation is not
    applied. Unlike there, values beyond 8 bits are scaled by their range, and of an image whose sides differ by more
    than a factor of 100 the middle alone is resized, equal to it but for rounding.

    Source: open_clip 3.3.0 `transform.py:image_transform`, torchvision `Resize` and `CenterCrop`.
    """
    if not isinstance(image, Image.Image):
        with open_image(image) as opened:
            return decode(opened, transform)
    target, mode = transform["image_size"], transform["resize_mode"]
    interpolation = Image.Resampling[transform["interpolation"].upper()]
    image = _scaled_to_8_bits(image.convert("LA") if image.mode == "La" else image)  # PIL makes no RGB of "La"
    size = _resized(image.size, target, mode)
    if max(size) > _SLIVER * target:
        resized = image.resize((target, target), interpolation, box=_middle(image.size, size, target))
    else:
        resized = image.resize(size, interpolation)
    if mode == "longest":
        resized = _padded(resized, target, transform["fill_color"])
    left, top = round((resized.width - target) / 2), round((resized.height - target) / 2)
    return np.asarray(resized.crop((left, top, left + target, top + target)).convert("RGB"))


def _scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """Of one channel of 16 or 32 bits, by the range of a usual depth that holds its values, else by their own."""
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image if image.mode == "F" else image.convert("I"))
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("an image's values must be finite, but some are not")
    usual = (1, 255) if image.mode == "F" else tuple(2**bits - 1 for bits in _DEPTHS)
    low, high = next(((0, most) for most in usual if low >= 0 and high <= most), (low, high))
    if (low, high) == (0, 255) and image.mode in ("I", "I;16", "F"):  # PIL makes nonsense of big-endian ones
        return image
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / ((high - low) or 1))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def _middle(size: tuple[int, int], resized: tuple[int, int], target: int) -> tuple[float, float, float, float]:
    """The box in an image that is cut out of the middle once it is resized."""
    (width, height), (x_scale, y_scale) = size, (size[0] / resized[0], size[1] / resized[1])
    left, top = round((resized[0] - target) / 2), round((resized[1] - target) / 2)
    right, bottom = min((left + target) * x_scale, width), min((top + target) * y_scale, height)
    return left * x_scale, top * y_scale, right, bottom


def _resized(size: tuple[int, int], target: int, mode: str) -> tuple[int, int]:
    width, height = size
    if mode == "squash":
        return target, target
    if mode == "longest":  # open_clip's ResizeKeepRatio with longest=1
        ratio = max(width, height) / target
        return max(round(width / ratio), 1), max(round(height / ratio), 1)
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def _padded(image: Image.Image, target: int, fill_color: int) -> Image.Image:
    x, y = max(target - image.width, 0), max(target - image.height, 0)
    if not x and not y:
        return image
    n_bands = len(image.getbands())
    fill = (fill_color,) * n_bands if n_bands > 1 else fill_color
    return ImageOps.expand(image, border=(x // 2, y // 2, (x + 1) // 2, (y + 1) // 2), fill=fill)


def _domain_id(domain: Any) -> int | None:
    try:
        return None if domain is None else int(domain)
    except (TypeError, ValueError, OverflowError):  # NaN and words
        return None


def _domain_name(domain: object) -> str | None:
    return None if domain is None else str(domain).strip()


def _plain_number(number: object) -> float:
    try:
        return float(number) if isinstance(number, (str, SupportsFloat)) else math.nan
    except (TypeError, ValueError, OverflowError):  # words, tables, whole numbers beyond all floats
        return math.nan


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a model folder whose files are all there and as they were written; weights stay unread.

    Raises: ModelFolderError with all problems.
    """
    if not folder.is_dir():
        raise ModelFolderError(
            [f"a model must be a folder, but {folder} is {'a file' if folder.exists() else 'not there'}"]
        )
    config, problems = None, _weights_problems(folder)
    try:
        config = read_json(folder / CONFIG)
        problems = [*_config_problems(config, folder / CONFIG), *problems]
    except (OSError, ValueError, RecursionError) as error:
        problems.insert(0, f"{folder / CONFIG} must be a JSON file, but reading it failed: {error}")
    if config is None or problems:
        raise ModelFolderError(problems)
    files = ((folder / name, digest) for name, digest in config["sha256"].items() if name != CONFIG)
    if problems := [problem for file, digest in files if (problem := _file_problem(file, digest))]:
        raise ModelFolderError(problems)
    return dict(config)


def read_json(path: Path) -> Any:
    """What a JSON file of bounded size holds. Raises: OSError; ValueError; RecursionError for too deep a one."""
    if not path.is_file():  # a pipe or device would be waited for
        raise ValueError("it is not there, or is no file")
    with path.open("rb") as file:
        content = file.read(_MOST_CONFIG_BYTES + 1)
    if len(content) > _MOST_CONFIG_BYTES:
        raise ValueError(f"it has more than {_MOST_CONFIG_BYTES} bytes")
    return json.loads(content.decode("utf-8"))


def schema_problems(values: Any, schema: Mapping[str, Any], file: Path | str, group: str = "") -> list[str]:
    """Everything in which an object of a JSON file is not as it must be, a line each; group: its name and a dot."""
    if not isinstance(values, dict):
        return [f"{file}: `{group[:-1]}` must be an object, but is {_shown(values)}"]
    unknown = sorted(set(values) - set(schema))
    problems = [f"{file}: keys that nothing knows must not be there, but {_shown(unknown)} are"] if unknown else []
    for name, rule in schema.items():
        if name not in values:
            if name not in _MAY_LACK:
                problems.append(f"{file}: `{group}{name}` must be given, but is not")
        elif isinstance(rule, dict):
            problems += schema_problems(values[name], rule, file, f"{group}{name}.")
        elif not rule[1](values[name]):
            problems.append(f"{file}: `{group}{name}` must be {rule[0]}, but is {_shown(values[name])}")
    return problems


def _shown(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _config_problems(config: Any, file: Path) -> list[str]:
    if not isinstance(config, dict) or config.get("kind") != KIND:
        return [f"{file} must be that of an exported model, but is another file of that name"]
    if not SCHEMA["format_version"][1](version := config.get("format_version")):
        return [
            f"{file} must have format_version {FORMAT_VERSION}, but has {_shown(version)}; it was written by another "
            "version of sentinel-tune: use that one"
        ]
    sums: Any = config.get("sha256")
    if not _are_sums(sums):
        return [
            f"{file}: `sha256` must name files inside of the folder, {CONFIG} and {WEIGHTS} among them, and 64 "
            f"hexadecimal digits of each, but is {_shown(sums)}"
        ]
    if sums[CONFIG] != config_digest(config):
        return [_altered(file)]
    schema = CLASS_SCHEMA if "classes" in config else TASK_SCHEMA if "bounds" in config else SCHEMA
    return schema_problems(config, schema, file)


def _are_sums(sums: Any) -> bool:
    if not isinstance(sums, dict) or not {CONFIG, WEIGHTS} <= sums.keys() or len(sums) > _MOST_FILES:
        return False
    paths = map(PurePosixPath, sums)
    inside = not any(path.is_absolute() or ".." in path.parts for path in paths)
    return inside and all(isinstance(digest, str) and re.fullmatch("[0-9a-f]{64}", digest) for digest in sums.values())


def _altered(file: Path) -> str:
    return f"{file} must be as it was exported, but was altered (its sha256 differs)"


def config_digest(config: Mapping[str, Any]) -> str:
    """Hex sha256 of a configuration's values, those of files left out."""
    rest = {name: value for name, value in config.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _weights_problems(folder: Path) -> list[str]:
    path = folder / WEIGHTS
    if path.is_file():
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"  # 8 bytes of a length, then JSON
        return [] if is_safetensors else [f"{path} must be safetensors, but is not; it is refused unread"]
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in _PICKLES)
    if pickles:
        names = ", ".join(pickles)
        return [f"weights must be {path}, but there is only {names}: a pickle, which can run code, is refused unread"]
    return [_absent(path)]


def _absent(file: Path) -> str:
    if file.exists():
        return f"{file} must be a file, but is something else"
    return f"{file} must exist, but does not; export or download the model again"


def _file_problem(file: Path, digest: str) -> str | None:
    try:
        if not file.is_file():
            return _absent(file)
        return None if file_digest(file) == digest else _altered(file)
    except (OSError, ValueError) as error:  # ValueError: of a name that no file can have
        return f"{file} must be readable, but is not: {error}"


def _load_members(weights: Path, config: Values) -> list[Network]:
    """The networks; what members share is shared in memory. No weight is read before all names and shapes fit.

    Raises: ValueError; whatever open_clip, torch and safetensors raise.
    """
    _refuse(f"it is not so that {rule}" for rule, holds in _agreements(config).items() if not holds)
    forms = {f"member_{index}." if index else "": form for index, form in enumerate(_forms(config))}
    absent = forms.keys() - {"", *_stored_members(weights)}  # a thousand would take long to make
    with torch.device("meta"):  # no weights are drawn
        tower = build_tower(config["model_cfg"])
        members = {
            prefix: _network(copy.deepcopy(tower), config, form)
            for prefix, form in forms.items()
            if prefix not in absent
        }
    _refuse(_misfits(weights, members, [prefix for prefix in forms if prefix in absent]))
    state = load_file(weights)
    _refuse(f"{name} is not finite" for name, value in state.items() if not value.isfinite().all())
    shared = {name: value for name, value in state.items() if not name.startswith("member_")}
    for prefix, network in members.items():
        own = {name[len(prefix) :]: value for name, value in state.items() if prefix and name.startswith(prefix)}
        wanted = network.state_dict().keys()
        given = {name: value for name, value in {**shared, **own}.items() if name in wanted}
        network.load_state_dict(given, strict=True, assign=True)
        _share(members[""], network)
    return list(members.values())


def _forms(config: Values) -> list[Values]:
    """Of each member what `_MEMBER` names."""
    alike = {
        "domain_code": config["domain_code"],
        "reads_species": "known_species" in config,
        "reads_numbers": "numbers" in config,
        "test_flips": config.get("test_flips", False),
        "head_widths": config["head_widths"],
    }
    return list(config.get("members", [alike] * config["n_members"]))


def _network(tower: nn.Module, config: Values, form: Values) -> Network:
    return Network(
        tower,
        domain_shape=form["domain_code"],
        species_shape=_species_shape(config) if form["reads_species"] else None,
        number_shape=_number_shape(config) if form.get("reads_numbers") else None,
        head_widths=form["head_widths"],
        floors={by: (len(config[_KNOWN[by]]) + 1, share) for by, share in config.get("floors", {}).items()},
        n_known_domains=len(config["known_domains"]),
        test_flips=form.get("test_flips", False),
        of_classes="classes" in config,
    )


def _species_shape(config: Values) -> list[int] | None:
    if "known_species" not in config:
        return None
    return [len(config["known_species"]) + 1, config["model_cfg"]["embed_dim"]]


def _number_shape(config: Values) -> list[int] | None:
    if "numbers" not in config:
        return None
    return [config["model_cfg"]["embed_dim"], 2 * len(config["numbers"])]


def _agreements(config: Values) -> dict[str, bool]:
    """What must be so between values of a configuration, in words, and whether it is."""
    width, forms = config["model_cfg"]["embed_dim"], _forms(config)
    vision = {"image_size": 224, "patch_size": 16, **config["model_cfg"]["vision_cfg"]}  # open_clip's defaults
    side, patch = (np.ravel(vision[name])[0] for name in ("image_size", "patch_size"))
    n_codes, n_targets = len(config["known_domains"]) + 1, len(config["targets"])
    n_outputs = len(config.get("classes", config["targets"]))
    of_each = [*config.get("sigmas", {}).values(), config.get("bounds", config["targets"])]
    widths = [form["head_widths"] for form in [*forms, config]]
    codes = [form["domain_code"] for form in [*forms, config]]
    return {
        "sigmas and bounds are one a target": all(len(values) == n_targets for values in of_each),
        "head_widths lead from embed_dim to the targets": all((w[0], w[-1]) == (width, n_outputs) for w in widths),
        "domain_code has a row for each known domain and one more, of embed_dim": all(
            code in (None, [n_codes, width]) for code in codes
        ),
        "classes are named once each": len(set(config.get("classes", ()))) == len(config.get("classes", ())),
        "there are n_members members": len(forms) == config["n_members"],
        "members read species where some are known": "known_species" in config
        or not any(form["reads_species"] for form in forms),
        "members read numbers where some are named": "numbers" in config
        or not any(form.get("reads_numbers") for form in forms),
        "numbers are named once each": len({of["name"] for of in config.get("numbers", ())})
        == len(config.get("numbers", ())),
        "floors are by species where some are known": "known_species" in config
        or "species" not in config.get("floors", ()),
        "transform.image_size is the tower's": config["transform"]["image_size"] == side,
        f"an image has 1 to {MOST_PATCHES} patches": 1 <= (side // patch) ** 2 <= MOST_PATCHES,
    }


def _stored_members(weights: Path) -> set[str]:
    """The prefixes of the names that weights have."""
    with safe_open(weights, framework="pt") as file:
        return {f"{name.partition('.')[0]}." for name in file.keys()}  # noqa: SIM118


def _misfits(weights: Path, networks: Mapping[str, Network], absent: Sequence[str]) -> Iterator[str]:
    """Where names, shapes and types of the weights are not the networks'.

    networks: by the prefix of their names; absent: prefixes of members of whom nothing is stored.
    """
    shapes = {
        prefix: {name: list(value.shape) for name, value in network.state_dict().items()}
        for prefix, network in networks.items()
    }
    wanted = {f"{prefix}{name}": shape for prefix, of in shapes.items() for name, shape in of.items()}
    with safe_open(weights, framework="pt") as file:
        found = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
        yield from (f"it lacks {name}" for name in shapes[""] if name not in found)
        yield from (f"it lacks {prefix}*" for prefix in absent)  # else they were one
        for prefix, of in shapes.items():
            yield from (
                f"it lacks {prefix}{name}"
                for name, shape in of.items()
                if prefix and f"{prefix}{name}" not in found and shapes[""].get(name) != shape
            )
        for name, value in found.items():
            if name not in wanted:
                yield f"it holds {name}, which is not of it"
            elif value.get_shape() != wanted[name]:
                yield f"{name} has shape {value.get_shape()} and not {wanted[name]}"
            elif value.get_dtype() != "F32":
                yield f"{name} is {value.get_dtype()} and not F32"


def _refuse(problems: Iterable[str]) -> None:
    """Raises: ValueError with the first of them, in one line, if there are any."""
    if found := list(problems):
        raise ValueError("; ".join(found[:3]) + f"; and {len(found) - 3} more" * (len(found) > 3))


def build_tower(model_cfg: Mapping[str, Any]) -> nn.Module:
    """open_clip's vision tower of a `model_cfg` that is as `TOWER` says."""
    vision_cfg = model_cfg["vision_cfg"]
    clip = open_clip.CLIP(
        embed_dim=model_cfg["embed_dim"],
        vision_cfg={name: value for name, value in vision_cfg.items() if TOWER[name] not in (_ANY, _OFF)},
        text_cfg=dict(_NO_TEXT),
        quick_gelu=bool(model_cfg.get("quick_gelu", False)),
    )
    visual: nn.Module = clip.visual
    return visual
