"""The exported folder: equal to what was trained, whole or not there, read without trust."""

import io
import json
import pickle
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch.nn import functional as F

from tests.trainable.rounding import assert_rounded, forward_terms, in_float64, predicted_in_float64, taps_in_float64
from trainable.architecture import VisionArchitecture
from trainable.checksums import from_json
from trainable.data import class_list, task_source
from trainable.data.decoding import decode as decode_in_training
from trainable.errors import UserError
from trainable.export import standalone
from trainable.export.exporter import ExportMismatch, copy_export, export_model, write_config
from trainable.export.facts import ModelFacts
from trainable.export.standalone import ExportedModel, ModelFolderError, decode, read_config
from trainable.export.submission import write_submission
from trainable.export.torch_program import write_program
from trainable.frozen.backbone import Backbone
from trainable.scoring.group_floor import GroupFloor, SharedFloor
from trainable.tail.tail import Regressor, Tail
from trainable.training import number_units

N_IMAGES = 5
DOMAINS = [1, 4, 9, 1000, None]
ARCHITECTURE = VisionArchitecture(
    n_blocks=6, width=48, n_heads=3, mlp_width=192, n_tokens=17, embed_dim=24, image_size=32
)
N_TERMS = forward_terms(ARCHITECTURE, 6)  # of towers that `exports` makes


def draw_pixels(n: int = N_IMAGES, size: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


def picture(mode: str, width: int, height: int) -> Image.Image:
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (7, 9, 3), dtype=np.uint8)).resize((width, height))
    if mode.startswith("I;16"):
        return Image.fromarray(rng.integers(0, 65536, (height, width), dtype=np.uint16)).convert(mode)
    if mode in ("I", "F"):
        values = np.asarray(coarse.convert("L"), dtype=np.int32) * 300 - 9000
        return Image.fromarray(values if mode == "I" else values.astype(np.float32))
    if mode == "PA":
        return coarse.convert("P").convert("PA")
    if mode == "La":
        return coarse.convert("LA").convert("La")
    if mode == "RGBa":
        return coarse.convert("RGBA").convert("RGBa")
    if mode == "LAB":
        return Image.merge("LAB", coarse.split())
    return coarse.convert(mode)


def encoded(image: Image.Image, file_format: str = "PNG") -> bytes:
    file = io.BytesIO()
    image.save(file, file_format)
    return file.getvalue()


@pytest.fixture(scope="module", params=["tok", "avg"])
def pooled_tower(request, exports, tmp_path_factory) -> Backbone:
    return exports.tower(tmp_path_factory.mktemp("pooled") / request.param, pool_type=request.param)


@pytest.fixture
def copy(exported, tmp_path) -> Path:
    return Path(shutil.copytree(exported, tmp_path / "copy"))


# --- equal to what was trained


@pytest.mark.parametrize("depths", [(0, 3), pytest.param((1, 2, 4, 5, 6), marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["full", "lora", "rslora", "dora"])
def test_the_merged_export_predicts_what_the_model_with_adapters_predicts(
    kind, depths, pooled_tower, exports, tmp_path
):
    pixels, indices = draw_pixels(), torch.tensor([0, 1, 2, 3, 3])
    for n_blocks in depths:
        config = exports.config(kind, n_blocks)
        tail = exports.tail(pooled_tower, config, n_between=int(n_blocks == 3))
        before = {name: value.clone() for name, value in tail.state_dict().items()}

        model = ExportedModel.load(exports.export(tmp_path / "model", pooled_tower, config, tail))

        wanted = exports.as_trained(pooled_tower, tail, pixels, indices).clamp(-2.09, 2.09)
        assert_rounded(model.predict_pixels(pixels, DOMAINS), wanted, N_TERMS)
        assert all(torch.equal(before[name], value) for name, value in tail.state_dict().items())


@pytest.mark.parametrize("vision", [{"final_ln_after_pool": True}, {"ls_init_value": 0.1}, {"output_tokens": True}])
def test_towers_of_other_forms_are_exported_too(vision, exports, tmp_path):
    backbone = exports.tower(tmp_path / "tower", **vision)
    config = exports.config("lora", 2)
    tail = exports.tail(backbone, config)

    model = ExportedModel.load(exports.export(tmp_path / "model", backbone, config, tail))

    wanted = exports.as_trained(backbone, tail, draw_pixels(2), torch.tensor([0, 3])).clamp(-2.09, 2.09)
    assert_rounded(model.predict_pixels(draw_pixels(2), [1, None]), wanted, N_TERMS)


@pytest.mark.seconds
@pytest.mark.parametrize(("head", "widths"), [("narrow", [24, 64, 3]), ("linear", [24, 3])])
def test_every_kind_of_regressor_is_exported_and_becomes_a_program(head, widths, exports, tower, tmp_path):
    config = exports.config("lora", 1, head=head, head_dropout=0.1)
    tail = exports.tail(tower, config)
    model = ExportedModel.load(exports.export(tmp_path / "model", tower, config, tail))
    pixels, indices = draw_pixels(), torch.tensor([0, 1, 2, 3, 3])

    assert model.config["head_widths"] == widths
    wanted = exports.as_trained(tower, tail, pixels, indices).clamp(-2.09, 2.09)
    assert_rounded(model.predict_pixels(pixels, DOMAINS), wanted, N_TERMS)
    if head == "linear":  # no layer to loop over
        write_program(model, tmp_path / "model.pt2")  # compares the two


def test_a_model_without_domain_code_is_exported(exports, tower, tmp_path):
    config = exports.config("full", 1, domain_scale=0.0)
    model = ExportedModel.load(exports.export(tmp_path / "model", tower, config, exports.tail(tower, config)))
    pixels = draw_pixels()

    assert np.array_equal(model.predict_pixels(pixels, [1] * 5), model.predict_pixels(pixels, [None] * 5))
    assert not [name for name in load_file(tmp_path / "model" / "model.safetensors") if "domain" in name]


@pytest.mark.rounding
def test_the_tower_strict_loads_into_plain_open_clip(exports, pooled_tower, tmp_path):
    config = exports.config("dora", 2)
    tail = exports.tail(pooled_tower, config)
    folder = exports.export(tmp_path / "model", pooled_tower, config, tail)
    state, model_cfg = load_file(folder / "model.safetensors"), read_config(folder)["model_cfg"]
    visual = open_clip.CLIP(**model_cfg, text_cfg=pooled_tower.model_cfg["text_cfg"]).visual.eval()

    visual.load_state_dict({n.removeprefix("visual."): v for n, v in state.items() if "visual." in n}, strict=True)

    with torch.inference_mode():
        features = F.normalize(visual(draw_pixels()), dim=-1)
        wanted = in_float64(tail).embed(taps_in_float64(pooled_tower, draw_pixels(), [4])[4])
    assert_rounded(features, wanted, N_TERMS)


@pytest.mark.rounding
def test_an_ensemble_predicts_its_members_mean_and_stores_what_they_share_once(exports, tower, exported):
    tails = [exports.tail(tower, exports.config("lora", 2), seed=seed) for seed in (0, 1)]
    pixels, indices = draw_pixels(), torch.tensor([0, 1, 2, 3, 3])
    members = [exports.as_trained(tower, tail, pixels, indices) for tail in tails]

    model = ExportedModel.load(exported)

    wanted = torch.stack(members).mean(dim=0).clamp(-2.09, 2.09)
    assert_rounded(model.predict_pixels(pixels, DOMAINS), wanted, N_TERMS)
    own = {n.removeprefix("member_1.") for n in load_file(exported / "model.safetensors") if n.startswith("member_")}
    frozen = ("visual.conv1", "visual.transformer.resblocks.3", "visual.proj", "visual.transformer.resblocks.4.ln_1")
    assert "visual.transformer.resblocks.4.attn.in_proj_weight" in own
    assert not [name for name in own if name.startswith(frozen)]
    first, second = model.members
    assert first.visual.conv1.weight.data_ptr() == second.visual.conv1.weight.data_ptr()


def test_what_members_have_in_common_is_computed_once(exported):
    model, runs = ExportedModel.load(exported), Counter()
    for block in {block for member in model.members for block in member.blocks}:
        block.register_forward_hook(lambda block, *_: runs.update([block]))
    pixels, indices = draw_pixels(), torch.tensor([0, 1, 2, 3, 3])

    found = model.predict_pixels(pixels, DOMAINS)

    first, second = (list(member.blocks) for member in model.members)
    assert first[:4] == second[:4]  # two of six are trained
    assert not {*first[4:]} & {*second[4:]}
    assert runs == dict.fromkeys([*first, *second[4:]], 1)
    with torch.inference_mode():
        apart = torch.stack([member(pixels, indices) for member in model.members]).double()
    assert np.array_equal(found, apart.mean(dim=0).clamp(-2.09, 2.09).numpy())


def unlike_tails(exports, tower) -> list[Tail]:
    """No two of one form: adapters or none, other depths, regressors and codes."""
    configs = [
        exports.config("lora", 2),
        exports.config("full", 0, head="linear", domain_scale=0.0),
        exports.config("dora", 3, head="narrow", species_scale=0.3),
    ]
    return [exports.tail(tower, config, seed=seed) for seed, config in enumerate(configs)]


@pytest.mark.seconds
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_an_ensemble_of_unlike_members_predicts_their_mean(order, exports, tower, tmp_path):
    tails = [unlike_tails(exports, tower)[i] for i in order]
    pixels, indices, names = draw_pixels(), torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 1, 2, 2, 0])
    of_each = [exports.as_trained(tower, tail, pixels, indices, names) for tail in tails]

    folder = exports.export(
        tmp_path / "model", tower, exports.config("lora", 2), *tails, known_species=exports.known_species
    )
    model = ExportedModel.load(folder)

    wanted = torch.stack(of_each).mean(dim=0).clamp(-2.09, 2.09)
    species = ["Agonum nitens", "Carabus goryi", None, "Nobody knows", "Agonum nitens"]
    assert_rounded(model.predict_pixels(pixels, DOMAINS, species), wanted, N_TERMS)
    assert model.ensemble.n_shared == 3  # three of six blocks are trained at most
    write_program(model, tmp_path / "model.pt2")  # compares the two
    write_submission(folder, tmp_path / "submission")
    submitted = ExportedModel.load(tmp_path / "submission")
    assert np.array_equal(
        submitted.predict_pixels(pixels, DOMAINS, species), model.predict_pixels(pixels, DOMAINS, species)
    )


def floors_of(exports, shares) -> list[SharedFloor]:
    """Tables of made-up values, of known groups and of all others."""
    known = {"domain": exports.known_domains, "species": exports.known_species}
    rng = np.random.default_rng(3)
    return [
        SharedFloor(
            by=by,
            share=share,
            floor=GroupFloor(known=np.asarray(known[by]), table=rng.normal(size=(len(known[by]) + 1, 3))),
        )
        for by, share in shares.items()
    ]


@pytest.mark.seconds
@pytest.mark.rounding
@pytest.mark.parametrize("shares", [{"domain": 0.3}, {"species": 0.9}, {"species": 0.2, "domain": 0.3}], ids=", ".join)
@pytest.mark.parametrize("which", [[0, 1], [0, 1, 2]], ids=["no code for species", "one with a code"])
def test_floors_have_their_shares_of_what_is_predicted_for_known_domains(which, shares, exports, tower, tmp_path):
    tails, floors = [unlike_tails(exports, tower)[i] for i in which], floors_of(exports, shares)
    pixels, indices, names = draw_pixels(), torch.tensor([0, 1, 2, 3, 3]), torch.tensor([0, 1, 2, 2, 0])
    of_each = [exports.as_trained(tower, tail, pixels, indices, names) for tail in tails]
    known = exports.known_species if "species" in shares or 2 in which else None

    folder = exports.export(
        tmp_path / "model", tower, exports.config("lora", 2), *tails, known_species=known, floors=floors
    )
    model = ExportedModel.load(folder)

    own = torch.stack(of_each).mean(dim=0)
    wanted = (1 - sum(shares.values())) * own
    for floor in floors:
        rows = {"domain": indices, "species": names}[floor.by]
        wanted = wanted + floor.share * torch.from_numpy(floor.floor.table)[rows]
    wanted[3:] = own[3:]  # of domains that were not trained on
    species = ["Agonum nitens", "Carabus goryi", None, "Nobody knows", "Agonum nitens"] if known else None
    assert model.reads_species == bool(known)
    assert_rounded(model.predict_pixels(pixels, DOMAINS, species), wanted.clamp(-2.09, 2.09), N_TERMS)
    if known:
        alike = model.predict_pixels(pixels, DOMAINS, [None] * N_IMAGES)
        assert np.array_equal(model.predict_pixels(pixels, DOMAINS), alike)  # where no names are given, all are unknown
    if len(shares) == len(which):
        write_program(model, tmp_path / "model.pt2")  # compares the two
        write_submission(folder, tmp_path / "submission")
        submitted = ExportedModel.load(tmp_path / "submission").predict_pixels(pixels, DOMAINS, species)
        assert np.array_equal(submitted, model.predict_pixels(pixels, DOMAINS, species))


def check_refused(folder: Path, change, message: str) -> None:
    """A configuration that was changed, with checksums to match, is refused in one line."""
    config = json.loads((folder / "config.json").read_text())
    change(config)
    write_config(folder, config, unchecked=("README.md",))

    with pytest.raises(ModelFolderError) as raised:
        ExportedModel.load(folder)

    assert len(raised.value.problems) == 1
    assert message in raised.value.problems[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config.update(floors={"colour": 0.5}), "`floors` must be an object of the shares"),
        (lambda config: config.update(floors={"domain": 1.0}), "`floors` must be an object of the shares"),
        (lambda config: config.update(floors={"domain": 0.0}), "`floors` must be an object of the shares"),
        (lambda config: config.update(floors={"species": 0.5}), "floors are by species where some are known"),
    ],
)
def test_floors_that_are_not_as_they_must_be_are_refused_in_one_line(change, message, exports, tower, tmp_path):
    tail = unlike_tails(exports, tower)[0]
    folder = exports.export(
        tmp_path / "model", tower, exports.config("lora", 2), tail, floors=floors_of(exports, {"domain": 0.5})
    )

    check_refused(folder, change, message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda config: config["members"].pop(), "there are n_members members"),
        (lambda config: config["members"][2].update(head_widths=[24, 64, 2]), "head_widths lead from embed_dim"),
        (lambda config: config["members"][1].update(domain_code=[3, 24]), "domain_code has a row for each known"),
        (lambda config: config["members"][2].update(head_widths=[24, 5, 3]), "member_2.head.0.weight has shape"),
        (lambda config: config["members"][1].update(domain_code=[4, 24], head_widths=[24, 9, 3]), "it lacks member_1."),
        (lambda config: config.pop("known_species"), "members read species where some are known"),
        (lambda config: config["members"][0].update(colour="red"), "`members` must be a list of objects"),
        (lambda config: config["members"][0].pop("reads_species"), "`members` must be a list of objects"),
    ],
)
def test_members_that_are_not_as_they_must_be_are_refused_in_one_line(change, message, unlike, tmp_path):
    folder = Path(shutil.copytree(unlike, tmp_path / "copy"))

    check_refused(folder, change, message)


@pytest.fixture(scope="module")
def unlike(exports, tower, tmp_path_factory) -> Path:
    """An exported ensemble of `unlike_tails`."""
    folder, tails = tmp_path_factory.mktemp("unlike") / "model", unlike_tails(exports, tower)
    return exports.export(folder, tower, exports.config("lora", 2), *tails, known_species=exports.known_species)


def test_adapters_alone_are_kept_in_pefts_own_format(exported, exports, tower, tmp_path):
    from peft import PeftConfig

    kept = PeftConfig.from_pretrained(exported / "adapter")
    weights = load_file(exported / "adapter_1" / "adapter_model.safetensors")

    assert (kept.peft_type, kept.r, kept.base_model_name_or_path) == ("LORA", 4, tower.name)
    assert "transformer.resblocks.4.attn.q_proj" in kept.target_modules
    assert "base_model.model.transformer.resblocks.5.mlp.c_fc.lora_A.weight" in weights
    config = exports.config("full", 2)
    assert not (exports.export(tmp_path / "full", tower, config, exports.tail(tower, config)) / "adapter").exists()


def test_what_config_and_facts_say_comes_back(exports, tower, exported):
    model = ExportedModel.load(exported)
    facts = exports.facts(exports.config("lora", 2), seeds=(0, 1))

    assert ModelFacts.from_dict(model.config["facts"]) == facts
    assert model.known_domains == exports.known_domains
    assert model.config["transform"] == tower.transform.to_dict()


def test_metrics_that_are_not_finite_are_left_out_of_the_facts(exports):
    facts = exports.facts(exports.config("lora", 2), scores={"score/all": 0.5, "r2_id/SPEI_1y": float("nan")})

    assert ModelFacts.from_dict(json.loads(json.dumps(facts.to_dict()))).scores == {"score/all": 0.5}


# --- pixels as in training


@pytest.mark.parametrize("resize_mode", ["shortest", "longest", "squash"])
@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA", "LA", "P", "1", "I;16", "I", "F", "CMYK"])
def test_decoding_equals_that_of_the_training_to_the_bit(mode, resize_mode):
    for interpolation, fill in (("bicubic", 0), ("bilinear", 120)):
        transform = {"resize_mode": resize_mode, "interpolation": interpolation, "fill_color": fill}
        for width, height in ((91, 67), (40, 77), (64, 64), (33, 200), (1, 1), (3, 5), (2, 400)):
            image = encoded(picture(mode, width, height), "TIFF" if mode in ("CMYK", "I;16", "I", "F") else "PNG")
            found = decode(image, {**transform, "image_size": 48})

            np.testing.assert_array_equal(found, decode_in_training(image, 48, **transform))
            np.testing.assert_array_equal(decode(Image.open(io.BytesIO(image)), {**transform, "image_size": 48}), found)


def test_pixels_equal_those_of_the_training_to_the_bit(exported, tower):
    images = [encoded(picture("RGB", 90 + i, 70), "JPEG") for i in range(3)]
    arrays = np.stack([decode_in_training(image, 32) for image in images])

    pixels = ExportedModel.load(exported).pixels(images)

    assert torch.equal(pixels, tower.transform.normalize(torch.from_numpy(arrays)))


@pytest.mark.seconds
@pytest.mark.parametrize(
    "mode",
    ["1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV", "LAB", "I", "F", "I;16"],
)
def test_images_of_every_mode_and_size_are_predicted(exported, mode):
    model = ExportedModel.load(exported)
    images = [picture(mode, *size) for size in ((1, 1), (40, 60), (1, 3000), (3000, 1))]

    predictions = model.predict(images, [1, 4, None, 77])

    assert predictions.shape == (4, 3)
    assert np.isfinite(predictions).all()


@pytest.mark.rounding
def test_batches_and_their_size_do_not_change_predictions(exported):
    model, told = ExportedModel.load(exported), []
    images = [encoded(picture("RGB", 40 + i, 60)) for i in range(7)]
    domains = np.array([1, 4, 9, 50, 1, 4, 9])

    by_three = model.predict(images, domains, batch_size=3, progress=lambda done, total: told.append((done, total)))

    assert told == [(3, 7), (6, 7), (7, 7)]
    exact = predicted_in_float64(model, model.pixels(images), domains.tolist())
    for predictions in (by_three, model.predict(images, domains.tolist(), batch_size=32)):
        assert_rounded(predictions, exact, N_TERMS)
    assert model.predict([], []).shape == (0, 3)
    with pytest.raises(ValueError, match="every image needs a domain"):
        model.predict(images, [1])


def test_all_domains_that_were_not_trained_on_are_one(exported):
    model, pixels = ExportedModel.load(exported), draw_pixels(1)
    unknown = [model.predict_pixels(pixels, [domain]) for domain in (None, 3, -1, 10**9, float("nan"))]

    assert all(np.array_equal(unknown[0], other) for other in unknown)
    assert not np.array_equal(unknown[0], model.predict_pixels(pixels, [4]))
    assert np.array_equal(model.predict_pixels(pixels, [np.int64(4)]), model.predict_pixels(pixels, [4]))


def test_predictions_stay_within_the_labels_range(exports, tower, tmp_path):
    config = exports.config("full", 1)
    tail = exports.tail(tower, config)
    with torch.no_grad():
        tail.head.layers[-1].bias.copy_(torch.tensor([50.0, -50.0, 0.0]))

    predictions = ExportedModel.load(exports.export(tmp_path / "m", tower, config, tail)).predict_pixels(
        draw_pixels(), DOMAINS
    )

    assert (predictions[:, 0] == 2.09).all()
    assert (predictions[:, 1] == -2.09).all()


def test_an_event_gets_its_specimens_mean_and_the_sigma_of_its_domain(exported, exports):
    model = ExportedModel.load(exported)
    predictions = np.array([[0.0, 1.0, 2.0], [1.0, 1.0, 0.0], [0.5, 0.5, 0.5], [0.1, 0.2, 0.3]])

    forecasts = model.forecast(predictions, ["a", "a", 7, "c"], [1, 4, 77, None])

    assert forecasts["a"] == {"mu": [0.5, 1.0, 1.0], "sigma": exports.sigmas["known"]}
    assert forecasts[7] == {"mu": [0.5, 0.5, 0.5], "sigma": exports.sigmas["unknown"]}
    assert forecasts["c"]["sigma"] == exports.sigmas["unknown"]
    assert list(forecasts) == ["a", 7, "c"]


# --- whole or not at all


class ShiftedRegressor(Regressor):
    """Does what no export can know of."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + 1e-4


@pytest.mark.seconds
def test_an_export_that_differs_from_what_was_trained_is_refused_and_leaves_nothing(exports, tower, tmp_path):
    config = exports.config("lora", 1)
    tail = exports.tail(tower, config)
    kept = exports.export(tmp_path / "kept", tower, config, tail)
    before = {path: path.stat().st_mtime_ns for path in kept.rglob("*")}
    tail.head.__class__ = ShiftedRegressor

    for place in ("kept", "new"):
        with pytest.raises(ExportMismatch, match=r"member 0 differs by 0\.0001"):
            exports.export(tmp_path / place, tower, config, tail)

    assert [path.name for path in tmp_path.iterdir()] == ["kept"]
    assert {path: path.stat().st_mtime_ns for path in kept.rglob("*")} == before


def test_weights_that_are_not_finite_are_not_exported(exports, tower, tmp_path):
    config = exports.config("full", 1)
    tail = exports.tail(tower, config)
    with torch.no_grad():
        tail.head.layers[0].bias[0] = float("nan")

    with pytest.raises(ExportMismatch):
        exports.export(tmp_path / "model", tower, config, tail)


@pytest.mark.parametrize("sigma", [0.0, -1.0, float("nan"), float("inf")])
def test_a_sigma_that_is_no_sigma_is_not_exported(exports, tower, tmp_path, sigma):
    config = exports.config("full", 0)
    with pytest.raises(ValueError, match="finite and above 0"):
        exports.export(
            tmp_path / "model",
            tower,
            config,
            exports.tail(tower, config),
            sigmas={"known": [1.0, 1.0, sigma], "unknown": [1.0] * 3},
        )


def test_an_earlier_export_is_replaced_whole(exports, tower, copy):
    (copy / "results.json").write_text("{}")
    (copy / "evaluation").mkdir()
    config = exports.config("full", 1)

    exports.export(copy, tower, config, exports.tail(tower, config))

    assert {path.name for path in copy.iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert [path.name for path in copy.parent.iterdir()] == ["copy"]
    assert ExportedModel.load(copy).config["n_members"] == 1


def test_evidence_is_kept_beside_the_model(exports, tower, tmp_path):
    config, evidence = exports.config("full", 0), {"id": {"labels": [[0.5, 0.25, 1.0]]}, "folds": [1, 2]}

    folder = exports.export(tmp_path / "m", tower, config, exports.tail(tower, config), evidence=evidence)

    assert from_json((folder / "confirmation.json").read_bytes()) == evidence
    assert "confirmation.json" in read_config(folder)["sha256"]


@pytest.mark.parametrize("content", ["notes.txt", "file", "other-config", "beside"])
def test_a_place_that_holds_something_else_is_refused_and_left_as_it_is(content, exports, tower, exported, tmp_path):
    place = tmp_path / "place"
    if content == "file":
        place.write_text("mine")
    elif content == "beside":
        shutil.copytree(exported, place)
        (place / "notes.txt").write_text("mine")
    else:
        place.mkdir()
        (place / ("config.json" if content == "other-config" else content)).write_text('{"kind": "mine"}')
    before = sorted(str(path) for path in tmp_path.rglob("*"))
    config = exports.config("full", 0)

    with pytest.raises(UserError) as raised:
        exports.export(place, tower, config, exports.tail(tower, config))

    assert len(raised.value.problems) == 1
    assert str(place) in raised.value.problems[0]
    assert sorted(str(path) for path in tmp_path.rglob("*")) == before


def test_an_empty_folder_is_a_place(exports, tower, tmp_path):
    config = exports.config("full", 0)

    ExportedModel.load(exports.export(tmp_path, tower, config, exports.tail(tower, config)))


def test_a_copy_of_an_export_is_the_same_model(copy, tmp_path):
    copied = copy_export(copy, tmp_path / "other")

    assert {p.relative_to(copied): p.read_bytes() for p in copied.rglob("*") if p.is_file()} == {
        p.relative_to(copy): p.read_bytes() for p in copy.rglob("*") if p.is_file()
    }


# --- read without trust


class RunsCode:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return Path.touch, (self.file,)


def test_a_pickle_in_place_of_safetensors_is_refused_unread(copy, tmp_path):
    ran = tmp_path / "ran"
    (copy / "model.safetensors").write_bytes(pickle.dumps(RunsCode(ran)))
    with pytest.raises(ModelFolderError, match=r"must be safetensors, but is not; it is refused unread"):
        ExportedModel.load(copy)

    (copy / "model.safetensors").rename(copy / "pytorch_model.bin")
    with pytest.raises(ModelFolderError, match=r"only pytorch_model.bin: a pickle, .* is refused unread"):
        ExportedModel.load(copy)
    assert not ran.exists()


def alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


def change_config(folder: Path, **values: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **values}))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: alter(folder / "model.safetensors"), r"model.safetensors must be as it was exported"),
        (lambda folder: (folder / "model.safetensors").unlink(), r"model.safetensors must exist, but does not"),
        (lambda folder: (folder / "adapter" / "adapter_config.json").unlink(), r"adapter_config.json must exist"),
        (lambda folder: (folder / "config.json").unlink(), r"config.json must be a JSON file"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config.json must be a JSON file"),
        (lambda folder: (folder / "config.json").write_text("{}"), r"must be that of an exported model"),
        (lambda folder: change_config(folder, sigmas={}), r"config.json must be as it was exported, but was altered"),
        (lambda folder: change_config(folder, format_version=2), r"must have format_version 1, but has 2"),
        (lambda folder: change_config(folder, sha256={"../x": "0"}), r"must name files inside of the folder"),
        (shutil.rmtree, r"must be a folder, but .* is not there"),
    ],
)
def test_a_folder_that_is_not_as_it_was_exported_is_refused_in_one_line(copy, damage, message):
    damage(copy)

    with pytest.raises(ModelFolderError, match=message) as raised:
        ExportedModel.load(copy)
    assert len(raised.value.problems) == 1
    assert "\n" not in raised.value.problems[0]


def test_all_problems_of_a_folder_are_told_at_once(copy):
    alter(copy / "model.safetensors")
    alter(copy / "adapter" / "adapter_model.safetensors")
    (copy / "adapter_1" / "adapter_config.json").unlink()
    with pytest.raises(ModelFolderError) as raised:
        ExportedModel.load(copy)
    assert len(raised.value.problems) == 3

    (copy / "model.safetensors").unlink()
    change_config(copy, format_version=99)
    with pytest.raises(ModelFolderError) as raised:
        read_config(copy)
    assert len(raised.value.problems) == 2
    assert pickle.loads(pickle.dumps(raised.value)).problems == raised.value.problems  # noqa: S301


def test_weights_that_do_not_fit_the_configuration_are_one_clear_line(exports, tower, tmp_path):
    config = exports.config("full", 0)
    wrong = replace(tower, model_cfg={**tower.model_cfg, "embed_dim": 16})

    with pytest.raises(ModelFolderError, match=r"must hold a model that config\.json describes") as raised:
        exports.export(tmp_path / "model", wrong, config, exports.tail(tower, config))
    assert len(str(raised.value).splitlines()) == 1
    assert not list(tmp_path.iterdir())


# --- the card


def card(exports, tower, folder: Path, **changes: object) -> str:
    config = exports.config("lora", 0)
    facts = exports.facts(config, **changes)
    exports.export(folder / "m", tower, config, exports.tail(tower, config), facts=facts)
    return (folder / "m" / "README.md").read_text()


def test_the_card_names_floors_intervals_sigmas_and_known_limits(exports, tower, tmp_path):
    text = card(exports, tower, tmp_path)

    for part in (
        "| floor constant | 0.6187 |", "| floor domain_mean | 0.6298 |", "0.6123, 90% interval [0.5012, 0.7034]",
        "| known | 0.9000 | 0.8000 | 0.7000 |", "| unknown | 1.3000 | 1.2000 | 1.1000 |", "[-2.09, 2.09]",
        "3 of 4 epochs", "domains trained on: 1, 4, 9", "sites ABBY, WREF; domains 46, 99", "built-in demo data",
        "`tiny` has seen drawn beetles only", "this very model", "epoch was chosen on the very events",
    ):  # fmt: skip
        assert part in text
    assert "leaks" not in text
    assert "random weights" not in text
    drawn = card(exports, tower, tmp_path / "drawn", backbone="tiny:random")
    assert "`tiny:random` has random weights" in drawn


def test_the_card_says_where_scores_come_from_and_that_a_split_leaks(exports, tower, tmp_path):
    leaky = card(exports, tower, tmp_path, holdout="official", n_leaked_events=67, data="hf://a/b", backbone="hf-hub:x")
    assert "**The official split leaks**: 67 held-out events" in leaky
    assert "demo" not in leaky
    assert "random weights" not in leaky

    everything = {"holdout": "all", "fold": None, "held_out_sites": (), "held_out_domains": ()}
    confirmed = card(exports, tower, tmp_path, **everything, scores_of="confirmation", verdict="lora beats default")
    assert "each of the confirmation's folds; this model itself has seen all of the data" in confirmed
    assert "Verdict: lora beats default" in confirmed

    unmeasured = card(exports, tower, tmp_path, **everything, scores={}, scores_of="", intervals={}, floors={})
    assert "Not measured" in unmeasured


@pytest.mark.parametrize(
    ("floor", "said"),
    [
        (0.6187, "Its score gains 0.0064 (1%) on the floor `constant`"),
        (0.6123, "**It loses to the floor `constant`, which sees no image**"),
        (0.5, "its score is 0.6123, and that of the floor 0.5000"),
    ],
)
def test_the_card_says_whether_a_model_gains_on_the_best_floor_or_loses_to_it(exports, tower, tmp_path, floor, said):
    floors = {"constant": {"score/all": floor}, "domain_mean": {"score/all": 0.9}}
    text = card(exports, tower, tmp_path, floors=floors)

    assert said in text.partition("## Known limits")[2]
    assert ("gains" in text, "loses" in text) == (floor > 0.6123, floor <= 0.6123)


def test_exporting_leaves_the_trained_tail_and_the_backbone_as_they_were(exports, tower, tmp_path):
    config = exports.config("dora", 1)
    tail = exports.tail(tower, config).train()
    before = {name: value.clone() for name, value in tower.visual.state_dict().items()}

    export_model(
        tmp_path / "model",
        backbone=tower,
        tails=[tail],
        known_domains=exports.known_domains,
        sigmas=exports.sigmas,
        facts=exports.facts(config),
    )

    assert tail.training
    assert hasattr(tail.blocks, "peft_config")
    assert all(torch.equal(before[name], value) for name, value in tower.visual.state_dict().items())


def test_the_file_that_travels_alone_has_the_limits_of_a_task():
    assert (standalone.MOST_TARGETS, standalone.MOST_CLASSES) == (task_source.MOST_TARGETS, class_list.MOST_CLASSES)
    assert (standalone.MOST_NUMBERS, standalone.MOST_SDS) == (task_source.MOST_NUMBERS, number_units.MOST_SDS)
