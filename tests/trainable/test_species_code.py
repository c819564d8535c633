"""A code for the specimens' species: off it changes nothing, unseen and missing names are *unknown*, it is exported."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.trainable.rounding import assert_rounded, forward_terms, predicted_in_float64
from tests.trainable.test_trainer import DATA, EVERYTHING_ON, make_config, same_tensors, without_times
from trainable.config import NO_NAME
from trainable.export.standalone import ExportedModel, Model, read_config
from trainable.export.submission import write_submission
from trainable.export.torch_program import write_program
from trainable.training.trainer import TailTrainer

WITH_CODE = {**EVERYTHING_ON, "tail.species_scale": 1.0, "augment.species_dropout": 0.2}
PIXELS = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
DOMAINS, INDICES = [1, 4, 9, 1000, None], torch.tensor([0, 1, 2, 3, 3])
NAMES = ["Carabus goryi", " Agonum nitens ", None, float("nan"), "Carabus granulatus"]
NAME_INDICES = torch.tensor([1, 0, 2, 2, 2])


def renamed(**names: str):
    """The specimens, some species under other names."""
    species = [names.get(name, name) for name in DATA.species]
    return replace(DATA, species=np.array(species))


def trained(data=DATA, n_epochs: int = 2, **values) -> TailTrainer:
    trainer = TailTrainer(make_config(3, **values), data, seed=0)
    for _ in range(n_epochs):
        trainer.train_epoch()
    return trainer


def test_off_it_is_not_there_whatever_the_names_and_their_dropout_are():
    off = {**EVERYTHING_ON, "tail.species_scale": 0.0}
    one = trained(**{**off, "augment.species_dropout": 0.0})
    other = trained(renamed(Amara="Zabrus"), **{**off, "augment.species_dropout": 0.7})

    assert same_tensors(one, other)
    assert not [name for name, _ in one.tail.named_parameters() if "species" in name]
    assert "known_species" not in one.state_dict()["values"]
    assert "species" not in str(one.state_dict()["values"]["config"]["tail"])


def test_all_else_begins_as_it_does_without_the_code():
    off, on = trained(n_epochs=0), trained(n_epochs=0, **{"tail.species_scale": 1.0})
    before, after = off.state_dict()["tensors"], on.state_dict()["tensors"]

    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert {name.split(".")[0] for name in after.keys() - before.keys()} == {"trained/species_code"}


@pytest.mark.seconds
def test_the_names_reach_the_predictions_and_their_spelling_does_not():
    one, same = trained(**WITH_CODE), trained(renamed(Amara="Badister"), **WITH_CODE)
    assert one.known_species == ("Amara", "Calathus")
    assert same.known_species == ("Badister", "Calathus")
    assert same_tensors(one, same)

    swapped = TailTrainer(one.config, renamed(Amara="Calathus", Calathus="Amara"), seed=0)
    with torch.no_grad():
        for (_, parameter), (_, value) in zip(
            swapped.tail.named_parameters(), one.tail.named_parameters(), strict=True
        ):
            parameter.copy_(value)
    assert not np.array_equal(swapped.predict_held_out(), one.predict_held_out())


@pytest.mark.seconds
def test_a_name_that_was_not_trained_on_is_as_good_as_none():
    held_out = np.setdiff1d(np.arange(DATA.store.n), DATA.split.train)

    def with_held_out_named(name: str) -> np.ndarray:
        species = DATA.species.astype("<U40")
        species[held_out] = name
        return trained(replace(DATA, species=species), **WITH_CODE).predict_held_out()

    assert np.array_equal(with_held_out_named("Elaphrus riparius"), with_held_out_named(NO_NAME))
    assert not np.array_equal(with_held_out_named("Amara"), with_held_out_named(NO_NAME))


@pytest.mark.seconds
def test_specimens_of_which_none_has_a_name_are_trained_on():
    nameless = trained(replace(DATA, species=np.array([NO_NAME] * DATA.store.n)), **WITH_CODE)

    assert nameless.known_species == ()
    assert np.isfinite(nameless.predict_held_out()).all()


def test_a_label_that_hangs_on_the_species_is_learnt_by_the_code_alone():
    species = np.array(["Amara", "Calathus"])[np.arange(DATA.store.n) % 2]
    labels = np.where(species == "Amara", -1.0, 1.0)[:, None] * np.ones(3)
    data = replace(DATA, species=species, labels=labels.astype(np.float32))
    loss = [
        [trainer.train_epoch()["train/loss"] for _ in range(12)][-1]
        for scale in (0.0, 1.0)
        for trainer in [TailTrainer(make_config(12, **{"tail.n_blocks": 0, "tail.species_scale": scale}), data, seed=0)]
    ]

    assert loss[0] > 0.8
    assert loss[1] < 0.1


@pytest.mark.seconds
def test_a_probe_first_fits_the_code_as_well():
    species = np.array(["Amara", "Calathus"])[np.arange(DATA.store.n) % 2]
    labels = np.where(species == "Amara", -1.0, 1.0)[:, None] * np.ones(3)
    data = replace(DATA, species=species, labels=labels.astype(np.float32))
    values = {"tail.probe_first": True, "optim.lr": 1e-9, "tail.n_blocks": 0}

    without, with_code = (
        TailTrainer(make_config(1, **values, **{"tail.species_scale": scale}), data, seed=0).train_epoch()
        for scale in (0.0, 1.0)
    )

    assert without["train/loss"] > 0.8
    assert with_code["train/loss"] < 0.1


@pytest.mark.seconds
def test_training_goes_on_to_the_bit_and_not_with_other_names():
    through = trained(n_epochs=3, **WITH_CODE)
    state = trained(n_epochs=1, **WITH_CODE).state_dict()
    resumed = TailTrainer(through.config, DATA, seed=0)
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.train_epoch()

    assert same_tensors(resumed, through)
    assert [without_times(m) for m in resumed.history] == [without_times(m) for m in through.history]
    with pytest.raises(Exception, match="known_species"):
        TailTrainer(through.config, renamed(Amara="Zabrus"), seed=0).load_state_dict(state)


@pytest.fixture(scope="module", params=[0.0, 0.5], ids=["species", "species and numbers"])
def species_model(request, exports, tower, tmp_path_factory):
    """Two members with a code for species: the tails, and the folder that they were exported to."""
    config = exports.config("lora", 2, species_scale=1.0, number_scale=request.param)
    tails = [exports.tail(tower, config, seed=seed) for seed in (0, 1)]
    return tails, exports.export(tmp_path_factory.mktemp("species") / "model", tower, config, *tails)


def known_numbers(model: ExportedModel):
    """Of five specimens, as they are given and as a tail reads them; None and None where the model reads none."""
    if not model.numbers:
        return None, None
    given = [{"size_mm": 14.75, "elevation": 530}, {"elevation": 840.0, "size_mm": None}, {}, None, {"size_mm": 1e9}]
    inputs = [[1, -1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1], [5, 0, 0, 1]]
    return given, torch.tensor(inputs, dtype=torch.float64)


@pytest.mark.seconds
def test_an_export_predicts_as_trained_with_names_without_and_with_unseen_ones(species_model, exports, tower):
    tails, folder = species_model
    model = ExportedModel.load(folder)
    assert model.known_species == exports.known_species
    assert torch.equal(model.species_indices(NAMES), NAME_INDICES)

    given, inputs = known_numbers(model)
    for names, indices in ((NAMES, NAME_INDICES), (None, torch.full((5,), 2))):
        members = [exports.as_trained(tower, tail, PIXELS, INDICES, indices, inputs) for tail in tails]
        wanted = torch.stack(members).mean(dim=0).clamp(-2.09, 2.09)
        found = model.predict_pixels(PIXELS, DOMAINS, names, given)
        assert_rounded(found, wanted, forward_terms(tower.architecture, 6))
    assert not np.array_equal(model.predict_pixels(PIXELS, DOMAINS, NAMES), model.predict_pixels(PIXELS, DOMAINS, None))


def test_each_specimen_is_predicted_by_its_own_name(species_model):
    model = ExportedModel.load(species_model[1])
    images = [Image.new("RGB", (30, 20), (90, 40, 10))] * 3
    names = ["Carabus goryi", None, "Agonum nitens"]

    together = model.predict(images, [4] * 3, names, batch_size=2)

    alone = [model.predict([image], [4], [name])[0] for image, name in zip(images, names, strict=True)]
    np.testing.assert_allclose(together, alone, atol=1e-5)
    assert len(np.unique(together.round(4), axis=0)) == 3
    with pytest.raises(ValueError, match="every image needs a species"):
        model.predict(images, [4] * 3, names[:2])


@pytest.mark.seconds
def test_a_submission_reads_the_names_that_it_is_given(species_model, tmp_path):
    folder = write_submission(species_model[1], tmp_path / "beetles")
    submitted, model = Model(), ExportedModel.load(folder)
    submitted._model = model
    point = {"relative_img": Image.new("RGB", (30, 20), (90, 40, 10)), "domainID": 4}

    def mu(**given) -> float:
        return submitted.predict([{**point, **given}])["SPEI_1y"]["mu"]

    assert mu() == mu(scientificName=None) == mu(scientificName="Carabus granulatus")
    assert mu(scientificName="Carabus goryi") == pytest.approx(
        model.predict([point["relative_img"]], [4], ["Carabus goryi"])[0, 1]
    )
    assert mu(scientificName="Carabus goryi") != mu()


def test_the_configuration_holds_the_names_and_the_card_says_so(species_model, exported):
    _, folder = species_model
    card = (folder / "README.md").read_text()

    assert read_config(folder)["known_species"] == ["Agonum nitens", "Carabus goryi"]
    codes = (
        "codes of domain, species and numbers" if "numbers" in read_config(folder) else "codes of domain and species"
    )
    for part in ("species trained on: 2", codes, "--species", "or not named, is *unknown*"):
        assert part in card
    assert "known_species" not in read_config(exported)
    assert "species" not in (exported / "README.md").read_text()


@pytest.mark.slow
def test_a_torch_program_takes_the_species_as_well(species_model, tmp_path):
    model = ExportedModel.load(species_model[1])

    program = torch.export.load(write_program(model, tmp_path / "beetles.pt2")).module()

    given, _ = known_numbers(model)
    inputs = [] if given is None else [model.number_inputs(given)]
    found = program(PIXELS, model.domain_indices(DOMAINS), model.species_indices(NAMES), *inputs).detach().numpy()
    assert_rounded(found, predicted_in_float64(model, PIXELS, DOMAINS, NAMES, given), 1000)
