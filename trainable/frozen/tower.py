"""open_clip's vision towers: built, filled with weights, and refused when their tail cannot be cut off.

open_clip is imported only when a tower is built, so that trial workers, which never see the tower, start without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from trainable.architecture import VisionArchitecture
from trainable.errors import UserError
from trainable.frozen.downloaded import check_downloaded
from trainable.frozen.model_folder import ModelFolder
from trainable.frozen.tiny_weights import draw_tiny_state
from trainable.frozen.transform import Transform, make_transform

TINY = "sentinel-tiny"
"""The name under which the built-in tower is registered with open_clip; `tiny` on the command line."""

_CONFIG_FOLDER = Path(__file__).parent / "open_clip_configs"
_CUSTOM_BLOCK = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
# The tower alone is used; open_clip builds towers only in pairs, so the other one is made as small as it can be.
_NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}


def build_tiny_tower() -> tuple[nn.Module, Transform, dict[str, Any]]:
    """The tower, its transform, and open_clip's `model_cfg` of it."""
    import open_clip

    if TINY not in open_clip.list_models():
        open_clip.add_model_config(_CONFIG_FOLDER)
    config = open_clip.get_model_config(TINY)
    visual = _skeleton("tiny", config)
    visual.load_state_dict(draw_tiny_state(visual.state_dict()), strict=True, assign=True)
    return visual, make_transform("tiny", {}, image_size=config["vision_cfg"]["image_size"]), config


def load_tower(spec: str, folder: ModelFolder) -> tuple[nn.Module, Transform, dict[str, Any]]:
    """As `build_tiny_tower`, from a folder; spec: what the user called it."""
    visual = _skeleton(spec, folder.model_cfg)
    transform = make_transform(spec, folder.preprocess_cfg, image_size=visual.image_size[0])  # type: ignore[index,arg-type]
    state = _read_visual_state(folder.weights)
    wanted = visual.state_dict()
    problems = [f"{folder.weights} must hold `visual.{name}`, but lacks it" for name in wanted if name not in state]
    problems += [
        f"{folder.weights} holds `visual.{name}`, which its config does not name"
        for name in state
        if name not in wanted
    ]
    problems += [
        f"`visual.{name}` in {folder.weights} must have shape {tuple(wanted[name].shape)} by its config, "
        f"but has {tuple(value.shape)}"
        for name, value in state.items()
        if name in wanted and value.shape != wanted[name].shape
    ]
    if problems:
        raise UserError(problems)
    visual.load_state_dict(state, strict=True, assign=True)
    return visual, transform, folder.model_cfg


def _read_visual_state(weights: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError, safe_open

    prefix = "visual."
    try:
        check_downloaded(weights)
        with safe_open(weights, framework="pt") as file:
            return {k.removeprefix(prefix): file.get_tensor(k).float() for k in file.keys() if k.startswith(prefix)}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise UserError(
            f"{weights} must be a safetensors file, but reading it failed: {error}; fetch it again"
        ) from error


def _skeleton(spec: str, model_cfg: Mapping[str, Any]) -> nn.Module:
    """The tower without weights (on torch's meta device, so nothing is drawn and nothing allocated)."""
    problems = [f"{spec}: {reason}" for reason in _unsupported(model_cfg.get("vision_cfg") or {})]
    if problems:
        raise UserError(problems)
    import open_clip

    try:
        with torch.device("meta"):
            clip = open_clip.CLIP(
                embed_dim=model_cfg["embed_dim"],
                vision_cfg=dict(model_cfg["vision_cfg"]),
                text_cfg=dict(_NO_TEXT),
                quick_gelu=bool(model_cfg.get("quick_gelu", False)),
            )
    except (KeyError, TypeError, AssertionError) as error:
        raise UserError(
            f"{spec}: its `model_cfg` must be one that open_clip knows, but building it failed: {error!r}"
        ) from error
    visual: nn.Module = clip.visual
    return visual


def _unsupported(vision_cfg: Mapping[str, Any]) -> list[str]:
    """Why this tower cannot be cut into stem | blocks | ln_post | proj; empty when it can."""
    get = vision_cfg.get
    if not vision_cfg:
        return ["`model_cfg.vision_cfg` must describe a vision tower, but is missing or empty"]
    if get("timm_model_name"):
        return [f"the tower must be open_clip's VisionTransformer, but is timm's {get('timm_model_name')!r}"]
    if isinstance(get("layers"), list | tuple):
        return [f"the tower must be open_clip's VisionTransformer, but is a ResNet with stages {get('layers')}"]
    reasons = []
    if get("attentional_pool"):
        reasons.append("pooling must be the class token or the average, but is attentional (`attentional_pool`)")
    elif get("pool_type", "tok") not in ("tok", "avg"):
        reasons.append(f"`pool_type` must be tok or avg, but is {get('pool_type')!r}")
    custom = [k for k in _CUSTOM_BLOCK if get(k)] + (["block_type"] if get("block_type") == "custom" else [])
    if custom:
        reasons.append(
            f"blocks must be open_clip's plain residual attention blocks, but the config sets {', '.join(custom)}"
        )
    if get("act_kwargs"):
        reasons.append(
            f"the activation must be GELU or QuickGELU as it is, but the config sets act_kwargs {get('act_kwargs')}"
        )
    if set(get("norm_kwargs") or {}) - {"eps"}:
        reasons.append(f"LayerNorm may differ only in eps, but the config sets norm_kwargs {get('norm_kwargs')}")
    size = get("image_size", 224)
    if isinstance(size, list | tuple) and len(set(size)) != 1:
        reasons.append(f"images must be square, but `image_size` is {size}")
    return reasons


def tower_architecture(visual: Any) -> VisionArchitecture:
    from open_clip.transformer import QuickGELU

    blocks, first = visual.transformer.resblocks, visual.transformer.resblocks[0]
    return VisionArchitecture(
        n_blocks=len(blocks),
        width=visual.transformer.width,
        n_heads=first.attn.num_heads,
        mlp_width=first.mlp.c_fc.out_features,
        n_tokens=visual.positional_embedding.shape[0],
        embed_dim=visual.proj.shape[1],
        image_size=visual.image_size[0],
        quick_gelu=isinstance(first.mlp.gelu, QuickGELU),
        layer_scale=not isinstance(first.ls_1, nn.Identity),
        pool=visual.pool_type,
        ln_post_after_pool=visual.final_ln_after_pool,
        ln_eps=visual.ln_post.eps,
    )
