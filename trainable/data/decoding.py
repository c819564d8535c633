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
_SLIVER = 100  # sides' ratio beyond which the middle alone is resized: the whole would take gigabytes
_DEPTHS = (8, 10, 12, 14, 16)  # bits of cameras and scanners


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
    fill_color, "squash" scales both. As in open_clip, the image is resized in its own mode and only then made RGB: a
    palette's colours are picked, not mixed, transparent pixels keep the colour beneath, CMYK is inverted without a
    profile, and EXIF orientation is not applied.
    Unlike it, values beyond 8 bits are scaled (`scaled_to_8_bits`) and not cut off, and of an image whose sides differ
    by more than a factor of 100 the middle alone is resized, equal to it but for rounding.

    Source: open_clip 3.3.0 `transform.py:image_transform`, torchvision `Resize` and `CenterCrop`.
    Raises: whatever PIL raises for bytes that are no image.
    """
    with open_image(encoded) as opened:
        image = scaled_to_8_bits(opened.convert("LA") if opened.mode == "La" else opened)  # PIL makes no RGB of "La"
        size = _resized(image.size, image_size, resize_mode)
        if max(size) > _SLIVER * image_size:
            middle = _middle(image.size, size, image_size)
            resized = image.resize((image_size, image_size), _FILTERS[interpolation], box=middle)
        else:
            resized = image.resize(size, _FILTERS[interpolation])
    if resize_mode == "longest":
        resized = _padded(resized, image_size, fill_color)
    return np.asarray(_center_crop(resized, image_size).convert("RGB"))


def scaled_to_8_bits(image: Image.Image) -> Image.Image:
    """An image of one channel of 16 or 32 bits as one of 8 bits, by the range of its values; any other as it is.

    The range is 0 to the most that 8, 10, 12, 14 or 16 bits hold, whichever suffices, and 0 to 1 of floats; values
    beyond it make the range their lowest to highest. Within 0 to 255 all stays as it is.
    Raises: ValueError for values that are not finite.
    """
    if image.mode not in ("I", "F") and not image.mode.startswith("I;"):
        return image
    values = np.asarray(image if image.mode == "F" else image.convert("I"))
    low, high = float(values.min()), float(values.max())
    if not np.isfinite([low, high]).all():
        raise ValueError("its values must be finite, but some are not")
    low, high = _range_of(low, high, is_float=image.mode == "F")
    if (low, high) == (0, 255) and image.mode in ("I", "I;16", "F"):  # PIL makes nonsense of big-endian ones
        return image
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / ((high - low) or 1))
    return Image.fromarray(np.rint(scaled).clip(0, 255).astype(np.uint8))


def examine(encoded: bytes) -> tuple[str | None, bool]:
    """What makes an image unreadable, or None, and whether its values are scaled to 8 bits.

    Decodes all of it, at the coarsest scale that its format offers. A JPEG still has every coefficient read, so
    truncated and corrupt ones are found at a fraction of the cost.
    """
    if not encoded:
        return "there are no bytes", False
    try:
        with open_image(encoded) as image:
            image.draft("RGB", (1, 1))
            image.load()
            scaled = scaled_to_8_bits(image)
            is_scaled = scaled is not image
            scaled.crop((0, 0, 1, 1)).convert("LA" if image.mode == "La" else "RGB")  # PIL knows no way from some modes
    except UnidentifiedImageError:
        return f"no image format begins with {encoded[:12]!r}; {', '.join(IMAGE_FORMATS)} are read", False
    except Exception as error:  # decoders raise whatever a broken file makes them raise
        return str(error) or type(error).__name__, False
    return None, is_scaled


def _range_of(low: float, high: float, *, is_float: bool) -> tuple[float, float]:
    """The range of values from `low` to `high`: that of a usual depth that holds them, else their own."""
    usual = (1, 255) if is_float else tuple(2**bits - 1 for bits in _DEPTHS)
    return next(((0, most) for most in usual if low >= 0 and high <= most), (low, high))


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
    if mode == "longest":
        # open_clip's ResizeKeepRatio with longest=1
        ratio = max(width, height) / target
        return max(round(width / ratio), 1), max(round(height / ratio), 1)
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
