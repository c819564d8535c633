"""Models to export: small towers with tails as training leaves them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from safetensors.torch import save_file

from tests.trainable.rounding import in_float64, taps_in_float64
from trainable.config import TrialConfig
from trainable.export.exporter import export_model
from trainable.export.facts import ModelFacts
from trainable.frozen.backbone import Backbone, load_backbone
from trainable.tail.tail import Tail
from trainable.training.assembly import tail_of
from trainable.training.number_units import NumberUnits

FACTS: dict[str, Any] = {
    "name": "lora",
    "epochs": 3,
    "backbone": "tiny",
    "backbone_fingerprint": "b" * 64,
    "data": "demo:120",
    "data_fingerprint": "d" * 64,
    "n_specimens": 58,
    "n_events": 40,
    "holdout": "both",
    "fold": 0,
    "held_out_sites": ("ABBY", "WREF"),
    "held_out_domains": (46, 99),
    "n_leaked_events": 0,
    "scores": {"score/all": 0.6123, "score/id": 0.5523, "r2_id/SPEI_1y": 0.125},
    "scores_of": "held-out events",
    "intervals": {"score/all": (0.5012, 0.7034)},
    "interval_level": 0.9,
    "floors": {"constant": {"score/all": 0.6187}, "domain_mean": {"score/all": 0.6298}},
    "verdict": "",
    "versions": {"torch": "2.6"},
}


class Exports:
    """Makes towers, trained tails and exports of them."""

    n_blocks = 6
    known_domains = (1, 4, 9)
    known_species = ("Agonum nitens", "Carabus goryi")
    number_units = NumberUnits(("size_mm", "elevation"), np.array([12.5, 840.0]), np.array([2.25, 310.0]))
    sigmas = {"known": [0.9, 0.8, 0.7], "unknown": [1.3, 1.2, 1.1]}  # noqa: RUF012
    kinds: dict[str, dict[str, Any]] = {  # noqa: RUF012
        "full": {"kind": "full"},
        "lora": {"kind": "lora", "rank": 4, "alpha": 8.0},
        "rslora": {"kind": "lora", "rank": 4, "alpha": 8.0, "rank_stabilized": True},
        "dora": {"kind": "dora", "rank": 4, "alpha": 8.0},
    }

    def tower(self, folder: Path, **vision: object) -> Backbone:
        """Six narrow blocks with random weights, read from an open_clip folder."""
        vision_cfg = {"image_size": 32, "layers": self.n_blocks, "width": 48, "head_width": 16, "patch_size": 8}
        text_cfg = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1}
        config = {"embed_dim": 24, "vision_cfg": vision_cfg | vision, "text_cfg": text_cfg}
        with torch.random.fork_rng():
            torch.manual_seed(0)
            state = open_clip.CLIP(**config).state_dict()
        folder.mkdir(parents=True)
        preprocess = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.25]}
        (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": preprocess}))
        save_file({name: value.contiguous() for name, value in state.items()}, folder / "open_clip_model.safetensors")
        return load_backbone(f"local-dir:{folder}")

    def config(self, kind: str, n_blocks: int, **tail: object) -> TrialConfig:
        """Four epochs of one of `kinds`."""
        return TrialConfig.from_dict({"epochs": 4, "adapter": self.kinds[kind], "tail": {"n_blocks": n_blocks, **tail}})

    def tail(self, backbone: Backbone, config: TrialConfig, *, seed: int = 0, n_between: int = 0) -> Tail:
        """Every trainable number has moved, as training moves it; n_between: frozen blocks below the trained ones."""
        architecture = backbone.architecture
        tap = architecture.n_blocks - config.tail.n_blocks - n_between
        state = backbone.tail_state(architecture.n_blocks - tap)
        n_known = {"n_domains": len(self.known_domains), "n_species": len(self.known_species)}
        n_numbers = len(self.number_units.names)
        tail = tail_of(config, architecture, state, tap=tap, **n_known, n_numbers=n_numbers, seed=seed)
        generator = torch.Generator().manual_seed(100 + seed)
        with torch.no_grad():
            for parameter in tail.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
        return tail.eval()

    def facts(self, config: TrialConfig, *, seeds: tuple[int, ...] = (0,), **changes: object) -> ModelFacts:
        """What a training would say of itself."""
        return ModelFacts(**{**FACTS, "config": config.to_dict(), "seeds": seeds, **changes})

    def export(self, folder: Path, backbone: Backbone, config: TrialConfig, *tails: Tail, **changes: Any) -> Path:
        """Export to `folder`; changes: other arguments of `export_model`."""
        given = {
            "known_domains": self.known_domains,
            "known_species": self.known_species if config.tail.species_scale else None,
            "number_units": self.number_units if config.tail.number_scale else None,
            "sigmas": self.sigmas,
            "facts": self.facts(config, seeds=tuple(range(len(tails)))),
        }
        return export_model(folder, backbone=backbone, tails=tails, **{**given, **changes})

    def as_trained(
        self,
        backbone: Backbone,
        tail: Tail,
        pixels: torch.Tensor,
        domains: torch.Tensor,
        species: torch.Tensor | None = None,
        numbers: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """What the tail, adapters and all, makes of the backbone's taps, in float64: [B, 3], not clipped."""
        tap = tail.architecture.n_blocks - len(tail.between) - len(tail.blocks)
        with torch.inference_mode():
            taps = taps_in_float64(backbone, pixels, [tap])
            return in_float64(tail)(taps[tap], domains, species=species, numbers=numbers)


@pytest.fixture(scope="session")
def exports() -> Exports:
    """Makes models and exports."""
    return Exports()


@pytest.fixture(scope="session")
def tower(exports: Exports, tmp_path_factory: pytest.TempPathFactory) -> Backbone:
    """A small tower that pools by its class token."""
    return exports.tower(tmp_path_factory.mktemp("towers") / "tok")


@pytest.fixture(scope="session")
def exported(exports: Exports, tower: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An exported LoRA model of two members; not to be changed, copy it."""
    config = exports.config("lora", 2)
    tails = [exports.tail(tower, config, seed=seed) for seed in (0, 1)]
    return exports.export(tmp_path_factory.mktemp("exports") / "model", tower, config, *tails)
