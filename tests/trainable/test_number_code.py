"""Numbers known when predicting: off they change nothing, missing and far ones are told apart, they are exported."""

import json
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pytest
import torch

from tests.trainable.rounding import assert_rounded, forward_terms, predicted_in_float64
from tests.trainable.test_trainer import DATA, EVERYTHING_ON, make_config, same_tensors, without_times
from trainable.errors import UserError
from trainable.export.onnx_packages import torch_problem
from trainable.export.onnx_program import write_onnx
from trainable.export.standalone import ExportedModel, read_config
from trainable.export.torch_program import write_program
from trainable.tail.number_code import NumberCode
from trainable.training.augment import Batch, EpochAugmentation, Strengths
from trainable.training.checkpoint import load_latest, save_checkpoint
from trainable.training.number_units import NumberUnits
from trainable.training.trainer import TailTrainer

NAMES = ("size_mm", "elevation")
WITH_CODE = {**EVERYTHING_ON, "tail.number_scale": 0.5, "augment.number_dropout": 0.2}
TRAIN = DATA.split.train


def with_numbers(numbers: np.ndarray):
    """The specimens, two numbers known of each."""
    return replace(DATA, numbers=numbers, targets=replace(DATA.targets, task=replace(DATA.targets.task, numbers=NAMES)))


def drawn(seed: int = 0) -> np.ndarray:
    """Two numbers a specimen, of other sizes; a fifth of them missing."""
    rng = np.random.default_rng(seed)
    numbers = np.array([12.0, 900.0]) + np.array([2.0, 300.0]) * rng.normal(size=(DATA.store.n, 2))
    return np.where(rng.random(numbers.shape) < 0.2, np.nan, numbers)


def trained(data, n_epochs: int = 2, **values) -> TailTrainer:
    trainer = TailTrainer(make_config(3, **values), data, seed=0)
    for _ in range(n_epochs):
        trainer.train_epoch()
    return trainer


@pytest.mark.seconds
def test_off_it_is_not_there_whatever_the_numbers_and_their_dropout_are():
    without = trained(DATA, **WITH_CODE)  # of a task that has none
    others = [
        trained(with_numbers(drawn()), **{**EVERYTHING_ON, "augment.number_dropout": dropout}) for dropout in (0.0, 0.7)
    ]

    for other in others:
        assert same_tensors(without, other)
        assert not [name for name, _ in other.tail.named_parameters() if "number" in name]
        assert "numbers" not in other.state_dict()["values"]
        assert "number_scale" not in other.state_dict()["values"]["config"]["tail"]


def test_all_else_begins_as_it_does_without_the_code():
    off, on = (trained(with_numbers(drawn()), 0, **{"tail.number_scale": scale}) for scale in (0.0, 0.3))
    before, after = off.state_dict()["tensors"], on.state_dict()["tensors"]

    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert after.keys() - before.keys() == {"trained/number_code.weight"}


@pytest.mark.parametrize("scale", [0.1, 3.0])
@pytest.mark.parametrize("n_numbers", [1, 4])
def test_the_code_of_standardised_numbers_starts_with_the_asked_norm_and_missing_ones_without_effect(n_numbers, scale):
    torch.manual_seed(0)
    code = NumberCode(n_numbers, 512, scale=scale)
    numbers, zeros = torch.randn(4000, n_numbers), torch.zeros(4000, n_numbers)

    norms = code(torch.cat([numbers, zeros], dim=1)).norm(dim=1)

    assert norms.square().mean().sqrt().item() == pytest.approx(scale, rel=0.1)
    assert not code(torch.cat([zeros, torch.ones_like(zeros)], dim=1)).any()


def test_numbers_are_read_in_units_of_the_training_specimens_alone():
    numbers = np.array([[10.0, 7.0], [14.0, 7.0], [np.nan, 7.0], [1e9, 8.0], [-1e300, np.nan]])
    units = NumberUnits.of(NAMES, numbers, np.array([0, 1, 2]))

    assert units.to_dict() == [
        {"name": "size_mm", "mean": 12.0, "sd": 2.0},
        {"name": "elevation", "mean": 7.0, "sd": 1e30},  # it never differs
    ]
    wanted = [[-1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [5, 0, 0, 0], [-5, 0, 0, 1]]
    np.testing.assert_allclose(
        units.read(numbers), wanted, atol=1e-20
    )  # 8 says no more than 7, of which nothing was learnt
    nothing = NumberUnits.of(NAMES, np.full((3, 2), np.nan), np.arange(3))
    np.testing.assert_allclose(nothing.read(numbers)[2], [0, 0, 1, 0], atol=1e-20)


@pytest.mark.parametrize("values", [[0.1] * 7, [1e-200, 2e-200], [1e30, -1e30]])
def test_units_are_finite_and_no_smaller_than_rounding_whatever_the_numbers(values):
    numbers = np.array(values)[:, None]
    units = NumberUnits.of(("number",), numbers, np.arange(len(values)))

    assert np.abs(units.read(numbers)).max() <= 1.0
    assert units.sd[0] == 1e30


def held_out_changed(change) -> tuple[TailTrainer, TailTrainer, np.ndarray]:
    """Trainers with numbers and with those of held-out specimens changed, and whose forecasts the change moves."""
    numbers = drawn()
    held_out = np.concatenate([DATA.split.id_, DATA.split.ood])
    changed = numbers.copy()
    changed[held_out] = change(numbers[held_out])
    one, other = (trained(with_numbers(of), **WITH_CODE) for of in (numbers, changed))
    pairs = zip(one.tail.named_parameters(), other.tail.named_parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for (_, ours), (_, theirs) in pairs)
    assert one.number_units.to_dict() == other.number_units.to_dict()
    return one, other, (one.predict_held_out() != other.predict_held_out()).any(axis=1)


@pytest.mark.seconds
def test_a_held_out_number_changes_the_forecast_of_its_specimen_alone_and_a_far_one_is_clipped():
    def far(numbers: np.ndarray) -> np.ndarray:
        return np.concatenate([np.full((1, 2), 1e6), numbers[1:]])

    one, other, differs = held_out_changed(far)
    _, further, _ = held_out_changed(lambda numbers: far(numbers) * np.array([[1e9]] + [[1.0]] * (len(numbers) - 1)))

    assert differs[0]
    assert not differs[1:].any()
    assert np.array_equal(other.predict_held_out(), further.predict_held_out())
    assert np.isfinite(one.predict_held_out()).all()


@pytest.mark.seconds
def test_a_missing_number_is_no_usual_one():
    mean = np.nanmean(drawn()[TRAIN], axis=0)
    *_, differs = held_out_changed(lambda numbers: np.where(np.isnan(numbers), mean, numbers))

    is_missing = np.isnan(drawn()[np.concatenate([DATA.split.id_, DATA.split.ood])]).any(axis=1)
    assert np.array_equal(differs, is_missing)


def test_a_label_that_hangs_on_a_number_is_learnt_by_the_code_alone():
    assert losses_of_a_number(epochs=15, **{"tail.n_blocks": 0})[0] > 0.8
    assert losses_of_a_number(epochs=15, **{"tail.n_blocks": 0})[1] < 0.1


@pytest.mark.seconds
def test_a_probe_first_fits_the_code_as_well():
    without, with_code = losses_of_a_number(
        epochs=1, **{"tail.probe_first": True, "optim.lr": 1e-9, "tail.n_blocks": 0}
    )

    assert without > 0.8
    assert with_code < 0.1


def losses_of_a_number(*, epochs: int, **values) -> list[float]:
    """The last training losses without and with the code, of labels that are 1 or -1 by a number."""
    size = np.array([9.0, 15.0])[np.arange(DATA.store.n) % 2]
    labels = np.where(size > 12, 1.0, -1.0)[:, None] * np.ones(3)
    data = with_numbers(np.stack([size, np.full(len(size), 400.0)], axis=1))
    data = replace(data, labels=labels.astype(np.float32))
    trainers = [
        TailTrainer(make_config(epochs, **values, **{"tail.number_scale": scale}), data, seed=0) for scale in (0.0, 1.0)
    ]
    return [[trainer.train_epoch()["train/loss"] for _ in range(epochs)][-1] for trainer in trainers]


def test_dropout_takes_all_numbers_of_a_specimen_for_missing_as_often_as_it_says():
    n = 2000
    numbers = torch.cat([torch.randn(n, 2), torch.zeros(n, 2)], dim=1)
    augmentation = EpochAugmentation(
        Strengths(number_dropout=0.3), channel_std=torch.ones(4), unknown_domain=0, seed=0, epoch=0
    )
    batch = Batch(torch.zeros(n, 2, 4), torch.zeros(n, dtype=torch.int64), torch.zeros(n, 3), torch.ones(n),
                  numbers=numbers)  # fmt: skip

    found = augmentation.apply(batch).numbers

    dropped = (found != numbers).any(dim=1)
    assert dropped.float().mean().item() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(found[dropped], torch.tensor([0.0, 0.0, 1.0, 1.0]).expand(int(dropped.sum()), 4))


@pytest.mark.seconds
def test_dropped_numbers_are_forecast_for_as_missing_ones():
    """Where none is ever kept, a model learns the same from other numbers."""
    always = {**EVERYTHING_ON, "tail.number_scale": 0.5, "augment.number_dropout": 1.0, "augment.ramp_fraction": 0.0}
    one, other = (trained(with_numbers(drawn(seed)), **always) for seed in (0, 1))

    assert all(
        torch.equal(ours, theirs)
        for (name, ours), (_, theirs) in zip(one.tail.named_parameters(), other.tail.named_parameters(), strict=True)
    )


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "dora"])
def test_training_goes_on_to_the_bit_and_not_with_other_numbers(kind, tmp_path):
    data = with_numbers(drawn())
    through = trained(data, 3, kind=kind, **WITH_CODE)
    save_checkpoint(tmp_path, trained(data, 1, kind=kind, **WITH_CODE).state_dict())
    state, _ = load_latest(tmp_path)
    resumed = TailTrainer(through.config, data, seed=0)
    resumed.load_state_dict(state)
    for _ in range(2):
        resumed.train_epoch()

    assert same_tensors(resumed, through)
    assert [without_times(m) for m in resumed.history] == [without_times(m) for m in through.history]
    with pytest.raises(UserError, match="numbers"):
        TailTrainer(through.config, with_numbers(drawn(1)), seed=0).load_state_dict(state)


def test_numbers_of_another_shape_than_the_task_has_are_refused():
    data = with_numbers(drawn())
    for wrong, found in ((None, "absent"), (data.numbers[:, :1], r"\[240, 1\]"), (data.numbers[:-1], r"\[239, 2\]")):
        with pytest.raises(ValueError, match=rf"numbers must be \[240, 2\] for size_mm, elevation, but are {found}"):
            replace(data, numbers=wrong)
    with pytest.raises(ValueError, match=r"numbers must be absent, but are \[240, 2\]"):
        replace(DATA, numbers=data.numbers)


# --- exported

PIXELS = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(1))
DOMAINS, INDICES = [1, 4, 9, 1000, None], torch.tensor([0, 1, 2, 3, 3])
GIVEN = [
    {"size_mm": 14.75, "elevation": 530},
    {"elevation": 840.0, "other": 3},
    None,
    {"size_mm": "large"},
    {"size_mm": 1e9},
]
INPUTS = torch.tensor([[1.0, -1, 0, 0], [0, 0, 1, 0], [0, 0, 1, 1], [0, 0, 1, 1], [5, 0, 0, 1]])


@pytest.fixture(scope="module")
def number_model(exports, tower, tmp_path_factory):
    """Two members that read numbers and no species: the tails, and the folder that they were exported to."""
    config = exports.config("lora", 2, number_scale=1.0)
    tails = [exports.tail(tower, config, seed=seed) for seed in (0, 1)]
    return tails, exports.export(tmp_path_factory.mktemp("numbers") / "model", tower, config, *tails)


def test_an_export_predicts_as_trained_with_numbers_without_and_with_far_ones(number_model, exports, tower):
    tails, folder = number_model
    model = ExportedModel.load(folder)
    assert model.numbers == NAMES
    assert torch.equal(model.number_inputs(GIVEN), INPUTS)

    missing = torch.tensor([0.0, 0, 1, 1]).expand(5, 4)
    for given, inputs in ((GIVEN, INPUTS), (None, missing)):
        members = [exports.as_trained(tower, tail, PIXELS, INDICES, None, inputs) for tail in tails]
        wanted = torch.stack(members).mean(dim=0).clamp(-2.09, 2.09)
        found = model.predict_pixels(PIXELS, DOMAINS, None, given)
        assert_rounded(found, wanted, forward_terms(tower.architecture, 6))
    assert not np.array_equal(model.predict_pixels(PIXELS, DOMAINS, None, GIVEN), model.predict_pixels(PIXELS, DOMAINS))


def test_numbers_are_read_as_the_training_reads_them(number_model, exports):
    model, units = ExportedModel.load(number_model[1]), exports.number_units
    numbers = np.random.default_rng(0).normal([12.5, 840.0], [9.0, 900.0], size=(400, 2))
    numbers[::7, 0] = np.nan
    rows = [dict(zip(NAMES, row, strict=True)) for row in numbers.tolist()]

    assert np.array_equal(model.number_inputs(rows).numpy(), units.read(numbers))
    with pytest.raises(ValueError, match="every image needs numbers"):
        model.predict([b"", b""], [1, 1], None, rows[:1])


def test_the_configuration_holds_names_means_and_sds_and_the_card_says_so(number_model, exported):
    _, folder = number_model
    card = (folder / "README.md").read_text()

    assert read_config(folder)["numbers"] == [
        {"name": "size_mm", "mean": 12.5, "sd": 2.25},
        {"name": "elevation", "mean": 840.0, "sd": 310.0},
    ]
    for part in (
        "numbers read: size_mm (mean 12.5, SD 2.25), elevation (mean 840, SD 310)",
        "codes of domain and numbers",
        "A number that is not given is taken for missing; one more than 5 SDs",
    ):
        assert part in card
    assert "numbers" not in read_config(exported)
    assert "SDs from the mean" not in (exported / "README.md").read_text()


def test_members_that_read_numbers_stand_beside_some_that_do_not(exports, tower, tmp_path):
    configs = [exports.config("lora", 2, number_scale=scale) for scale in (0.0, 1.0)]
    tails = [exports.tail(tower, config) for config in configs]
    model = ExportedModel.load(exports.export(tmp_path / "model", tower, configs[1], *tails))

    assert [member.get("reads_numbers") for member in model.config["members"]] == [None, True]
    members = [
        exports.as_trained(tower, tail, PIXELS, INDICES, None, INPUTS if scale else None)
        for scale, tail in zip((0, 1), tails, strict=True)
    ]
    wanted = torch.stack(members).mean(dim=0).clamp(-2.09, 2.09)
    assert_rounded(model.predict_pixels(PIXELS, DOMAINS, None, GIVEN), wanted, forward_terms(tower.architecture, 6))


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.skipif(torch_problem(torch.__version__) is not None, reason=str(torch_problem(torch.__version__)))
@pytest.mark.parametrize("species_scale", [0.0, 1.0])
def test_an_onnx_file_takes_the_numbers_and_says_how_they_are_read(species_scale, exports, tower, tmp_path):
    config = exports.config("full", 1, number_scale=1.0, species_scale=species_scale)
    model = ExportedModel.load(exports.export(tmp_path / "model", tower, config, exports.tail(tower, config)))

    file = write_onnx(model, tmp_path / "beetles.onnx", sizes=[1.0] * 3).path

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    names = ["Carabus goryi", None, "Agonum nitens", None, None]
    given = {"images": PIXELS, "domains": model.domain_indices(DOMAINS), "species": model.species_indices(names),
             "numbers": model.number_inputs(GIVEN)}  # fmt: skip
    inputs = [given.name for given in session.get_inputs()]
    assert inputs == ["images", "domains", *(["species"] * bool(species_scale)), "numbers"]
    (found,) = session.run(["mu"], {name: given[name].numpy() for name in inputs})
    assert_rounded(found, predicted_in_float64(model, PIXELS, DOMAINS, names, GIVEN), 1000)
    told = {entry.key: json.loads(entry.value) for entry in onnx.load(file).metadata_props}
    assert told["numbers"] == model.config["numbers"]


@pytest.mark.slow
def test_a_torch_program_takes_the_numbers_as_well(number_model, tmp_path):
    model = ExportedModel.load(number_model[1])

    program = torch.export.load(write_program(model, tmp_path / "beetles.pt2")).module()

    found = program(PIXELS, model.domain_indices(DOMAINS), model.number_inputs(GIVEN)).detach().numpy()
    assert_rounded(found, predicted_in_float64(model, PIXELS, DOMAINS, None, GIVEN), 1000)
