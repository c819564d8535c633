"""Near duplicates: copies saved anew are found, what merely looks alike is not, and counts are those of all pairs."""

import io

import numpy as np
import pytest
from PIL import Image

from trainable.data.image_checks import check_images
from trainable.data.image_sources import ImageFiles
from trainable.data.image_survey import survey_images
from trainable.data.near_duplicates import MOST_BITS, N_BITS, first_twins, perceptual_hash
from trainable.data.specimens import load_specimens

N = 40


def scene(seed: int) -> Image.Image:
    """Something with light and shade at all scales, as photographs have."""
    rng = np.random.default_rng(seed)
    values = sum(
        np.asarray(Image.fromarray(rng.normal(0, 40 / n, (n, n)).astype(np.float32)).resize((300, 200))) * n / 4
        for n in (3, 6, 12, 24, 48)
    )
    return Image.fromarray((values + 128).clip(0, 255).astype(np.uint8)).convert("RGB")


def saved(image: Image.Image, **options: object) -> bytes:
    content = io.BytesIO()
    image.save(content, **options)
    return content.getvalue()


COPIES = {
    "JPEG of quality 80": lambda image: saved(image, format="JPEG", quality=80),
    "smaller": lambda image: saved(image.resize((225, 150)), format="PNG"),
    "larger": lambda image: saved(image.resize((450, 300)), format="JPEG", quality=90),
    "lighter": lambda image: saved(image.point(lambda value: min(255, value + 20)), format="PNG"),
    "in greys": lambda image: saved(image.convert("L"), format="WEBP", quality=80),
}


def hash_of(encoded: bytes) -> np.ndarray:
    return perceptual_hash(Image.open(io.BytesIO(encoded)))


@pytest.fixture(scope="module")
def scenes() -> list[Image.Image]:
    return [scene(seed) for seed in range(N)]


@pytest.mark.seconds
@pytest.mark.parametrize("copy", COPIES)
def test_a_copy_that_was_saved_anew_is_near_its_original_and_no_other(copy, scenes):
    hashes = np.array([hash_of(saved(image, format="PNG")) for image in scenes])
    copies = np.array([hash_of(COPIES[copy](image)) for image in scenes])

    twins = first_twins(np.concatenate([hashes, copies]), [*["here"] * N, *["there"] * N])
    assert twins.tolist() == [*range(N, 2 * N), *range(N)]


def test_photographs_that_only_look_alike_are_no_duplicates(demo_cache):
    specimens = load_specimens("demo:120", cache_dir=demo_cache, n_processes=1)
    hashes = np.array([hash_of(encoded) for encoded in specimens.images.read(range(120))])

    assert (first_twins(hashes, range(120)) == -1).all()


def test_twins_are_those_of_a_comparison_of_all_pairs_in_plain_python():
    rng = np.random.default_rng(0)
    centres = rng.random((60, N_BITS)) < 0.5
    hashes = centres[rng.integers(0, 60, 1100)] ^ (rng.random((1100, N_BITS)) < 0.025)
    groups = [f"site {n}" for n in rng.integers(0, 7, 1100)]
    wanted = [
        next(
            (
                other
                for other in range(1100)
                if groups[other] != groups[row] and (hashes[row] != hashes[other]).sum() <= MOST_BITS
            ),
            -1,
        )
        for row in range(0, 1100, 37)
    ]

    found = first_twins(hashes, groups)
    assert found[::37].tolist() == wanted
    assert 0 < (found == -1).sum() < 1100


def test_a_survey_tells_formats_sizes_and_exactly_the_faults_that_loading_finds(tmp_path, scenes):
    (tmp_path / "a.jpg").write_bytes(saved(scenes[0], format="JPEG"))
    (tmp_path / "b.png").write_bytes(saved(scenes[1].convert("P"), format="PNG"))
    (tmp_path / "c.tif").write_bytes(saved(Image.fromarray(np.full((9, 7), 4000, np.uint16)), format="TIFF"))
    (tmp_path / "cut.jpg").write_bytes(saved(scenes[2], format="JPEG")[:900])
    (tmp_path / "text.jpg").write_text("no image")
    names = ["a.jpg", "b.png", "c.tif", "cut.jpg", "text.jpg", "none.jpg"]
    images = ImageFiles(tuple(str(tmp_path / name) for name in names))
    survey = survey_images(images, n_threads=2)

    assert (survey.n, survey.formats) == (6, {"JPEG": 1, "PNG": 1, "TIFF": 1})
    assert survey.sizes.tolist() == [[300, 200], [300, 200], [7, 9]]
    assert survey.hashes.shape == (3, N_BITS)
    assert survey.faults == check_images(images, n_threads=1, cache_dir=tmp_path / "cache").faults
    assert sorted(survey.faults) == [3, 4, 5]
