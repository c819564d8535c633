"""How an image becomes the tower's input, read from an open_clip config."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from trainable.plain_values import JsonObject


@dataclass(frozen=True, slots=True, kw_only=True)
class Transform:
    """How an image becomes pixels, as open_clip's evaluation transform does it: resize, centre crop, RGB, normalise.

    image_size: pixels a side. mean, std: per RGB channel, of values in [0, 1].
    resize_mode: "shortest" scales the shorter side to image_size, "longest" the longer one and pads with fill_color,
    "squash" both.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: Literal["bicubic", "bilinear"] = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}

    def normalize(self, images: UInt8[Tensor, "batch size size 3"]) -> Float32[Tensor, "batch 3 size size"]:
        """To the bit what torchvision's `ToTensor` and `Normalize` give."""
        channels_first = images.permute(0, 3, 1, 2)
        pixels = channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=images.device).view(3, 1, 1) for v in (self.mean, self.std)
        )
        return pixels.sub_(mean).div_(std)


def transform_problems(spec: str, preprocess_cfg: Mapping[str, object]) -> list[str]:
    """Everything in a model's `preprocess_cfg` that its transform cannot be, a line each."""
    from trainable.export.standalone import SCHEMA, schema_problems  # loads open_clip and numpy

    rules = {name: rule for name, rule in SCHEMA["transform"].items() if name != "image_size"}
    return schema_problems(_values(preprocess_cfg), rules, spec, "preprocess_cfg.")


def make_transform(preprocess_cfg: Mapping[str, object], *, image_size: int) -> Transform:
    """The transform of a model's `preprocess_cfg` that has no problems, open_clip's defaults filled in."""
    values = _values(preprocess_cfg)
    return Transform(image_size=image_size, **values | {name: tuple(values[name]) for name in ("mean", "std")})


def _values(preprocess_cfg: Mapping[str, object]) -> JsonObject:
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    values = merge_preprocess_dict(PreprocessCfg(), dict(preprocess_cfg))
    names = ("mean", "std", "interpolation", "resize_mode", "fill_color")
    values = {name: list(v) if isinstance(v := values[name], tuple) else v for name in names}
    for name in ("mean", "std"):
        if isinstance(values[name], int | float):
            values[name] = [values[name]] * 3
    if values["interpolation"] == "random":
        values["interpolation"] = "bicubic"  # as open_clip's evaluation reads it (`image_transform`)
    return values
