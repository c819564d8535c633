"""The served model: what a row may hold, and one line for what it may not."""

import base64
import io
import struct
import sys
import warnings
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from trainable.export import standalone
from trainable.export.standalone import ExportedModel


def encoded(size: tuple[int, int] = (30, 20), file_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, file_format)
    return buffer.getvalue()


def text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def giant() -> bytes:
    """A PNG that says it has 900 million pixels."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 30_000, 30_000, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))


@pytest.fixture(scope="module")
def served(trained_model):
    """The class as MLflow runs it, beside the file that travels with it."""
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow infers types from the hint of each class that it sees, and warns
        patch.setitem(sys.modules, "sentinel_export", standalone)
        from tune.models.served_model import ServedModel

        model = ServedModel()
        model.model = ExportedModel.load(trained_model)
        yield model


def test_a_row_without_domain_or_event_is_of_an_unknown_domain_and_an_event_of_its_own(served):
    images = [text(encoded((20 + i, 30), "JPEG")) for i in range(4)]

    alone = served.predict(pd.DataFrame({"image": images}, index=[7, 5, 3, 1]))
    same = served.predict(pd.DataFrame({"image": images, "event": ["a", None, "a", np.nan], "domain": [None] * 4}))

    assert list(alone.index) == [7, 5, 3, 1]
    np.testing.assert_array_equal(alone["SPEI_1y"], alone["SPEI_1y_mu"])
    assert same["SPEI_1y_mu"][0] == same["SPEI_1y_mu"][2] == pytest.approx(same["SPEI_1y"][[0, 2]].mean())
    np.testing.assert_array_equal(same["SPEI_1y_mu"][[1, 3]], same["SPEI_1y"][[1, 3]])


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("image", None), ("image", 7.5), ("image", "/etc/hostname"), ("image", ["a"]), ("image", {"bytes": "a"}),
        ("image", text(b"")), ("image", text(encoded()[:-400])), ("image", text(giant())),
        ("image", text(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")),
        ("domain", float("inf")), ("domain", 1.5), ("domain", "3"), ("domain", [3]), ("domain", [3, 4]),
        ("domain", []), ("domain", {}), ("domain", np.array([3])), ("domain", "x" * 10_000),
        ("species", 7), ("species", ["Amara"]), ("species", {}),
        ("event", ["a"]), ("event", {"a": 1}), ("event", np.array([1, 2])),
    ],
)  # fmt: skip
def test_a_cell_that_cannot_be_read_is_named_in_one_short_line(served, column, value):
    good = {"image": text(encoded()), "domain": 4, "event": "a"}
    frame = pd.DataFrame([good, {**good, column: value}, good])

    with pytest.raises(ValueError, match=f"^row 1: `{column}` must be .*, but got ") as raised:
        served.predict(frame)

    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200


def test_all_rows_that_cannot_be_read_are_named_at_once(served):
    frame = pd.DataFrame({"image": ["?", text(encoded()), "!"], "domain": [4, float("-inf"), 4]})

    with pytest.raises(ValueError, match=r"row 0: `image`.*; row 2: `image`.*; row 1: `domain`"):
        served.predict(frame)


def test_a_model_of_named_domains_takes_names_and_knows_what_is_unknown(served, monkeypatch):
    from tune.models import served_model  # needs the file that travels with a model, as `served` has it

    frame = pd.DataFrame({"image": [text(encoded())] * 4, "domain": ["Süd", 3, None, "?"]})
    assert served_model._read(frame, are_names=True)[1] == ["Süd", "3", None, "?"]
    monkeypatch.setattr(served.model, "known_domains", ("Nord", "Süd"))
    values = served.predict(frame)
    for target in served.model.targets:
        known, unknown = (served.model.config["sigmas"][kind] for kind in ("known", "unknown"))
        place = served.model.targets.index(target)
        assert values[f"{target}_sigma"].tolist() == [known[place], *[unknown[place]] * 3]
    for bad in (1.5, True, ["Süd"]):
        with pytest.raises(ValueError, match=r"^row 0: `domain` must be a name or missing, but got "):
            served.predict(pd.DataFrame({"image": [text(encoded())], "domain": [bad]}))
