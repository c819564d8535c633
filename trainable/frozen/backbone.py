"""The frozen vision tower: any open_clip `VisionTransformer`, cut once into stem | block 0..L-1 | ln_post | proj."""

import copy
import hashlib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from trainable.architecture import VisionArchitecture, is_in_tail
from trainable.errors import UserError
from trainable.frozen.model_folder import fetch_hub_model, find_local_model, name_problem
from trainable.frozen.tower import build_tiny_tower, load_tower, tower_architecture
from trainable.frozen.transform import Transform
from trainable.plain_values import JsonObject


@dataclass(kw_only=True)
class Backbone:
    """A frozen vision tower in evaluation mode, float32.

    Tap t (0..L) is the residual stream before block t: [B, n_tokens, width], t = number of frozen blocks below it.
    fingerprint: hex sha256 over the tower's names and weights. model_cfg: open_clip's own, to build the tower from.
    """

    name: str
    architecture: VisionArchitecture
    transform: Transform
    fingerprint: str
    model_cfg: JsonObject
    visual: nn.Module = field(repr=False)
    _half_blocks: nn.ModuleList | None = field(default=None, repr=False)

    @property
    def device(self) -> torch.device:
        """Where the tower is."""
        return next(self.visual.parameters()).device

    def stem(self, pixels: Tensor) -> Tensor:
        """float32 [B, 3, S, S] -> tap 0 [B, n_tokens, width]: patches, class token, positions, `ln_pre`."""
        tokens: Tensor = self.visual._embeds(pixels)  # type: ignore[operator]
        return tokens

    @torch.inference_mode()
    def forward_taps(self, pixels: Tensor, taps: Collection[int], *, half: bool = False) -> dict[int, Tensor]:
        """One forward pass to the deepest of `taps`: float32 [B, 3, S, S] -> {tap: [B, n_tokens, width]}.

        half: blocks compute in float16 after a float32 stem, and the taps are float16.
        Raises: ValueError for a tap outside 0..n_blocks.
        """
        check_taps(taps, self.architecture)
        found: dict[int, Tensor] = {}
        stream = self.stem(pixels)
        if half:
            stream = stream.half()
        blocks = self._blocks(half)
        for depth in range(max(taps) + 1):
            if depth > 0:
                stream = blocks[depth - 1](stream)
            if depth in taps:
                found[depth] = stream
        return found

    @torch.inference_mode()
    def embed(self, pixels: Tensor) -> Tensor:
        """The whole tower: float32 [B, 3, S, S] -> image features [B, embed_dim], not normalised."""
        output = self.visual(pixels)
        features: Tensor = output[0] if isinstance(output, tuple) else output  # a tower may return its tokens as well
        return features

    def tail_state(self, n_blocks: int) -> dict[str, Tensor]:
        """open_clip's names and float32 CPU weights of the top `n_blocks` blocks, `ln_post` and `proj` [width, E]."""
        first = self.architecture.n_blocks - n_blocks
        if not 0 <= first <= self.architecture.n_blocks:
            raise ValueError(f"0 <= n_blocks <= {self.architecture.n_blocks} must hold, but got {n_blocks}")
        state = self.visual.state_dict()
        return {name: value.float().cpu().contiguous() for name, value in state.items() if is_in_tail(name, first)}

    def _blocks(self, half: bool) -> nn.ModuleList:
        blocks: nn.ModuleList = self.visual.transformer.resblocks  # type: ignore[union-attr,assignment]
        if not half:
            return blocks
        if self._half_blocks is None:
            self._half_blocks = copy.deepcopy(blocks).half()
        return self._half_blocks


def load_backbone(spec: str, *, device: str = "cpu") -> Backbone:
    """The tower named `tiny`, `tiny:random`, `hf-hub:ORG/NAME` or `local-dir:PATH` (the last two are open_clip's).

    It is frozen, and float32. The global random state is neither read nor changed.
    Raises: UserError when the model is missing, holds no safetensors, or has a tower whose tail cannot be cut off.
    """
    if (problem := name_problem(spec)) is not None:
        raise UserError(problem)
    scheme, _, place = spec.partition(":")
    if scheme == "tiny":
        visual, transform, model_cfg = build_tiny_tower(is_random=place == "random")
    elif scheme == "hf-hub":
        visual, transform, model_cfg = load_tower(spec, fetch_hub_model(place))
    else:
        visual, transform, model_cfg = load_tower(spec, find_local_model(Path(os.path.expanduser(place))))
    visual.eval().requires_grad_(False)
    return Backbone(
        name=spec,
        architecture=tower_architecture(visual),
        transform=transform,
        fingerprint=fingerprint_state(visual.state_dict()),
        model_cfg=model_cfg,
        visual=visual.to(device),
    )


def check_taps(taps: Collection[int], architecture: VisionArchitecture) -> None:
    """Raises: ValueError unless there is a tap and all lie in 0..n_blocks."""
    if not taps or not all(0 <= tap <= architecture.n_blocks for tap in taps):
        raise ValueError(f"taps must lie in 0..{architecture.n_blocks} and be at least one, but got {sorted(taps)}")


def fingerprint_state(state: Mapping[str, Tensor]) -> str:
    """Hex sha256 over sorted names, dtypes, shapes and bytes of weights."""
    digest = hashlib.sha256()
    for name in sorted(state):
        value = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
