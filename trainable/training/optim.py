"""Parameter groups with a learning rate each, the schedule, and clipping."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from inspect import unwrap
from typing import Literal

import torch
from torch import Tensor, nn

Groups = list[dict[str, object]]

_PARTS = (("ln_post.", "ln_post"), ("head.", "head"), ("domain_code.", "domain"), ("species_code.", "species"),
          ("number_code.", "numbers"))  # fmt: skip


class ParameterGroupError(RuntimeError):
    """A trainable parameter would be in no optimizer group, or in two: our mistake, never the user's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Multipliers:
    """Factors on the base learning rate; block i of N gets block * (1 + layer_slope * i / N), the deepest being 0."""

    block: float = 1.0
    layer_slope: float = 0.0
    ln_post: float = 1.0
    head: float = 1.0
    domain: float = 1.0

    def of(self, part: str, *, n_blocks: int) -> float:
        """The factor of a part: "block_0", ..., "ln_post", "head" or "domain", which "species" and "numbers" share."""
        if part.startswith("block_"):
            return self.block * (1 + self.layer_slope * int(part.removeprefix("block_")) / n_blocks)
        codes = dict.fromkeys(("domain", "species", "numbers"), self.domain)
        return {"ln_post": self.ln_post, "head": self.head, **codes}[part]


def part_of(name: str) -> str | None:
    """The part of the tail that a parameter's name belongs to, or None."""
    if match := re.match(r"blocks\.(\d+)\.", name):
        return f"block_{match.group(1)}"
    return next((part for prefix, part in _PARTS if name.startswith(prefix)), None)


def decays(name: str, parameter: Tensor) -> bool:
    """Whether weight decay acts on it: on matrices only.

    Not on norms, biases, DoRA magnitudes, layer scales and log sigmas (all vectors), and not on a code's embedding: a
    row whose category is not in the batch has no gradient to answer the decay.
    """
    return parameter.ndim >= 2 and not name.endswith("embedding.weight")


def make_groups(
    named_parameters: Iterable[tuple[str, Tensor]],
    *,
    lr: float,
    weight_decay: float,
    multipliers: Multipliers,
    n_blocks: int,
) -> Groups:
    """Optimizer groups that hold every trainable parameter exactly once: one for each rate and decay that differ.

    Parts of equal rates share a group, since every group costs a call a step. Each carries `base_lr`, the rate that the
    schedule's factor multiplies.
    Raises: ParameterGroupError for a trainable parameter that belongs to no part or comes twice.
    """
    members: dict[tuple[float, float], list[Tensor]] = {}
    seen: dict[int, str] = {}
    wrong: list[str] = []
    for name, parameter in named_parameters:
        if not parameter.requires_grad:
            continue
        part = part_of(name)
        if part is None:
            wrong.append(f"`{name}` belongs to no part")
        elif id(parameter) in seen:
            wrong.append(f"`{name}` is also `{seen[id(parameter)]}`")
        else:
            rate = lr * multipliers.of(part, n_blocks=n_blocks)
            decay = weight_decay if decays(name, parameter) else 0.0
            members.setdefault((rate, decay), []).append(parameter)
        seen[id(parameter)] = name
    if wrong:
        raise ParameterGroupError("every trainable parameter must be in exactly one group, but " + "; ".join(wrong))
    return [
        {"params": parameters, "lr": rate, "base_lr": rate, "weight_decay": decay}
        for (rate, decay), parameters in members.items()
    ]


def make_optimizer(groups: Groups, *, name: Literal["adam", "adamw"]) -> torch.optim.Optimizer:
    """Adam (weight decay as a gradient) or AdamW (decoupled), in its fused form, which CPU and CUDA both have."""
    kind = AdamW if name == "adamw" else Adam
    return kind(groups, fused=True)


class UncompiledOptimizer(torch.optim.Optimizer):
    """torch's methods without what it wraps around them for its compiler.

    The wrappers load the compiler, which takes a worker as long as all the rest of torch, and here nothing is compiled.
    """

    add_param_group = unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = unwrap(torch.optim.Optimizer.zero_grad)


class Adam(UncompiledOptimizer, torch.optim.Adam):
    """torch's."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move the parameters; the value of `closure`, if there is one."""
        loss: float | None = unwrap(torch.optim.Adam.step)(self, closure)
        return loss


class AdamW(UncompiledOptimizer, torch.optim.AdamW):
    """torch's."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Move the parameters; the value of `closure`, if there is one."""
        loss: float | None = unwrap(torch.optim.AdamW.step)(self, closure)
        return loss


class LBFGS(UncompiledOptimizer, torch.optim.LBFGS):
    """torch's."""


def schedule_factor(
    step: int,
    n_steps: int,
    *,
    schedule: Literal["constant", "cosine"],
    warmup_fraction: float = 0.0,
    hold_fraction: float = 0.0,
    final_lr_fraction: float = 0.0,
) -> float:
    """The factor on every learning rate in step `step` (from 0) of `n_steps`.

    "cosine": linear from 1/n to 1 over the n warm-up steps, then 1, then a half cosine that ends on `final_lr_fraction`
    in the last step.
    """
    if schedule == "constant":
        return 1.0
    n_warmup = round(warmup_fraction * n_steps)
    n_full = round((warmup_fraction + hold_fraction) * n_steps)
    if step < n_warmup:
        return (step + 1) / n_warmup
    if step < n_full:
        return 1.0
    progress = min((step - n_full + 1) / max(n_steps - n_full, 1), 1.0)
    return final_lr_fraction + (1 - final_lr_fraction) * 0.5 * (1 + math.cos(math.pi * progress))


def set_lr(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Give every group its base rate times the schedule's factor."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def clip_parts(named_parameters: Iterable[tuple[str, Tensor]], max_norm: float) -> None:
    """Scale the gradients of each part (block i, ln_post, head, a code) down to a norm of at most `max_norm`."""
    parts: dict[str | None, list[Tensor]] = {}
    for name, parameter in named_parameters:
        parts.setdefault(part_of(name), []).append(parameter)
    for parameters in parts.values():
        nn.utils.clip_grad_norm_(parameters, max_norm)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: Mapping[int, str]) -> dict[str, Tensor]:
    """The optimizer's running averages and step counts as "PARAMETER/KEY"; names: id of a parameter -> its name."""
    return {
        f"{names[id(parameter)]}/{key}": value
        for parameter, values in optimizer.state.items()
        for key, value in values.items()
    }


def load_optimizer_tensors(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], named_parameters: Sequence[tuple[str, Tensor]]
) -> None:
    """Inverse of `optimizer_tensors`; the tensors are copied to where their parameters are."""
    by_parameter: dict[str, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        parameter_name, key = name.rsplit("/", 1)
        by_parameter.setdefault(parameter_name, {})[key] = value
    optimizer.state.clear()
    for name, parameter in named_parameters:
        if name in by_parameter:
            optimizer.state[parameter] = {
                key: value.to(parameter.device, copy=True) for key, value in by_parameter[name].items()
            }
