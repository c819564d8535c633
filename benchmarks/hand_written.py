"""The opponent of figure 6: a tail and its training step written for one configuration, with nothing in between.

q, k and v come from one matrix product, the last block computes keys and values for all tokens and all else for the
class token alone, adapters run beside the frozen weights, DoRA's norm is taken from W + sBA without gradient, and the
optimizer is one fused AdamW. On CUDA matrix products are in bfloat16, those outside of the blocks in TF32.
"""

import copy
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainable.architecture import VisionArchitecture
from trainable.tail.tail import Tail
from trainable.training.augment import Batch
from trainable.training.trainer import TailTrainer

RANK = 16


class Projection(nn.Module):
    """A linear map that trains in full, or frozen with LoRA or DoRA of rank 16 and scale 1 beside it."""

    def __init__(self, weight: Tensor, bias: Tensor, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Parameter(weight.clone(), requires_grad=kind == "full")
        self.bias = nn.Parameter(bias.clone(), requires_grad=kind == "full")
        if kind != "full":
            self.a = nn.Parameter(torch.randn(RANK, weight.shape[1]) * weight.shape[1] ** -0.5)
            self.b = nn.Parameter(torch.zeros(weight.shape[0], RANK))
        if kind == "dora":
            self.magnitude = nn.Parameter(weight.norm(dim=1))

    def forward(self, x: Tensor) -> Tensor:
        """[..., in] -> [..., out]."""
        if self.kind == "full":
            return F.linear(x, self.weight, self.bias)
        update = F.linear(F.linear(x, self.a), self.b)
        if self.kind == "lora":
            return F.linear(x, self.weight, self.bias) + update
        with torch.no_grad():
            norms = (self.weight + self.b @ self.a).norm(dim=1)
        return (F.linear(x, self.weight) + update) * (self.magnitude / norms) + self.bias


class Block(nn.Module):
    """open_clip's residual attention block; all three of q, k, v in one map where they train in full."""

    def __init__(self, architecture: VisionArchitecture, state: dict[str, Tensor], index: int, kind: str) -> None:
        super().__init__()
        prefix = f"transformer.resblocks.{index}."
        local = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        self.n_heads, self.width, self.eps = architecture.n_heads, architecture.width, architecture.ln_eps
        n_maps = 1 if kind == "full" else 3
        weights, biases = (local[f"attn.in_proj_{part}"].chunk(n_maps) for part in ("weight", "bias"))
        self.qkv = nn.ModuleList(Projection(w, b, kind) for w, b in zip(weights, biases, strict=True))
        self.out, self.fc, self.proj = (
            Projection(local[f"{name}.weight"], local[f"{name}.bias"], kind)
            for name in ("attn.out_proj", "mlp.c_fc", "mlp.c_proj")
        )
        trains = kind == "full"
        norms = [local[f"{norm}.{part}"] for norm in ("ln_1", "ln_2") for part in ("weight", "bias")]
        self.norms = nn.ParameterList(nn.Parameter(value.clone(), requires_grad=trains) for value in norms)

    def forward(self, x: Tensor, *, class_row_only: bool) -> Tensor:
        """[B, T, width] -> [B, T or 1, width]."""
        normed = F.layer_norm(x, (self.width,), self.norms[0], self.norms[1], self.eps)
        if class_row_only:
            x, q, k, v = x[:, :1], *self._class_row_maps(normed)
        elif len(self.qkv) == 1:
            q, k, v = self.qkv[0](normed).chunk(3, dim=-1)
        else:
            q, k, v = (part(normed) for part in self.qkv)
        q, k, v = (part.unflatten(-1, (self.n_heads, -1)).transpose(1, 2) for part in (q, k, v))
        x = x + self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        hidden = F.gelu(self.fc(F.layer_norm(x, (self.width,), self.norms[2], self.norms[3], self.eps)))
        output: Tensor = x + self.proj(hidden)
        return output

    def _class_row_maps(self, normed: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        row = normed[:, :1]
        if len(self.qkv) == 3:
            return self.qkv[0](row), self.qkv[1](normed), self.qkv[2](normed)
        maps, w = self.qkv[0], self.width
        keys, values = F.linear(normed, maps.weight[w:], maps.bias[w:]).chunk(2, dim=-1)
        return F.linear(row, maps.weight[:w], maps.bias[:w]), keys, values


class HandWritten(nn.Module):
    """From a tap to the three values, with the weights of an untrained `Tail` of the same kind."""

    def __init__(self, tail: Tail, state: dict[str, Tensor], kind: str) -> None:
        super().__init__()
        arch = tail.architecture
        first = arch.n_blocks - len(tail.blocks)
        self.blocks = nn.ModuleList(Block(arch, state, i, kind) for i in range(first, arch.n_blocks))
        self.ln_post, self.head = copy.deepcopy(tail.ln_post), copy.deepcopy(tail.head)
        self.domain_code = copy.deepcopy(tail.domain_code)
        self.register_buffer("proj", tail.proj.clone())

    def forward(self, x: Tensor, domains: Tensor) -> Tensor:
        """tokens [B, T, width] as they are stored, domains [B] -> [B, 3]."""
        x = x.float()
        with torch.autocast(x.device.type, torch.bfloat16, enabled=x.is_cuda):
            for i, block in enumerate(self.blocks):
                x = block(x, class_row_only=i == len(self.blocks) - 1)
            pooled = self.ln_post(x[:, 0])
        features = F.normalize(pooled.float() @ self.proj, dim=-1)
        output: Tensor = self.head(features + self.domain_code(domains))
        return output


def hand_written_step(trainer: TailTrainer, batch: Batch) -> Callable[[], None]:
    """An arm: the same step as the trainer's, of a trainer that has not trained yet."""
    arch = trainer.tail.architecture
    state = trainer.data.store.tail_state(arch.n_blocks - trainer.tap)
    model = HandWritten(trainer.tail, state, trainer.config.adapter.kind).to(trainer.device)
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=trainer.config.optim.lr, weight_decay=0.01, fused=True)

    def run() -> None:
        optimizer.zero_grad(set_to_none=True)
        with trainer.precision.step():
            F.mse_loss(model(batch.tokens, batch.domains), batch.targets).backward()
        optimizer.step()

    return run
