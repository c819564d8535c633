"""LoRA, rsLoRA and DoRA on the split projections: peft's injection, names and file format; merging in float32.

peft takes seconds to import, so it is imported by the functions that need it.
"""

import copy
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from trainable.randomness import seeded_globally

_ADAPTER = "default"
_EXPORT_PREFIX = "base_model.model."  # what peft puts before a model's own names in a saved adapter


class AdapterCountError(RuntimeError):
    """Not exactly the named projections were wrapped: our mistake or a change in peft, never the user's."""


def add_adapters(
    blocks: nn.ModuleList,
    *,
    rank: int,
    alpha: float,
    rank_stabilized: bool,
    dora: bool,
    dropout: float,
    targets: Sequence[str],
    seed: int,
) -> int:
    """Wrap `targets` of every block in place and freeze all else in them; returns the number of wrapped layers.

    The fresh adapters change nothing: B is 0, and DoRA's magnitudes are the rows' norms. The scale on B·A is
    alpha / rank, or alpha / sqrt(rank) if rank_stabilized. The global random state is not touched.
    Raises: AdapterCountError unless exactly len(blocks) * len(targets) layers were wrapped.
    """
    from peft import LoraConfig, inject_adapter_in_model

    from trainable.tail.folding import FoldingLinear

    blocks.requires_grad_(False)
    config = LoraConfig(
        r=rank,
        lora_alpha=int(alpha) if float(alpha).is_integer() else alpha,  # peft's files have whole numbers here
        lora_dropout=dropout,
        use_rslora=rank_stabilized,
        use_dora=dora,
        target_modules=list(targets),
        bias="none",
    )
    config._register_custom_module({nn.Linear: FoldingLinear})
    with seeded_globally(seed, "adapter weights"):
        inject_adapter_in_model(config, blocks, adapter_name=_ADAPTER)
    wrapped = dict(_adapted_layers(blocks))
    wanted = {f"{i}.{_place(target)}" for i in range(len(blocks)) for target in targets}
    if set(wrapped) != wanted:
        missing, strange = sorted(wanted - set(wrapped)), sorted(set(wrapped) - wanted)
        raise AdapterCountError(f"{len(wanted)} layers must be adapted, but missing {missing}, unexpected {strange}")
    if dora:
        from trainable.tail.dora import use_factored_norm  # loads peft

        for layer in wrapped.values():
            use_factored_norm(layer, _ADAPTER)
    return len(wrapped)


def merge_adapters(blocks: nn.ModuleList) -> nn.ModuleList:
    """Plain frozen copies of the blocks with the adapters folded into their weights; `blocks` stays as it is.

    Raises: ValueError unless all weights are float32: in half precision merging costs 2 to 3 % of the output.
    """
    halves = sorted({str(p.dtype) for p in blocks.parameters()} - {"torch.float32"})
    if halves:
        raise ValueError(f"adapters are merged in float32 only, but the blocks hold {', '.join(halves)}")
    plain = copy.deepcopy(blocks)
    for name, layer in list(_adapted_layers(plain)):
        layer.merge(safe_merge=True)
        parent, _, leaf = name.rpartition(".")
        setattr(plain.get_submodule(parent), leaf, layer.get_base_layer())
    if hasattr(plain, "peft_config"):
        del plain.peft_config
    return plain.requires_grad_(False).eval()


def adapter_state(blocks: nn.ModuleList, *, first_block: int) -> dict[str, Tensor]:
    """The adapters' weights as peft saves them (`adapter_model.safetensors`), under open_clip's block names.

    first_block: index, counted from the stem, of the first of `blocks`.
    """
    from peft import get_peft_model_state_dict

    state: dict[str, Tensor] = get_peft_model_state_dict(blocks, adapter_name=_ADAPTER)
    return {_EXPORT_PREFIX + _absolute(name, first_block): value.detach().clone() for name, value in state.items()}


def adapter_config(blocks: nn.ModuleList, *, first_block: int) -> dict[str, Any]:
    """The adapters' configuration as peft saves it (`adapter_config.json`), naming each wrapped layer in full."""
    config: dict[str, Any] = blocks.peft_config[_ADAPTER].to_dict()  # type: ignore[index,union-attr,assignment,operator]
    config = {key: sorted(value) if isinstance(value, set) else value for key, value in config.items()}
    layers = [_absolute(name, first_block) for name, _ in _adapted_layers(blocks)]
    return {**config, "target_modules": layers, "inference_mode": True}


def _adapted_layers(blocks: nn.ModuleList) -> Iterator[tuple[str, Any]]:
    from peft.tuners.lora import LoraLayer

    yield from ((name, module) for name, module in blocks.named_modules() if isinstance(module, LoraLayer))


def _place(target: str) -> str:
    """ "q_proj" -> "attn.q_proj": where in a block a projection lies."""
    return f"mlp.{target}" if target in ("c_fc", "c_proj") else f"attn.{target}"


def _absolute(name: str, first_block: int) -> str:
    index, rest = name.split(".", 1)
    return f"transformer.resblocks.{first_block + int(index)}.{rest}"
