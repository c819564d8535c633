"""Model folders of strangers: whatever `config.json` and the weights say, a model or one clear line a problem."""

import copy
import itertools
import json
import os
import resource
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.beetles import LABEL_RANGE, TARGETS
from trainable.export.standalone import (
    SCHEMA,
    ExportedModel,
    ModelFolderError,
    config_digest,
    file_digest,
    read_config,
)

NOT_THERE = object()
STRANGE: tuple[Any, ...] = (
    NOT_THERE, None, True, "", "x", "1", -1, 0, 1, 2, 0.5, -1e308, 1e308, float("inf"), float("nan"), 10**9, 10**400,
    [], [None], [[]], [0], [1, 1], ["a", "b", "c"], [1e400] * 3, [0] * 5000, {}, {"x": 1}, {"eps": 1}, "\ud800", "a\nb",
)  # fmt: skip
"""What is put in the place of each value, one after another."""


class Folder:
    """A model folder to be altered, each time from what it was, and signed anew."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = read_config(path)
        self.state = load_file(path / "model.safetensors")

    def with_value(self, *place: str | int, value: Any) -> "Folder":
        config = copy.deepcopy(self.config)
        *groups, last = place
        group: Any = config
        for name in groups:
            group = group[name]
        if value is NOT_THERE:
            del group[last]
        else:
            group[last] = value
        return self._write(config)

    def with_weights(self, state: dict[str, torch.Tensor]) -> "Folder":
        save_file(state, self.path / "model.safetensors")
        return self._write(copy.deepcopy(self.config))

    def _write(self, config: dict[str, Any]) -> "Folder":
        sums = config.get("sha256")
        if isinstance(sums, dict) and "model.safetensors" in sums:
            sums["model.safetensors"] = file_digest(self.path / "model.safetensors")
        if isinstance(sums, dict) and "config.json" in sums:
            sums["config.json"] = config_digest(config)
        (self.path / "config.json").write_text(json.dumps(config))
        return self

    def problems(self) -> tuple[str, ...]:
        """Why it is refused; none if it is a model that predicts."""
        try:
            model = ExportedModel.load(self.path)
        except ModelFolderError as error:
            return tuple(problem.replace(str(self.path), "MODEL") for problem in error.problems)
        side = model.config["transform"]["image_size"]
        assert np.isfinite(model.predict_pixels(torch.zeros(2, 3, side, side), [1, None])).all()
        return ()


def places(values: Any, prefix: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Of every value in a JSON object, groups and lists as a whole first; facts are not read to predict."""
    for name, value in values.items() if isinstance(values, dict) else enumerate(values[:1]):
        if (*prefix, name) == ("facts",):
            continue
        yield (*prefix, name)
        if isinstance(value, dict | list):
            yield from places(value, (*prefix, name))


@pytest.fixture
def folder(exported, tmp_path) -> Folder:
    return Folder(Path(shutil.copytree(exported, tmp_path / "model")))


@pytest.mark.slow
def test_whatever_one_value_of_the_configuration_is_there_is_a_model_or_lines_that_say_why_not(folder):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    altered = list(itertools.product(places(folder.config), STRANGE))
    told = [folder.with_value(*place, value=value).problems() for place, value in altered]

    assert len(altered) > 1000
    assert sum(map(bool, told)) > 0.9 * len(altered)
    lines = [line for problems in told for line in problems]
    assert [line for line in lines if not line.isprintable() or len(line) > 1000] == []
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1 << 20  # KiB


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (["n_members"], 10**9, "`n_members` must be a whole number from 1 to 1000, but is 1000000000"),
        (["n_members"], 1000, "but it lacks member_2.*; it lacks member_3.*; it lacks member_4.*; and 995 more"),
        (["n_members"], 1, "which is not of it"),
        (["targets"], [], "`targets` must be"),
        (["label_range"], [2, -2], "`label_range` must be a list of 2, each a number from -1e"),
        (["known_domains"], [4, 1, 9], "`known_domains` must be a list"),
        (["known_domains"], [1, 4], "domain_code has a row for each known domain and one more"),
        (["sigmas", "known"], [1, 1, float("nan")], "`sigmas.known` must be a list of 3, each a number above 0"),
        (["sigmas", "known"], [1, 1, 0], "`sigmas.known` must be a list of 3, each a number above 0"),
        (["head_widths"], [24, 3, 3], "head.0.weight has shape [512, 24] and not [3, 24]"),
        (["head_widths", 0], 25, "head_widths lead from embed_dim to the targets"),
        (["transform", "image_size"], 0, "`transform.image_size` must be a whole number from 1 to 4096, but is 0"),
        (["transform", "image_size"], 40, "transform.image_size is the tower's"),
        (["transform", "std"], [0.2, 0, 0.2], "`transform.std` must be"),
        (["transform", "speed"], 1, 'keys that nothing knows must not be there, but ["speed"] are'),
        (["model_cfg", "vision_cfg", "layers"], 10**6, "`model_cfg.vision_cfg.layers` must be a whole number from 1"),
        (["model_cfg", "vision_cfg", "layers"], 256, "it lacks visual.transformer.resblocks.6"),
        (["model_cfg", "vision_cfg", "layers"], [1, 1, 1, 1], "`model_cfg.vision_cfg.layers` must be a whole number"),
        (["model_cfg", "vision_cfg", "width"], 1 << 14, "has shape [48] and not [16384]"),
        (["model_cfg", "vision_cfg", "head_width"], 64, "describes, but "),
        (["model_cfg", "vision_cfg", "patch_size"], 64, "an image has 1 to 16384 patches"),
        (["model_cfg", "vision_cfg", "timm_model_name"], "vit", "`model_cfg.vision_cfg.timm_model_name` must be off"),
        (["model_cfg", "vision_cfg", "pool_type"], "none", '`model_cfg.vision_cfg.pool_type` must be "tok" or "avg"'),
        (["model_cfg", "vision_cfg", "rope"], True, 'must not be there, but ["rope"] are'),
        (["sha256"], {}, "`sha256` must name files inside of the folder, config.json and model.safetensors among"),
        (["sha256", "model.safetensors"], NOT_THERE, "`sha256` must name files inside of the folder"),
        (["sha256", "config.json"], NOT_THERE, "`sha256` must name files inside of the folder"),
        (["sha256", "x" * 300], "0" * 64, "must be readable, but is not"),
        (["format_version"], True, "must have format_version 1, but has true"),
        (["numbers"], [], "`numbers` must be a list of 1 to 100"),
        (["numbers"], [{"name": "a", "mean": 0, "sd": 0}], "`numbers` must be a list of 1 to 100, each an object with"),
        (["numbers"], [{"name": "a", "mean": float("nan"), "sd": 1}], "`numbers` must be a list"),
        (["numbers"], [{"name": "a", "mean": 0}], "`numbers` must be a list"),
        (["numbers"], [{"name": "a", "mean": 0, "sd": 1}] * 2, "numbers are named once each"),
        (["numbers"], [{"name": "a", "mean": 0, "sd": 1}], "it lacks number_code.weight"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_in_one_line(folder, place, value, message):
    (problem,) = folder.with_value(*place, value=value).problems()

    assert message in problem


def test_all_that_is_wrong_with_a_configuration_is_told_at_once(folder):
    folder.config |= {"n_members": 0, "targets": [], "domain_code": "x"}
    del folder.config["label_range"]

    problems = folder.with_value("transform", "fill_color", value=-1).problems()

    names = ("n_members", "targets", "domain_code", "label_range", "transform.fill_color")
    assert sorted(name for name in names if any(f"`{name}`" in problem for problem in problems)) == sorted(names)
    assert len(problems) == len(names)


def without(name: str) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    return lambda state: {key: value for key, value in state.items() if key != name}


def first_is(value: float) -> Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    def alter(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        state["head.0.bias"][0] = value
        return state

    return alter


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (first_is(float("nan")), "but head.0.bias is not finite"),
        (first_is(float("inf")), "but head.0.bias is not finite"),
        (lambda state: {k: v.half() for k, v in state.items()}, "is F16 and not F32"),
        (lambda state: {k: v.double() for k, v in state.items()}, "is F64 and not F32"),
        (lambda state: {k: v.to(torch.int8) for k, v in state.items()}, "is I8 and not F32"),
        (lambda state: {**state, "head.0.bias": state["head.0.bias"].bfloat16()}, "head.0.bias is BF16 and not F32"),
        (lambda state: {**state, "head.0.bias": torch.zeros(0)}, "head.0.bias has shape [0] and not [512]"),
        (lambda state: {**state, "head.9.bias": torch.zeros(3)}, "it holds head.9.bias, which is not of it"),
        (lambda state: {**state, "member_7.head.0.bias": torch.zeros(512)}, "it holds member_7.head.0.bias"),
        (without("visual.proj"), "it lacks visual.proj"),
        (lambda _: {"x": torch.zeros(1)}, "; and "),
        (lambda state: {k: v.sign() * 3e38 for k, v in state.items()}, "what it predicts is no number"),
    ],
)  # fmt: skip
def test_weights_that_are_not_of_the_model_are_named_in_one_line(folder, alter, message):
    (problem,) = folder.with_weights(alter(folder.state)).problems()

    assert "must hold a model that config.json describes" in problem
    assert message in problem


@pytest.mark.parametrize("name", ["config.json", "model.safetensors", "adapter/adapter_config.json"])
@pytest.mark.parametrize("kind", ["pipe", "link to a pipe", "link to a device", "folder", "link to nothing"])
def test_what_is_no_file_is_none_of_a_model_and_is_not_waited_for(folder, name, kind):
    file = folder.path / name
    file.unlink()
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    else:
        targets = {"link to a device": "/dev/zero", "link to nothing": "/nothing/there"}
        file.symlink_to(targets.get(kind, folder.path / "pipe"))
        os.mkfifo(folder.path / "pipe")

    (problem,) = folder.problems()

    assert f"MODEL/{name}" in problem


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"[" * 100_000, "recursion"),
        (b'{"kind": ' * 20_000, "recursion"),
        (b" " * (1 << 21), "it has more than 1048576 bytes"),
        (b"\xff\xfe{}", "can't decode"),
        (b"1" * 10_000, "integer string conversion"),
        (b"", "Expecting value"),
        (b"[]", "must be that of an exported model"),
    ],
)
def test_a_configuration_that_is_no_json_is_one_line(folder, content, message):
    (folder.path / "config.json").write_bytes(content)

    (problem,) = folder.problems()

    assert message in problem


def test_the_configuration_that_is_read_is_the_one_that_is_written(folder):
    optional = {"known_species", "numbers", "test_flips", "floors", "members"}  # codes, flips, floors, other forms
    assert set(SCHEMA) - optional == set(folder.config)
    assert SCHEMA["targets"][1](list(TARGETS))
    assert SCHEMA["label_range"][1](list(LABEL_RANGE))
    assert folder.problems() == ()
