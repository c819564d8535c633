"""Encoded bytes to pixels, exactly as open_clip does it; imports PIL and numpy only, so workers start fast."""

import io
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

IMAGE_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""PIL's names of what is read, whatever a file is called. For PostScript, say, PIL would start Ghostscript.
As in `trainable/export/standalone.py`, which travels alone."""

_FILTERS = {"bicubic": Image.Resampling.BICUBIC, "bilinear": Image.Resampling.BILINEAR}


def open_image(encoded: bytes) -> Image.Image:
    """The image, its header read alone. Raises: whatever PIL raises for bytes that are no image of `IMAGE_FORMATS`."""
    return Image.open(io.BytesIO(encoded), formats=IMAGE_FORMATS)


def decode(
    encoded: bytes,
    image_size: int,
    *,
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest",
    interpolation: Literal["bicubic", "bilinear"] = "bicubic",
    fill_color: int = 0,
) -> NDArray[np.uint8]:
    """uint8 [image_size, image_size, 3], equal to the bit to what open_clip hands to `ToTensor`.

    resize_mode: "shortest" scales the shorter side and crops the centre, "longest" scales the longer side and pads with
    fill_color, "squash" scales both. As in open_clip, the image is resized in its own mode and only then made RGB, and
    EXIF orientation is not applied.

    Source: open_clip 3.3.0 `transform.py:image_transform`, torchvision `Resize` and `CenterCrop`.
    Raises: whatever PIL raises for bytes that are no image.
    """
    with open_image(encoded) as image:
        resized = image.resize(_resized(image.size, image_size, resize_mode), _FILTERS[interpolation])
    if resize_mode == "longest":
        resized = _padded(resized, image_size, fill_color)
    return np.asarray(_center_crop(resized, image_size).convert("RGB"))


def find_fault(encoded: bytes) -> str | None:
    """What makes an image unreadable, or None: decodes all of it, at the coarsest scale that its format offers.

    A JPEG still has every coefficient read, so truncated and corrupt ones are found at a fraction of the cost.
    """
    if not encoded:
        return "there are no bytes"
    try:
        with open_image(encoded) as image:
            image.draft("RGB", (1, 1))
            image.load()
    except UnidentifiedImageError:
        return f"no image format begins with {encoded[:12]!r}; {', '.join(IMAGE_FORMATS)} are read"
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        return str(error) or type(error).__name__
    return None


def _resized(size: tuple[int, int], target: int, mode: str) -> tuple[int, int]:
    width, height = size
    if mode == "squash":
        return target, target
    if mode == "longest":
        # open_clip's ResizeKeepRatio with longest=1
        ratio = max(width, height) / target
        return round(width / ratio), round(height / ratio)
    if width <= height:
        return target, int(target * height / width)
    return int(target * width / height), target


def _padded(image: Image.Image, target: int, fill_color: int) -> Image.Image:
    width, height = image.size
    extra_x, extra_y = max(target - width, 0), max(target - height, 0)
    if not extra_x and not extra_y:
        return image
    n_bands = len(image.getbands())
    border = (extra_x // 2, extra_y // 2, (extra_x + 1) // 2, (extra_y + 1) // 2)
    return ImageOps.expand(image, border=border, fill=(fill_color,) * n_bands if n_bands > 1 else fill_color)


def _center_crop(image: Image.Image, target: int) -> Image.Image:
    width, height = image.size
    left, top = round((width - target) / 2), round((height - target) / 2)
    return image.crop((left, top, left + target, top + target))
