"""An exported model as one ONNX file: images and indices of domains in, a value a target out.

Of a model with a code for species, indices of these go in as well, and numbers of one that reads them. What is needed
beside the graph (targets, bounds, sigmas, or classes and temperatures, known domains, means and SDs of numbers, the
transform that makes images of photographs) is in the file's metadata, each as JSON.
"""

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from trainable.counts import counted
from trainable.errors import UserError
from trainable.export.onnx_packages import check_packages
from trainable.export.standalone import ExportedModel
from trainable.export.torch_program import MOST_IMAGES, example_inputs, input_names, program_of, traceable_attention
from trainable.plain_values import JsonObject
from trainable.shown import size_text
from trainable.whole_file import whole_file

if TYPE_CHECKING:
    from onnx import ModelProto

OPSET = 18
"""Of the standard operators: what torch's exporter has written since it began to trace with `torch.export`."""

METADATA = (
    *("targets", "bounds", "label_range", "sigmas", "classes", "temperatures"),
    *("known_domains", "known_species", "numbers", "transform", "task"),
)
"""Keys of `config.json` that are the file's metadata, too, where the model has them."""

MOST_BYTES = 2**31 - 2**20
"""Of one file, whose format counts bytes in 31 bits; the graph itself takes less than a MiB."""

_BATCHES = (1, 2, 5)
_CHANCE = 8  # times the root of the number of terms: exceeded once in 4e13 values


class OnnxMismatch(RuntimeError):
    """onnxruntime does not predict what the model predicts: our mistake or another's, never the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OnnxFile:
    """path: absolute. difference: the largest to the model that was seen; bound: that rounding explains, as shares."""

    path: Path
    opset: int
    difference: float
    bound: float


def write_onnx(model: ExportedModel, file: Path, *, sizes: Sequence[float]) -> OnnxFile:
    """Write `file` (.onnx), whole or not at all, after checking what onnxruntime makes of it.

    The batch may have any size from 1 on. Inputs `images` float32 [B, 3, S, S] as `ExportedModel.pixels` makes them,
    `domains` and `species` int64 [B], `numbers` float32 [B, inputs] as `number_inputs` makes them; output `mu` float32
    [B, targets], clipped to their bounds, or `logits` [B, classes].
    sizes: of usual values, one a target; differences are told as shares of them, and of larger values.
    Raises: UserError for packages that are missing, or weights beyond what one file holds. OnnxMismatch; OSError.
    """
    check_packages()
    _check_size(model)
    file = Path(os.path.abspath(file))
    graph = _graph(model)
    content = graph.SerializeToString()
    difference, bound = _largest_difference(content, model, sizes), rounding_bound(model)
    if not difference <= bound:
        raise OnnxMismatch(f"file and model must agree within {bound:.2g}, but differ by {difference:.3g}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        temporary.write_bytes(content)
    return OnnxFile(path=file, opset=OPSET, difference=difference, bound=bound)


def rounding_bound(model: ExportedModel) -> float:
    """How far two float32 computations of the network may differ by rounding alone, as a share of its values.

    A sum of n terms whose errors are independent is off by at most 8 √n u of their magnitude, but for a chance of
    3e-14, in whatever order it is added (Higham and Mary 2019, SIAM J. Sci. Comput. 41(5), A2815; u is half of eps).
    Sums behind one another count as one of all their terms: in each block those of two norms, q·k, softmax, the values
    and four layers.
    """
    vision = model.config["model_cfg"]["vision_cfg"]
    width = vision.get("width", 768)  # open_clip's defaults
    patch = np.ravel(vision.get("patch_size", 16))[0]
    n_tokens = (model.config["transform"]["image_size"] // patch) ** 2 + 1
    of_block = 6 * width + 2 * n_tokens + int(width * vision.get("mlp_ratio", 4.0))
    n_terms = vision.get("layers", 12) * of_block + sum(model.config["head_widths"])
    return float(2 * _CHANCE * n_terms**0.5 * torch.finfo(torch.float32).eps / 2)


def _check_size(model: ExportedModel) -> None:
    unique = {value.data_ptr(): value.numel() * value.element_size() for value in model.ensemble.state_dict().values()}
    if (n_bytes := sum(unique.values())) > MOST_BYTES:
        raise UserError(
            f"`--format onnx` writes one file of {size_text(MOST_BYTES)} at most, but the weights of "
            f"{counted(len(model.members), 'member')} have {size_text(n_bytes)}; take `--format torch-export`"
        )


def _graph(model: ExportedModel) -> "ModelProto":
    names = ["images", *input_names(model)[1:]]
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    examples = example_inputs(model, 2)
    with traceable_attention(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "# The axis name: batch")  # all inputs share it, as they are meant to
        program = torch.onnx.export(
            program_of(model).eval(),
            examples,
            dynamo=True,  # the other exporter, of TorchScript, is deprecated from torch 2.9 on
            verbose=False,
            opset_version=OPSET,
            input_names=names,
            output_names=[_output_name(model)],
            dynamic_shapes=tuple({0: batch} for _ in examples),
        )
    assert program is not None  # with dynamo=True one is returned
    graph: ModelProto = program.model_proto
    for name, value in _metadata(model.config).items():
        entry = graph.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value, ensure_ascii=False)
    return graph


def _output_name(model: ExportedModel) -> str:
    return "logits" if model.classes else "mu"


def _metadata(config: JsonObject) -> JsonObject:
    return {name: config[name] for name in METADATA if name in config}


@torch.no_grad()
def _largest_difference(content: bytes, model: ExportedModel, sizes: Sequence[float]) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    names, program, found = [given.name for given in session.get_inputs()], program_of(model), []
    for n in _BATCHES:
        given = example_inputs(model, n)
        wanted: Tensor = program(*given)
        values = {name: value.numpy() for name, value in zip(names, given, strict=True)}
        (outputs,) = session.run([_output_name(model)], values)
        scale = torch.maximum(wanted.abs(), torch.tensor(sizes, dtype=wanted.dtype))
        found.append(float(((torch.from_numpy(outputs) - wanted).abs() / scale).max()))
    return max(found)
