"""open_clip's vision towers: built, filled with weights, and refused when their tail cannot be cut off.

open_clip is imported only when a tower is built, so that trial workers, which never see the tower, start without it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from trainable.architecture import VisionArchitecture
from trainable.errors import UserError
from trainable.frozen.model_folder import ModelFolder
from trainable.frozen.tiny_weights import draw_tiny_state, read_tiny_state
from trainable.frozen.tower_config import tower_problems
from trainable.frozen.tower_weights import read_visual_state
from trainable.frozen.transform import Transform, make_transform, transform_problems
from trainable.plain_values import JsonObject

TINY = "sentinel-tiny"
"""The name under which the built-in tower is registered with open_clip; on the command line, `tiny`."""

_CONFIG_FOLDER = Path(__file__).parent / "open_clip_configs"


def build_tiny_tower(*, is_random: bool) -> tuple[nn.Module, Transform, JsonObject]:
    """The tower, its transform, and open_clip's `model_cfg` of it.

    is_random: with drawn weights instead of those that ship with the package.
    Raises: UserError when what ships is not as it was released.
    """
    import open_clip

    if TINY not in open_clip.list_models():
        open_clip.add_model_config(_CONFIG_FOLDER)
    config = open_clip.get_model_config(TINY)
    visual = _skeleton(config)
    make_state = draw_tiny_state if is_random else read_tiny_state
    visual.load_state_dict(make_state(visual.state_dict()), strict=True, assign=True)
    return visual, make_transform({}, image_size=config["vision_cfg"]["image_size"]), config


def load_tower(spec: str, folder: ModelFolder) -> tuple[nn.Module, Transform, JsonObject]:
    """As `build_tiny_tower`, from a folder; spec: what the user called it.

    Raises: UserError with all that is wrong with the config, else with names, shapes, types or values of weights.
    """
    problems = [*tower_problems(spec, folder.model_cfg), *transform_problems(spec, folder.preprocess_cfg)]
    if problems:
        raise UserError([f"{problem}; take the config as the model's authors publish it" for problem in problems])
    visual = _skeleton(folder.model_cfg)
    transform = make_transform(folder.preprocess_cfg, image_size=visual.image_size[0])  # type: ignore[index,arg-type]
    state = read_visual_state(folder.weights, visual.state_dict())
    visual.load_state_dict(state, strict=True, assign=True)
    return visual, transform, folder.model_cfg


def _skeleton(model_cfg: Mapping[str, object]) -> nn.Module:
    """The tower without weights (on torch's meta device, so nothing is drawn and nothing allocated)."""
    from trainable.export.standalone import build_tower  # loads open_clip and PIL

    with torch.device("meta"):
        return build_tower(model_cfg)


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
