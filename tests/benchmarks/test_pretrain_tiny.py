"""The built-in tower's pretraining: other worlds than demos', the same weights again, and files that are read."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.linear_probe import probe
from benchmarks.other_worlds import FIRST_SEED, Pictures, draw_pictures
from benchmarks.pretrain_tiny import Recipe, pretrain
from benchmarks.pretrained_files import CARD_NAME, write_pretrained
from trainable.data.demo import draw_demo
from trainable.data.specimens import load_specimens
from trainable.errors import UserError
from trainable.frozen.backbone import load_backbone
from trainable.frozen.tiny_weights import read_tiny_state

FEW = {"n_worlds": 2, "n_specimens": 76, "image_size": 64, "n_processes": 1}
RECIPE = replace(Recipe(), n_steps=6, batch_size=16)


@pytest.fixture(scope="module")
def pictures() -> Pictures:
    return draw_pictures(**FEW)


@pytest.fixture(autouse=True)
def as_it_was() -> None:
    """torch as the pretraining found it."""
    with torch.random.fork_rng(devices=[]):
        yield
    torch.use_deterministic_algorithms(False)


def test_no_demo_has_the_seed_of_a_world_that_is_pretrained_on(tmp_path: Path) -> None:
    for index in range(Recipe().n_worlds):
        with pytest.raises(UserError, match="must hold, but got"):
            draw_demo(tmp_path / "demo", n_specimens=76, seed=FIRST_SEED + index)


@pytest.mark.seconds
def test_worlds_are_drawn_the_same_again_and_have_species_of_their_own(pictures: Pictures) -> None:
    again = draw_pictures(**FEW)
    assert np.array_equal(pictures.pixels, again.pixels)
    assert np.array_equal(pictures.species, again.species)
    assert pictures.pixels.shape == (152, 2, 64, 64, 3)
    first, second = pictures.species[:76], pictures.species[76:]
    assert first.max() < second.min()
    assert set(pictures.species.tolist()) == set(range(pictures.species.max() + 1))


@pytest.mark.slow
def test_several_processes_draw_the_same(pictures: Pictures) -> None:
    assert np.array_equal(draw_pictures(**{**FEW, "n_processes": 2}).pixels, pictures.pixels)


@pytest.mark.seconds
def test_a_beetle_is_drawn_at_two_places(pictures: Pictures) -> None:
    corners = pictures.pixels[:, :, :6, :6].mean(axis=(2, 3))
    assert np.abs(corners[:, 0] - corners[:, 1]).mean() > 5
    assert len(np.unique(corners[:, 1].round(), axis=0)) > len(np.unique(corners[:, 0].round(), axis=0)) / 2


@pytest.mark.seconds
def test_pretraining_changes_every_matrix_and_gives_the_same_weights_again(pictures: Pictures) -> None:
    first, second = pretrain(pictures, RECIPE), pretrain(pictures, RECIPE)
    assert all(torch.equal(first[name], second[name]) for name in first)
    start = load_backbone("tiny:random").visual.state_dict()
    assert first.keys() == start.keys()
    assert all(not torch.equal(first[name], start[name]) for name in first if "weight" in name)


def test_what_is_written_is_read_as_the_weights_in_half_precision(tmp_path: Path) -> None:
    state = load_backbone("tiny:random").visual.state_dict()
    write_pretrained(tmp_path, state, {"n_worlds": 2, "n_specimens": 76, "species": 90})
    read = read_tiny_state(state, tmp_path)
    assert all(torch.equal(read[name], state[name].half().float()) for name in state)
    assert "304 pictures of 2 drawn worlds" in (tmp_path / CARD_NAME).read_text()


@pytest.mark.slow
def test_a_linear_probe_of_tiny_beats_every_floor_on_unseen_sites_of_a_demo(tmp_path: Path) -> None:
    specimens = load_specimens("demo", cache_dir=tmp_path, n_processes=1)
    for found in probe(load_backbone("tiny"), specimens, folds=range(3)):
        assert found.beats_every_floor("id")
