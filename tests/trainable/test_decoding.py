import ast
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image, UnidentifiedImageError

from trainable.data import decoding
from trainable.data.decoding import decode, examine
from trainable.export import standalone
from tune.verbs.predict import SUFFIXES


def picture(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height))
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16))
    if mode in ("RGBA", "LA"):
        image = coarse.convert(mode)
        image.putalpha(Image.fromarray(rng.integers(0, 256, (height, width), dtype=np.uint8)))
        return image
    return coarse.convert(mode)


def encoded(image: Image.Image, file_format: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, file_format, **options)
    return file.getvalue()


def open_clip_pixels(data: bytes, size: int, **options: object) -> np.ndarray:
    from open_clip.transform import image_transform

    transform = image_transform(size, is_train=False, mean=(0.5,) * 3, std=(0.5,) * 3, **options)
    image: object = Image.open(io.BytesIO(data))
    for step in transform.transforms[:-2]:  # the last two: to a tensor, normalise
        image = step(image)
    return np.asarray(image)


def fault_of(data: bytes) -> str | None:
    return examine(data)[0]


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1"])
@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
def test_decoding_equals_the_open_clip_evaluation_transform_in_every_image_mode(mode: str, resize_mode: str) -> None:
    for width, height in ((91, 67), (40, 77), (64, 64), (33, 200)):
        data = encoded(picture(mode, width, height))
        expected = open_clip_pixels(data, 64, resize_mode=resize_mode)
        np.testing.assert_array_equal(decode(data, 64, resize_mode=resize_mode), expected)


@pytest.mark.parametrize("interpolation", ["bicubic", "bilinear"])
def test_decoding_equals_open_clip_for_jpegs_and_every_interpolation(interpolation: str) -> None:
    for mode in ("RGB", "L", "CMYK"):
        data = encoded(picture(mode, 301, 223), "JPEG", quality=85)
        expected = open_clip_pixels(data, 224, interpolation=interpolation)
        np.testing.assert_array_equal(decode(data, 224, interpolation=interpolation), expected)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "LA"])
def test_padding_takes_the_fill_colour_as_open_clip_does(mode: str) -> None:
    data = encoded(picture(mode, 90, 31))
    expected = open_clip_pixels(data, 48, resize_mode="longest", fill_color=120)
    np.testing.assert_array_equal(decode(data, 48, resize_mode="longest", fill_color=120), expected)


def test_transparent_palettes_keep_the_colour_beneath_as_in_open_clip() -> None:
    data = encoded(picture("P", 91, 67), transparency=3)
    np.testing.assert_array_equal(decode(data, 48), open_clip_pixels(data, 48))


RAMP = np.linspace(0, 1, 48 * 64).reshape(48, 64)


@pytest.mark.parametrize(
    ("values", "file_format"),
    [
        ((RAMP * 65535).astype(np.uint16), "PNG"),
        ((RAMP * 65535).astype(">u2"), "TIFF"),
        ((RAMP * 4095).astype(np.uint16), "TIFF"),  # a camera of 12 bits
        ((RAMP * 3e6 - 1e6).astype(np.int32), "TIFF"),
        (RAMP.astype(np.float32), "TIFF"),
        ((RAMP * 9000 - 40).astype(np.float32), "TIFF"),
    ],
    ids=["16-bit", "16-bit big-endian", "12-bit", "32-bit", "float to 1", "float"],
)
def test_values_beyond_8_bits_are_scaled_by_their_range(values: np.ndarray, file_format: str) -> None:
    data = encoded(Image.fromarray(values), file_format)
    wanted = decode(encoded(Image.fromarray(np.rint(RAMP * 255).astype(np.uint8))), 32)
    assert np.abs(decode(data, 32).astype(int) - wanted).max() <= 1  # each is rounded once
    assert examine(data) == (None, True)


@pytest.mark.parametrize("dtype", [np.uint16, ">u2", np.int32, np.float32])
def test_values_that_fit_8_bits_stay_as_they_are_in_whatever_they_lie(dtype: type) -> None:
    bytes_ = np.random.default_rng(0).integers(0, 256, (48, 64)).astype(np.uint8)
    found = decode(encoded(Image.fromarray(bytes_.astype(dtype)), "TIFF"), 48, resize_mode="shortest")
    np.testing.assert_array_equal(found[..., 0], bytes_[:, 8:56])


def test_values_that_are_not_finite_are_a_fault() -> None:
    values = RAMP.astype(np.float32)
    values[3, 4] = np.nan
    assert fault_of(encoded(Image.fromarray(values), "TIFF")) == "its values must be finite, but some are not"


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA"])
@pytest.mark.parametrize(("width", "height"), [(4, 404), (1212, 12)])
def test_the_middle_of_a_sliver_is_that_of_the_whole(mode: str, width: int, height: int) -> None:
    smooth = np.linspace(0, 255, width * height).reshape((height, width) if width < height else (width, height))
    grey = Image.fromarray((smooth if width < height else smooth.T).astype(np.uint8))
    data = encoded(grey.convert(mode))
    assert np.abs(decode(data, 32).astype(int) - open_clip_pixels(data, 32)).max() <= 2


def test_a_sliver_takes_no_more_memory_than_its_middle() -> None:
    code = (
        "import io, resource; from PIL import Image; from trainable.data.decoding import decode; file = io.BytesIO();"
        "Image.new('RGB', (2, 60000)).save(file, 'PNG'); decode(file.getvalue(), 4);"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; decode(file.getvalue(), 224);"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 64 * 1024  # KiB; the whole takes 6 GB


def test_slivers_are_padded_where_the_longer_side_counts() -> None:
    assert decode(encoded(picture("RGB", 2, 12000)), 32, resize_mode="longest", fill_color=7)[0, 0].tolist() == [7] * 3


def test_exif_orientation_is_left_alone_as_in_open_clip() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # rotate by 90 degrees
    data = encoded(picture("RGB", 90, 64), "JPEG", exif=exif)
    np.testing.assert_array_equal(decode(data, 32), open_clip_pixels(data, 32))


def test_whole_images_have_no_fault() -> None:
    for file_format in ("PNG", "JPEG", "WEBP", "TIFF", "BMP"):
        assert fault_of(encoded(picture("RGB", 60, 40), file_format)) is None


@pytest.mark.parametrize("file_format", ["PNG", "JPEG"])
def test_truncated_images_have_a_fault(file_format: str) -> None:
    data = encoded(picture("RGB", 300, 200), file_format)
    for share in (0.9, 0.5):
        assert "truncated" in str(fault_of(data[: int(len(data) * share)]))


def test_what_is_no_image_has_a_fault_that_says_so() -> None:
    assert "<html>" in str(fault_of(b"<html>not found</html>"))
    assert fault_of(b"") == "there are no bytes"


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\n(x)\n%%EOF\n"


def test_no_other_program_is_started_to_read_an_image(tmp_path, monkeypatch) -> None:
    ran = tmp_path / "ran"
    (tmp_path / "gs").write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    (tmp_path / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)  # where it looks once a process
    transform = {"image_size": 8, "resize_mode": "shortest", "interpolation": "bicubic", "fill_color": 0}

    assert str(fault_of(POSTSCRIPT)).startswith("no image format begins with b'%!PS-Adobe-3'")
    for read in (lambda: decode(POSTSCRIPT, 8), lambda: standalone.decode(POSTSCRIPT, transform)):
        with pytest.raises(UnidentifiedImageError):
            read()
    assert not ran.exists()

    with pytest.raises(subprocess.CalledProcessError):  # as PIL does when it is not told what to read
        Image.open(io.BytesIO(POSTSCRIPT)).load()
    assert ran.exists()


def test_the_formats_that_are_read_are_those_that_predict_looks_for_and_the_same_in_an_exported_model() -> None:
    Image.init()
    named = {Image.registered_extensions()[suffix] for suffix in SUFFIXES}

    assert set(decoding.IMAGE_FORMATS) == named
    assert decoding.IMAGE_FORMATS == standalone.IMAGE_FORMATS


def test_images_are_opened_in_two_places_alone_which_name_the_formats() -> None:
    """One for the search, one that travels with a model."""
    root = Path(decoding.__file__).parents[2]
    calls = {
        (path.relative_to(root).as_posix(), tuple(ast.unparse(keyword) for keyword in node.keywords))
        for package in ("trainable", "tune", "search_spaces")
        for path in (root / package).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Image.open"
    }

    assert calls == {
        (place, ("formats=IMAGE_FORMATS",))
        for place in ("trainable/data/decoding.py", "trainable/export/standalone.py")
    }


def test_a_jpeg_of_several_pictures_is_read_too() -> None:
    """As phones write them; PIL calls them MPO, but opens them as JPEG."""
    data = encoded(picture("RGB", 60, 40), "MPO", save_all=True, append_images=[picture("RGB", 30, 20)])

    assert fault_of(data) is None
    np.testing.assert_array_equal(decode(data, 32), open_clip_pixels(data, 32))


def test_decoding_workers_load_neither_torch_nor_pandas() -> None:
    code = (
        "import sys, trainable.data.decoding, trainable.data.image_sources;"
        "print([name for name in ('torch', 'pandas', 'datasets', 'open_clip') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
