"""Pretrain the built-in tower on drawn beetles of worlds that no demo has, and write its weights and their card.

python -m benchmarks.pretrain_tiny [--out FOLDER] [--threads N]     pretrain (under half an hour on two cores)
python -m benchmarks.pretrain_tiny --probe [--backbone tiny]        linear probes of a tower on demos, beside the floors

Two aims at once: tell the species of all worlds apart (cross entropy on unit features), and know a beetle again that
was drawn at another place (InfoNCE, van den Oord et al. 2018, arXiv:1807.03748, on a projection of them). The first
alone would throw away what differs within a species. No label of drought is read.
"""

import argparse
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.linear_probe import probe
from benchmarks.other_worlds import FIRST_SEED, Pictures, draw_pictures
from benchmarks.pretrained_files import write_pretrained
from trainable.allowance import usable_cpus
from trainable.data.specimens import load_specimens
from trainable.frozen.backbone import load_backbone
from trainable.frozen.tower import build_tiny_tower
from trainable.frozen.transform import Transform


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the tower is pretrained.

    n_specimens: of each world, every one drawn twice. batch_size: specimens of a step. lr: of AdamW, at its highest:
    it rises over the first twentieth and falls as a cosine. sharpness: of the cosines between features and species.
    temperature: of the cosines between the drawings of a batch.
    """

    n_worlds: int = 20
    n_specimens: int = 2000
    n_steps: int = 600
    batch_size: int = 96
    lr: float = 1e-3
    weight_decay: float = 0.05
    sharpness: float = 16.0
    temperature: float = 0.2
    projection: tuple[int, int] = (256, 64)
    seed: int = 0


class Aims(nn.Module):
    """What is learned beside the tower, and thrown away: a direction for each species, and the projection."""

    def __init__(self, embed_dim: int, n_species: int, recipe: Recipe) -> None:
        super().__init__()
        hidden, out = recipe.projection
        self.species = nn.Linear(embed_dim, n_species, bias=False)
        self.projection = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), nn.Linear(hidden, out))
        self.recipe = recipe

    def forward(self, features: Tensor, species: Tensor) -> tuple[Tensor, Tensor]:
        """features [2 B, E], a specimen's drawings one after the other; species int64 [B] -> both losses."""
        unit = F.normalize(features, dim=-1)
        cosines = unit @ F.normalize(self.species.weight, dim=-1).T
        names = F.cross_entropy(cosines * self.recipe.sharpness, species.repeat_interleave(2))
        projected = F.normalize(self.projection(unit * unit.shape[1] ** 0.5), dim=-1)
        alike = projected[0::2] @ projected[1::2].T / self.recipe.temperature
        same = torch.arange(len(species))
        return names, (F.cross_entropy(alike, same) + F.cross_entropy(alike.T, same)) / 2


def pretrain(pictures: Pictures, recipe: Recipe) -> dict[str, Tensor]:
    """The tower's float32 weights; the same to the bit for the same pictures, recipe, threads, machine and torch."""
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)
    visual, transform, _ = build_tiny_tower(is_random=True)
    visual.train().requires_grad_(True)
    aims = Aims(visual.proj.shape[1], int(pictures.species.max()) + 1, recipe)
    weights = [*visual.parameters(), *aims.parameters()]
    groups = [
        {"params": [w for w in weights if w.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share_of_lr(step, recipe.n_steps))
    for step, (pixels, species) in enumerate(_batches(pictures, transform, recipe)):
        names, again = aims(visual(pixels), species)
        optimizer.zero_grad()
        (names + again).backward()
        nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 49:
            print(f"step {step + 1} of {recipe.n_steps}: species {names:.3f}, again {again:.3f}", flush=True)
    return {name: value.detach() for name, value in visual.state_dict().items()}


def _share_of_lr(step: int, n_steps: int) -> float:
    return float(min((step + 1) / max(n_steps // 20, 1), 0.5 * (1 + np.cos(np.pi * step / n_steps))))


def _batches(pictures: Pictures, transform: Transform, recipe: Recipe) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels [2 B, 3, S, S], half of them mirrored, and species [B]; an epoch deals every specimen once."""
    rng, order = np.random.default_rng(recipe.seed), np.empty(0, dtype=np.int64)
    for _ in range(recipe.n_steps):
        while len(order) < recipe.batch_size:
            order = np.concatenate([order, rng.permutation(len(pictures.species))])
        rows, order = order[: recipe.batch_size], order[recipe.batch_size :]
        pixels = transform.normalize(torch.from_numpy(pictures.pixels[rows]).flatten(0, 1))
        mirrored = torch.from_numpy(rng.random(len(pixels)) < 0.5)[:, None, None, None]
        yield torch.where(mirrored, pixels.flip(-1), pixels), torch.from_numpy(pictures.species[rows])


def show_probes(backbone: str, worlds: list[int], n_folds: int, cache: Path) -> None:
    """Print a table of ID and OOD scores of linear probes and floors, a row a world and fold."""
    tower = load_backbone(backbone)
    print(f"linear probes of {backbone}, score ID / OOD, lower is better")
    for world in worlds:
        specimens = load_specimens(f"demo:1500:{world}", cache_dir=cache, n_processes=1)
        for found in probe(tower, specimens, range(n_folds)):
            rows = {"probe": found.probe, **found.floors}
            scores = ", ".join(f"{name} {m['score/id']:.3f} / {m['score/ood']:.3f}" for name, m in rows.items())
            verdict = "beats" if found.beats_every_floor("id") else "DOES NOT BEAT"
            print(f"world {world} fold {found.fold}: {scores}: {verdict} every floor on ID", flush=True)


def pretrain_and_write(folder: Path, n_threads: int) -> None:
    """Draw, train, and write weights, checksum and card to `folder`."""
    recipe, started = Recipe(), time.monotonic()
    pictures = draw_pictures(
        n_worlds=recipe.n_worlds, n_specimens=recipe.n_specimens, image_size=64, n_processes=usable_cpus()
    )
    drawn = time.monotonic()
    print(f"drew {2 * len(pictures.species)} pictures in {drawn - started:.0f} s", flush=True)
    state = pretrain(pictures, recipe)
    trained = time.monotonic()
    made = {
        **asdict(recipe),
        "species": int(pictures.species.max()) + 1,
        "first_seed": FIRST_SEED,
        "threads": n_threads,
        "seconds_drawing": round(drawn - started),
        "seconds_training": round(trained - drawn),
        "torch": torch.__version__,
    }
    write_pretrained(folder, state, made)
    print(f"wrote {folder}; its files belong in trainable/frozen/sentinel_tiny")


def main() -> None:
    """Pretrain, or probe; see the module."""
    parser = argparse.ArgumentParser(description="pretrain the built-in tower, or probe one")
    parser.add_argument("--probe", action="store_true", help="probe a tower and pretrain none")
    parser.add_argument("--backbone", default="tiny", help="whose features are probed [tiny]")
    parser.add_argument("--worlds", type=int, nargs="+", default=[0, 1, 2, 3, 4], help="of the demo [0 to 4]")
    parser.add_argument("--folds", type=int, default=2, help="of each world, from 0 on [2]")
    parser.add_argument("--cache", type=Path, default=Path("pretrained"), help="for the demos' pictures [pretrained]")
    parser.add_argument("--out", type=Path, default=Path("pretrained"), help="for weights and card [pretrained]")
    parser.add_argument("--threads", type=int, default=1, help="of training; other numbers round otherwise [1]")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.probe:
        show_probes(arguments.backbone, arguments.worlds, arguments.folds, arguments.cache)
    else:
        pretrain_and_write(arguments.out, arguments.threads)


if __name__ == "__main__":
    main()
