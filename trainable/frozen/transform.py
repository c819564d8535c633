"""How an image becomes the tower's input, read from an open_clip config."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from trainable.errors import UserError


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

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        values = asdict(self)
        return values | {"mean": list(self.mean), "std": list(self.std)}

    def normalize(self, images: Tensor) -> Tensor:
        """uint8 [B, S, S, 3] -> float32 [B, 3, S, S], to the bit what torchvision's `ToTensor` and `Normalize` give."""
        channels_first = images.permute(0, 3, 1, 2)
        pixels = channels_first.to(torch.float32, memory_format=torch.contiguous_format).div_(255)
        mean, std = (
            torch.tensor(v, dtype=torch.float32, device=images.device).view(3, 1, 1) for v in (self.mean, self.std)
        )
        return pixels.sub_(mean).div_(std)


def make_transform(spec: str, preprocess_cfg: Mapping[str, Any], *, image_size: int) -> Transform:
    """The transform of a model's `preprocess_cfg`, open_clip's defaults filled in.

    Raises: UserError for values that open_clip would not know, all at once.
    """
    from open_clip.transform import PreprocessCfg, merge_preprocess_dict

    values = merge_preprocess_dict(PreprocessCfg(), dict(preprocess_cfg))
    mean, std = ((v,) * 3 if isinstance(v, int | float) else tuple(v) for v in (values["mean"], values["std"]))
    problems = []
    if values["interpolation"] not in ("bicubic", "bilinear", "random"):
        problems.append(f"{spec}: `interpolation` must be bicubic or bilinear, but is {values['interpolation']!r}")
    if values["resize_mode"] not in ("shortest", "longest", "squash"):
        problems.append(f"{spec}: `resize_mode` must be shortest, longest or squash, but is {values['resize_mode']!r}")
    if len(mean) != 3 or len(std) != 3:
        problems.append(f"{spec}: `mean` and `std` must have 3 values, but have {len(mean)} and {len(std)}")
    if problems:
        raise UserError(problems)
    return Transform(
        image_size=image_size,
        mean=mean,
        std=std,
        # open_clip's evaluation reads "random" as bicubic (`image_transform`)
        interpolation="bilinear" if values["interpolation"] == "bilinear" else "bicubic",
        resize_mode=values["resize_mode"],
        fill_color=values["fill_color"],
    )
