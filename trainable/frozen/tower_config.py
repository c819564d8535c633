"""Which `model_cfg` of open_clip is that of a tower whose tail can be cut off, and of a size that can be built."""

import reprlib
from collections.abc import Iterator

from trainable.plain_values import JsonObject

_CUSTOM_BLOCK = ("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner", "scale_attn", "scale_fc")
_TOLD_HERE = ("attentional_pool", "pool_type", "act_kwargs", "norm_kwargs", "block_type", *_CUSTOM_BLOCK)
"""Keys whose values are refused in words of their own."""

_DEFAULTS = {"width": 768, "head_width": 64, "mlp_ratio": 4.0, "patch_size": 16, "image_size": 224}


def tower_problems(spec: str, model_cfg: JsonObject) -> list[str]:
    """Everything for which a tower cannot be built and cut, a line each; spec: what the user called it."""
    from trainable.export.standalone import SCHEMA, schema_problems  # loads torch and open_clip

    vision_cfg = model_cfg.get("vision_cfg")
    if not vision_cfg or not isinstance(vision_cfg, dict):
        return [f"{spec}: `model_cfg.vision_cfg` must describe a vision tower, but is missing, empty or no object"]
    if name := vision_cfg.get("timm_model_name"):
        return [f"{spec}: the tower must be open_clip's VisionTransformer, but is timm's {reprlib.repr(name)}"]
    if isinstance(stages := vision_cfg.get("layers"), list):
        return [
            f"{spec}: the tower must be open_clip's VisionTransformer, but is a ResNet with stages "
            f"{reprlib.repr(stages)}"
        ]
    told = [f"{spec}: {reason}" for reason in _unsupported(vision_cfg)]
    known = {name: model_cfg[name] for name in ("embed_dim", "quick_gelu") if name in model_cfg}
    rest = {name: value for name, value in vision_cfg.items() if name not in _TOLD_HERE}
    odd = schema_problems({**known, "vision_cfg": rest}, SCHEMA["model_cfg"], spec, "model_cfg.")
    return [*told, *odd] if odd else [*told, *(f"{spec}: {reason}" for reason in _disagreements(vision_cfg))]


def _unsupported(vision_cfg: JsonObject) -> Iterator[str]:
    """Why this tower cannot be cut into stem | blocks | ln_post | proj."""
    from trainable.export.standalone import TOWER  # loads torch and open_clip

    get = vision_cfg.get
    if get("attentional_pool"):
        yield "pooling must be the class token or the average, but is attentional (`attentional_pool`)"
    elif get("pool_type", "tok") not in ("tok", "avg"):
        yield f"`pool_type` must be tok or avg, but is {reprlib.repr(get('pool_type'))}"
    custom = [k for k in _CUSTOM_BLOCK if get(k)] + ["block_type"] * (get("block_type") not in (None, "default"))
    if custom:
        yield f"blocks must be open_clip's plain residual attention blocks, but the config sets {', '.join(custom)}"
    if get("act_kwargs"):
        given = reprlib.repr(get("act_kwargs"))
        yield f"the activation must be GELU or QuickGELU as it is, but the config sets act_kwargs {given}"
    if not TOWER["norm_kwargs"][1](get("norm_kwargs")):
        given = reprlib.repr(get("norm_kwargs"))
        yield f"LayerNorm may differ only in eps, a number above 0, but the config sets norm_kwargs {given}"


def _disagreements(vision_cfg: JsonObject) -> Iterator[str]:
    """What does not hold between sizes that are each as they must be."""
    from trainable.export.standalone import MOST_PATCHES  # loads torch and open_clip

    sizes = {name: vision_cfg.get(name, default) for name, default in _DEFAULTS.items()}
    side, patch = (v[0] if isinstance(v := sizes[name], list) else v for name in ("image_size", "patch_size"))
    width, n_heads = sizes["width"], sizes["width"] // sizes["head_width"]
    if not 1 <= (side // patch) ** 2 <= MOST_PATCHES:
        yield (
            f"an image must have 1 to {MOST_PATCHES} patches, but `image_size` {side} and `patch_size` {patch} "
            f"give {(side // patch) ** 2}"
        )
    if n_heads < 1 or width % n_heads:
        yield (
            f"heads must divide the width, but `width` {width} and `head_width` {sizes['head_width']} give "
            f"{n_heads} heads"
        )
    if width * sizes["mlp_ratio"] < 1:
        yield f"`width` times `mlp_ratio` must be at least 1, but is {width} times {sizes['mlp_ratio']}"
