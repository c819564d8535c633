"""The opponent of figure 11: one full fine-tuning as the published systems run it, in the order in which they do.

Every training first decodes all images and runs the frozen blocks over them in fp32, in batches, and concatenates the
token maps in memory. A `DataLoader` over a `TensorDataset` collates them row by row. The last N blocks are open_clip's
own, computed for all tokens, then ln_post, proj, unit norm, domain code and the regressor 768-512-128-32-3; Adam with
two learning rates, MSE. After each epoch the validation images are predicted, and at each improvement of the mean
image-level R2 the whole model is saved. Left out, to their favour: the text tower in every saved file.
"""

import copy
import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from trainable.frozen.backbone import Backbone
from trainable.training.trial_data import TrialData

BATCH_SIZE = 64
LR, BLOCK_FACTOR = 1e-4, 0.01


class PublishedTail(nn.Module):
    """The last N blocks of the tower, as they are, and the published head."""

    def __init__(self, backbone: Backbone, *, n_blocks: int, n_domains: int) -> None:
        super().__init__()
        visual = copy.deepcopy(backbone.visual).requires_grad_(True)
        width = backbone.architecture.embed_dim
        self.blocks = visual.transformer.resblocks[backbone.architecture.n_blocks - n_blocks :]  # type: ignore[index,union-attr]
        self.ln_post, self.proj = visual.ln_post, visual.proj.requires_grad_(False)  # type: ignore[union-attr]
        self.embedding = nn.Embedding(n_domains + 1, width)
        self.code = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width))
        sizes = (width, 512, 128, 32, 3)
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.GELU())]
        self.head = nn.Sequential(*layers[:-1])

    def forward(self, tokens: Tensor, domains: Tensor) -> Tensor:
        """[B, tokens, width], int64 [B] -> [B, 3]."""
        for block in self.blocks:
            tokens = block(tokens)
        features = F.normalize(self.ln_post(tokens)[:, 0] @ self.proj, dim=-1)
        output: Tensor = self.head(features + self.code(self.embedding(domains)))
        return output

    def groups(self) -> list[dict[str, object]]:
        """The optimizer's: blocks and ln_post slow, the head fast, the domain code in none."""
        slow = [*self.blocks.parameters(), *self.ln_post.parameters()]
        return [{"params": slow, "lr": LR * BLOCK_FACTOR}, {"params": list(self.head.parameters()), "lr": LR}]


class SeedsTraining:
    """One training from images to its last epoch."""

    def __init__(self, backbone: Backbone, encoded: Sequence[bytes], data: TrialData, *, n_blocks: int) -> None:
        """encoded: the images; data: their labels, domains and split."""
        self._backbone, self._encoded, self._data, self._n_blocks = backbone, encoded, data, n_blocks

    def run(self, *, n_epochs: int, folder: Path) -> None:
        """Extract, train, validate, save."""
        known = np.unique(self._data.domain_ids[self._data.split.train])
        domains = torch.from_numpy(np.searchsorted(known, self._data.domain_ids).astype(np.int64))
        labels, tokens = torch.from_numpy(self._data.labels), self._extract()
        held_out = np.concatenate([self._data.split.id_, self._data.split.ood])
        sides = [
            TensorDataset(tokens[rows], domains[rows], labels[rows]) for rows in (self._data.split.train, held_out)
        ]
        train, validation = DataLoader(sides[0], BATCH_SIZE, shuffle=True), DataLoader(sides[1], BATCH_SIZE)
        model = PublishedTail(self._backbone, n_blocks=self._n_blocks, n_domains=len(known))
        optimizer = torch.optim.Adam(model.groups())
        best = -1.0
        for _ in range(n_epochs):
            train_epoch(model, train, optimizer)
            if (r2 := _mean_r2(model, validation)) > best:
                best = r2
                torch.save({**self._backbone.visual.state_dict(), **model.state_dict()}, folder / "best.pt")

    @torch.no_grad()
    def _extract(self) -> Tensor:
        architecture, maps = self._backbone.architecture, []
        for start in range(0, len(self._encoded), BATCH_SIZE):
            batch = torch.stack([self._pixels(image) for image in self._encoded[start : start + BATCH_SIZE]])
            stream = self._backbone.stem(batch)
            for block in self._backbone.visual.transformer.resblocks[: architecture.n_blocks - self._n_blocks]:  # type: ignore[index,union-attr]
                stream = block(stream)
            maps.append(stream)
        return torch.cat(maps)

    def _pixels(self, encoded: bytes) -> Tensor:
        side = self._backbone.architecture.image_size
        image = Image.open(io.BytesIO(encoded)).convert("RGB").resize((side, side), Image.Resampling.BICUBIC)
        return self._backbone.transform.normalize(torch.from_numpy(np.array(image))[None])[0]


def train_epoch(
    model: PublishedTail, loader: "DataLoader[tuple[Tensor, ...]]", optimizer: torch.optim.Optimizer
) -> None:
    """Their inner loop."""
    model.train()
    for tokens, domains, labels in loader:
        optimizer.zero_grad()
        loss = F.mse_loss(model(tokens, domains), labels)
        loss.backward()
        optimizer.step()


@torch.no_grad()
def _mean_r2(model: PublishedTail, loader: "DataLoader[tuple[Tensor, ...]]") -> float:
    model.eval()
    found = [(model(tokens, domains), labels) for tokens, domains, labels in loader]
    predictions, labels = (torch.cat(part) for part in zip(*found, strict=True))
    residual, total = ((labels - predictions) ** 2).sum(0), ((labels - labels.mean(0)) ** 2).sum(0)
    return float((1 - residual / total).mean())
