"""A tower's weights out of a safetensors file: compared by its header first, then read, then found to be finite."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from trainable.errors import UserError
from trainable.frozen.downloaded import check_downloaded, remedy

_PREFIX = "visual."
_FLOATS = ("F32", "F16", "BF16", "F64")


def read_visual_state(weights: Path, wanted: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """float32 weights of the names and shapes of `wanted`; none is read before all names, shapes and types fit.

    Raises: UserError with all that do not, or with all that are not finite.
    """
    from safetensors import SafetensorError, safe_open

    try:
        check_downloaded(weights)
        with safe_open(weights, framework="pt") as file:
            names = [name for name in file.keys() if name.startswith(_PREFIX)]  # noqa: SIM118
            header = {name.removeprefix(_PREFIX): file.get_slice(name) for name in names}
            if problems := list(_misfits(weights, header, wanted)):
                raise UserError(problems)
            state = {name: file.get_tensor(f"{_PREFIX}{name}").float() for name in header}
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{weights} must be a safetensors file, but reading it failed: {error}; {remedy(weights)}"
        ) from error
    if infinite := [name for name, value in state.items() if not value.isfinite().all()]:
        then = remedy(weights)
        raise UserError(
            f"`{_PREFIX}{name}` in {weights} must be finite as float32, but holds NaN or infinity; {then}"
            for name in infinite
        )
    return state


def _misfits(weights: Path, header: Mapping[str, Any], wanted: Mapping[str, Tensor]) -> Iterator[str]:
    yield from (f"{weights} must hold `{_PREFIX}{name}`, but lacks it" for name in wanted if name not in header)
    for name, found in header.items():
        if name not in wanted:
            yield f"{weights} holds `{_PREFIX}{name}`, which its config does not name"
            continue
        shape, dtype = tuple(found.get_shape()), found.get_dtype()
        if shape != tuple(wanted[name].shape):
            yield (
                f"`{_PREFIX}{name}` in {weights} must have shape {tuple(wanted[name].shape)} by its config, "
                f"but has {shape}"
            )
        if dtype not in _FLOATS:
            yield f"`{_PREFIX}{name}` in {weights} must be one of {', '.join(_FLOATS)}, but is {dtype}; convert it"
