"""The towers that are measured: the built-in one, and true shapes with random weights."""

from functools import cache
from typing import Any

import torch

from benchmarks.setting import NotHere
from trainable.frozen.backbone import Backbone, fingerprint_state, load_backbone

_VISION: dict[str, dict[str, Any]] = {
    "vit-ti": {"layers": 12, "width": 192, "head_width": 64, "patch_size": 16, "image_size": 224},
    "vit-l": {"layers": 24, "width": 1024, "head_width": 64, "patch_size": 14, "image_size": 224},
}
_EMBED_DIM = {"vit-ti": 512, "vit-l": 768}


@cache
def random_backbone(name: str, device: str) -> Backbone:
    """ "tiny", "vit-ti" (12 blocks, width 192, 197 tokens) or "vit-l" (ViT-L/14: 24, 1024, 257) on a device.

    Raises: NotHere for another name.
    """
    if name == "tiny":
        return load_backbone("tiny:random", device=device)
    if name not in _VISION:
        raise NotHere(f"the backbone must be tiny, {' or '.join(_VISION)}, but is {name!r}")
    import open_clip

    from trainable.frozen.tower import tower_architecture
    from trainable.frozen.transform import make_transform

    text = {"context_length": 1, "vocab_size": 1, "width": 8, "heads": 1, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        visual = open_clip.CLIP(embed_dim=_EMBED_DIM[name], vision_cfg=_VISION[name], text_cfg=text).visual
    visual.eval().requires_grad_(False)
    return Backbone(
        name=name,
        architecture=tower_architecture(visual),
        transform=make_transform({}, image_size=_VISION[name]["image_size"]),
        fingerprint=fingerprint_state(visual.state_dict()),
        model_cfg={},
        visual=visual.to(device),
    )
