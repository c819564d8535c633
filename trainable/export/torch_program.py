"""An exported model as one `torch.export` program: pixels and indices of domains in, a value a target out.

Of a model with a code for species, indices of these go in as well; of one that reads numbers, those as
`ExportedModel.number_inputs` makes them, last. Of classes a logit each comes out.
"""

import io
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from trainable.export.standalone import CONFIG, ExportedModel
from trainable.whole_file import whole_file

TOLERANCE = 1e-5
"""Largest difference between program and model; of values beyond 1, as a share of them."""

_N_EXAMPLES = 2  # a batch of 1 would be taken for a constant
_SEED = 20_260_103

MOST_IMAGES = 2**31 - 1
"""Of a batch: torch 2.6 wants a bound for some regressors, and no memory holds as many."""


class ProgramMismatch(RuntimeError):
    """The program does not predict what the model predicts: our mistake or torch's, never the user's."""


class Program(nn.Module):
    """Pixels float32 [B, 3, S, S], indices of domains int64 [B], and what else the model reads -> [B, outputs]: the
    members' mean, clipped.
    """

    low: Tensor
    high: Tensor

    def __init__(self, model: ExportedModel) -> None:
        super().__init__()
        self.ensemble = model.ensemble
        for name, limits in zip(("low", "high"), model.limits, strict=True):
            self.register_buffer(name, torch.from_numpy(limits).float())

    def forward(
        self, pixels: Tensor, domains: Tensor, species: Tensor | None = None, numbers: Tensor | None = None
    ) -> Tensor:
        """Each as the method of `ExportedModel` makes it: pixels, domain_indices, species_indices, number_inputs."""
        outputs: Tensor = self.ensemble(pixels, domains, species, numbers)
        return outputs.mean(dim=0).clamp(self.low, self.high)


class NamelessProgram(Program):
    """The same of a model that reads numbers and no species."""

    def forward(self, pixels: Tensor, domains: Tensor, numbers: Tensor) -> Tensor:  # type: ignore[override]
        """As a `Program`'s."""
        return super().forward(pixels, domains, None, numbers)


def program_of(model: ExportedModel) -> Program:
    """The program that takes what the model reads, as `input_names` has it."""
    return NamelessProgram(model) if model.numbers and not model.reads_species else Program(model)


def write_program(model: ExportedModel, file: Path) -> Path:
    """Write `file` (.pt2), whole or not at all, after checking that what is read back predicts as the model does.

    The batch may have any size from 1 on. `config.json` travels as an extra file. Returns the path, absolute.
    Raises: ProgramMismatch; OSError.
    """
    file = Path(os.path.abspath(file))
    batch = torch.export.Dim("batch", min=1, max=MOST_IMAGES)
    examples = example_inputs(model, _N_EXAMPLES)
    with traceable_attention():
        program = torch.export.export(program_of(model), examples, dynamic_shapes=tuple({0: batch} for _ in examples))
    content = io.BytesIO()  # torch ends the whole process when a disk takes no more
    torch.export.save(program, content, extra_files={CONFIG: json.dumps(model.config)})
    _check_equal(content, model)
    file.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(file) as temporary:
        temporary.write_bytes(content.getbuffer())
    return file


@contextmanager
def traceable_attention() -> Iterator[None]:
    """Attention as it is trained: the one operator that inference has for it torch 2.6 cannot trace."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@torch.no_grad()
def _check_equal(content: io.BytesIO, model: ExportedModel) -> None:
    content.seek(0)
    program, wanted = torch.export.load(content).module(), program_of(model)
    for n in (1, _N_EXAMPLES, 2 * _N_EXAMPLES + 1):
        given = example_inputs(model, n)
        outputs = wanted(*given)
        error = float(((program(*given) - outputs).abs() / outputs.abs().clamp_min(1)).max())
        if not error <= TOLERANCE:
            raise ProgramMismatch(f"program and model must agree within {TOLERANCE:g}, but differ by {error:.3g}")


def input_names(model: ExportedModel) -> tuple[str, ...]:
    """What a `Program` is given, in order."""
    return ("pixels", "domains", *(["species"] * model.reads_species), *(["numbers"] * bool(model.numbers)))


def example_inputs(model: ExportedModel, n: int) -> tuple[Tensor, ...]:
    """Inputs of a `Program` for `n` made-up images, of all domains and species in turn; the same at each call.

    Of numbers each third is missing.
    """
    size = model.config["transform"]["image_size"]
    pixels = torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(_SEED))
    rows = torch.arange(n)
    units = model.config.get("numbers", ())
    known = [
        {} if row % 3 == 2 else {of["name"]: of["mean"] + (row - 1) * of["sd"] for of in units} for row in range(n)
    ]
    made = {
        "pixels": pixels,
        "domains": rows % (len(model.known_domains) + 1),
        "species": rows % (len(model.known_species) + 1),
        "numbers": model.number_inputs(known),
    }
    return tuple(made[name] for name in input_names(model))
