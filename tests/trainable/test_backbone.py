"""The vision tower: cut where open_clip has its seams, loaded without pickles, refused when it has no such seams."""

import hashlib
import json
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub.constants
import numpy as np
import open_clip
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch.nn import functional as F

from trainable.architecture import is_in_tail
from trainable.errors import UserError
from trainable.frozen.backbone import Backbone, fingerprint_state, load_backbone
from trainable.frozen.tower import TINY

VISION = {"image_size": 32, "layers": 3, "width": 64, "head_width": 16, "patch_size": 8}
TEXT = {"context_length": 4, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1}
TOWERS = {
    "tok": {},
    "avg": {"pool_type": "avg"},
    "tok-ln-after-pool": {"final_ln_after_pool": True},
    "avg-ln-after-pool": {"pool_type": "avg", "final_ln_after_pool": True},
    "layer-scale": {"ls_init_value": 0.1},
    "no-ln-pre": {"no_ln_pre": True},
    "patch-dropout": {"patch_dropout": 0.5},
    "output-tokens": {"output_tokens": True},
    "sin-cos": {"pos_embed_type": "sin_cos_2d"},
    "eps": {"norm_kwargs": {"eps": 1e-3}},
    "mlp-ratio": {"mlp_ratio": 2.5},
    "quick-gelu": {"quick_gelu": True},
}


def write_model(folder: Path, *, dtype: torch.dtype = torch.float32, **changes) -> open_clip.CLIP:
    """A real open_clip model with random weights in a `local-dir:` folder; returns it as open_clip would run it."""
    quick_gelu = changes.pop("quick_gelu", False)
    config = {"embed_dim": 24, "vision_cfg": VISION | changes, "text_cfg": TEXT, "quick_gelu": quick_gelu}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = open_clip.CLIP(**config).eval()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config, "preprocess_cfg": {}}))
    weights = {name: value.to(dtype).contiguous() for name, value in model.state_dict().items()}
    save_file(weights, folder / "open_clip_model.safetensors")
    return model


def write_config(folder: Path, **vision_cfg) -> str:
    config = {"embed_dim": 24, "vision_cfg": vision_cfg, "text_cfg": TEXT}
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    save_file({"visual.proj": torch.zeros(1)}, folder / "open_clip_model.safetensors")
    return f"local-dir:{folder}"


def draw_pixels(n: int = 3, size: int = 32) -> torch.Tensor:
    return torch.randn(n, 3, size, size, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module")
def tiny() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="module", params=TOWERS)
def tower(request, tmp_path_factory) -> tuple[Backbone, torch.nn.Module]:
    folder = tmp_path_factory.mktemp(request.param)
    reference = write_model(folder, **TOWERS[request.param])
    return load_backbone(f"local-dir:{folder}"), reference.visual


@pytest.mark.rounding
def test_split_model_equals_whole_model(tower) -> None:
    """To the bit, by any kernel: the split takes the same operations on tensors laid out alike, in the same order."""
    backbone, reference = tower
    arch, pixels = backbone.architecture, draw_pixels()
    with torch.inference_mode():
        whole = reference(pixels)
    whole = whole[0] if isinstance(whole, tuple) else whole

    state = backbone.tail_state(0)
    stream = backbone.forward_taps(pixels, [arch.n_blocks])[arch.n_blocks]

    def ln_post(x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, (arch.width,), state["ln_post.weight"], state["ln_post.bias"], arch.ln_eps)

    def pool(x: torch.Tensor) -> torch.Tensor:
        return x[:, 0] if arch.pool == "tok" else x[:, 1:].mean(dim=1)

    pooled = ln_post(pool(stream)) if arch.ln_post_after_pool else pool(ln_post(stream))
    assert torch.equal(pooled @ state["proj"], whole)
    assert torch.equal(backbone.embed(pixels), whole)


@pytest.mark.rounding
def test_taps_are_the_residual_stream_to_the_bit(tower) -> None:
    backbone, reference = tower
    pixels, n_blocks = draw_pixels(), backbone.architecture.n_blocks
    with torch.inference_mode():
        embedded = reference._embeds(pixels)
        _, after_blocks = reference.transformer.forward_intermediates(embedded, indices=list(range(n_blocks)))
    taps = backbone.forward_taps(pixels, range(n_blocks + 1))
    assert list(taps) == list(range(n_blocks + 1))
    for tap, expected in enumerate([embedded, *after_blocks]):
        assert torch.equal(taps[tap], expected)


@pytest.mark.rounding
def test_one_pass_gives_a_tap_the_same_bits_whatever_else_is_asked(tiny: Backbone) -> None:
    pixels = draw_pixels(size=64)
    everything = tiny.forward_taps(pixels, range(7))
    for tap in range(7):
        alone = tiny.forward_taps(pixels, {tap})
        assert list(alone) == [tap]
        assert torch.equal(alone[tap], everything[tap])


def test_architecture_says_what_the_config_says(tower) -> None:
    backbone, reference = tower
    arch = backbone.architecture
    assert (arch.n_blocks, arch.width, arch.n_heads, arch.n_tokens, arch.embed_dim) == (3, 64, 4, 17, 24)
    assert arch.mlp_width == reference.transformer.resblocks[0].mlp.c_fc.out_features
    assert arch.layer_scale == ("transformer.resblocks.0.ls_1.gamma" in reference.state_dict())
    assert arch.quick_gelu == (type(reference.transformer.resblocks[0].mlp.gelu).__name__ == "QuickGELU")


def test_tail_state_holds_open_clip_names_of_the_top_blocks(tower) -> None:
    backbone, reference = tower
    expected = {
        k for k in reference.state_dict() if k.startswith(("transformer.resblocks.2.", "ln_post")) or k == "proj"
    }
    state = backbone.tail_state(1)
    assert set(state) == expected
    assert all(torch.equal(value, reference.state_dict()[name]) for name, value in state.items())
    assert set(backbone.tail_state(3)) == {k for k in reference.state_dict() if is_in_tail(k, 0)}
    with pytest.raises(ValueError, match="0 <= n_blocks <= 3"):
        backbone.tail_state(4)


@pytest.mark.rounding
def test_half_precision_blocks_stay_close_to_float32(tiny: Backbone) -> None:
    pixels = draw_pixels(size=64)
    exact, half = tiny.forward_taps(pixels, [6])[6], tiny.forward_taps(pixels, [6], half=True)[6]
    assert half.dtype == torch.float16
    n_roundings = 6 * 11  # behind one another: blocks times norms, products, softmax, activation and residual sums
    assert ((half.float() - exact).norm() / exact.norm()) < n_roundings**0.5 * torch.finfo(torch.float16).eps / 2
    assert torch.equal(tiny.forward_taps(pixels, [6])[6], exact)  # the float32 blocks are untouched


@pytest.mark.rounding
def test_normalize_equals_open_clips_own_transform() -> None:
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    reference = open_clip.image_transform(64, is_train=False)(Image.fromarray(image))
    pixels = load_backbone("tiny").transform.normalize(torch.from_numpy(image)[None])
    assert torch.equal(pixels[0], reference)


@pytest.mark.parametrize(
    ("spec", "fingerprint"),
    [
        ("tiny", "028343faa262e129dde5d005a9db085dbcc95a83283a0b5d8ae6cdcae545b701"),
        ("tiny:random", "60410dc6e3909323f6cae7cd1e4551443edf2b33e067bcf92d68e21bec2053b5"),
    ],
)
def test_the_built_in_tower_is_the_same_on_every_machine(spec: str, fingerprint: str) -> None:
    backbone = load_backbone(spec)
    assert backbone.fingerprint == fingerprint
    assert backbone.name == spec
    assert TINY in open_clip.list_models()
    arch = backbone.architecture
    assert (arch.n_blocks, arch.width, arch.image_size, arch.pool) == (6, 128, 64, "tok")


def test_loading_leaves_the_global_random_state_alone(tmp_path: Path) -> None:
    write_model(tmp_path)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    load_backbone("tiny")
    load_backbone(f"local-dir:{tmp_path}")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])  # noqa: NPY002


def test_tower_is_frozen_and_in_evaluation_mode(tiny: Backbone) -> None:
    assert not tiny.visual.training
    assert not any(p.requires_grad for p in tiny.visual.parameters())
    assert not any(p.is_meta for p in tiny.visual.parameters())


def test_local_folder_gives_the_tower_open_clip_saved(tmp_path: Path) -> None:
    reference = write_model(tmp_path)
    backbone = load_backbone(f"local-dir:{tmp_path}")
    assert backbone.fingerprint == fingerprint_state(reference.visual.state_dict())
    assert (
        open_clip.create_model(f"local-dir:{tmp_path}").visual.state_dict().keys()
        == backbone.visual.state_dict().keys()
    )


def test_half_precision_weights_are_read_as_float32(tmp_path: Path) -> None:
    reference = write_model(tmp_path, dtype=torch.float16)
    loaded = load_backbone(f"local-dir:{tmp_path}").visual.state_dict()
    assert all(torch.equal(v, reference.visual.state_dict()[k].half().float()) for k, v in loaded.items())


def test_preprocessing_of_the_config_is_used(tmp_path: Path) -> None:
    write_model(tmp_path)
    config = json.loads((tmp_path / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"mean": [0.5, 0.5, 0.5], "std": 0.25, "interpolation": "bilinear", "size": 999}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    transform = load_backbone(f"local-dir:{tmp_path}").transform
    assert transform.mean == (0.5, 0.5, 0.5)
    assert transform.std == (0.25, 0.25, 0.25)
    assert transform.interpolation == "bilinear"
    assert transform.image_size == 32  # the tower's own, as in open_clip


def test_other_weights_have_another_fingerprint(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    first = load_backbone(f"local-dir:{tmp_path}").fingerprint
    weights = dict(model.state_dict())
    weights["visual.proj"] = weights["visual.proj"] + 1e-6
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    assert load_backbone(f"local-dir:{tmp_path}").fingerprint != first


class Bomb:
    """Unpickling this writes a file: what a stranger's weights could do."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self):
        return (Path.touch, (self.place,))


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pt", "model.pth"])
def test_pickled_weights_are_refused_and_never_opened(tmp_path: Path, name: str) -> None:
    folder, exploded = tmp_path / "model", tmp_path / "exploded"
    write_model(folder)
    (folder / "open_clip_model.safetensors").unlink()
    torch.save(Bomb(exploded), folder / name)
    with pytest.raises(UserError, match=rf"must be safetensors, but only {name}"):
        load_backbone(f"local-dir:{folder}")
    assert not exploded.exists()


def test_a_pickle_beside_safetensors_is_ignored(tmp_path: Path) -> None:
    folder, exploded = tmp_path / "model", tmp_path / "exploded"
    write_model(folder)
    torch.save(Bomb(exploded), folder / "open_clip_pytorch_model.bin")
    load_backbone(f"local-dir:{folder}")
    assert not exploded.exists()


@pytest.mark.parametrize(
    ("vision_cfg", "reason"),
    [
        ({"timm_model_name": "vit_base_patch16_siglip_224", "image_size": 224}, "timm's 'vit_base_patch16_siglip_224'"),
        ({**VISION, "layers": [3, 4, 6, 3]}, r"a ResNet with stages \[3, 4, 6, 3\]"),
        ({**VISION, "attentional_pool": True}, "is attentional"),
        ({**VISION, "pool_type": "none"}, "`pool_type` must be tok or avg, but is 'none'"),
        ({**VISION, "qk_norm": True, "scale_fc": True}, "the config sets qk_norm, scale_fc"),
        ({**VISION, "block_type": "custom"}, "the config sets block_type"),
        ({**VISION, "image_size": [32, 64]}, r"image_size` must be .* a list of two equal ones, but is \[32, 64\]"),
        ({**VISION, "act_kwargs": {"approximate": "tanh"}}, "the config sets act_kwargs"),
        ({**VISION, "norm_kwargs": {"elementwise_affine": False}}, "may differ only in eps"),
        ({**VISION, "no_such_key": 1}, "no_such_key"),
        ({}, "must describe a vision tower"),
    ],
)
def test_unsupported_tower_is_refused_with_the_reason(tmp_path: Path, vision_cfg: dict, reason: str) -> None:
    with pytest.raises(UserError, match=reason):
        load_backbone(write_config(tmp_path, **vision_cfg))


def test_all_reasons_are_told_at_once(tmp_path: Path) -> None:
    spec = write_config(tmp_path, **VISION | {"pool_type": "none", "qk_norm": True, "image_size": [32, 64]})
    with pytest.raises(UserError) as caught:
        load_backbone(spec)
    assert len(caught.value.problems) == 3


@pytest.mark.parametrize(
    ("group", "changes", "reasons"),
    [
        ("vision_cfg", {"layers": 10**6}, ["layers` must be a whole number from 1 to 256, but is 1000000"]),
        ("vision_cfg", {"layers": 0, "width": 0}, ["layers`", "width`"]),
        ("vision_cfg", {"width": "64", "mlp_ratio": float("nan")}, ["width`", "mlp_ratio` must be .*, but is NaN"]),
        ("vision_cfg", {"image_size": 0}, ["image_size` must be a whole number from 1 to 4096"]),
        ("vision_cfg", {"image_size": 10**9, "patch_size": -1}, ["patch_size`", "image_size`.*but is 1000000000"]),
        ("vision_cfg", {"image_size": 4096, "patch_size": 1}, ["1 to 16384 patches.*give 16777216"]),
        ("vision_cfg", {"patch_size": 64}, ["1 to 16384 patches.*give 0"]),
        ("vision_cfg", {"head_width": 20}, ["must divide the width.*give 3 heads"]),
        ("vision_cfg", {"head_width": 128}, ["give 0 heads"]),
        ("vision_cfg", {"pool_type": ["tok"]}, ["`pool_type` must be tok or avg"]),
        ("vision_cfg", {"norm_kwargs": 3}, ["only in eps"]),
        ("vision_cfg", {"block_type": 7, "ls_init_value": "x"}, ["block_type", "ls_init_value`"]),
        (None, {"vision_cfg": [1]}, ["no object"]),
        (None, {"embed_dim": -1, "quick_gelu": "x"}, ["embed_dim`", "quick_gelu`"]),
        ("preprocess_cfg", {"mean": "abc", "std": 0}, ["mean`", r"std` must be .* above 0, but is \[0, 0, 0\]"]),
        ("preprocess_cfg", {"mean": [0.5], "std": [1, 1, "1"]}, ["mean`", "std`"]),
        ("preprocess_cfg", {"interpolation": [], "resize_mode": 1, "fill_color": -1}, ["interp", "resize", "fill"]),
    ],
)
def test_altered_configs_are_refused_whole_before_anything_is_built(
    tmp_path: Path, monkeypatch, group: str | None, changes: dict, reasons: list[str]
) -> None:
    model_cfg = {"embed_dim": 24, "vision_cfg": VISION}
    config = {"model_cfg": model_cfg, "preprocess_cfg": {}}
    if group == "preprocess_cfg":
        config[group] = changes
    else:
        model_cfg |= changes if group is None else {group: VISION | changes}
    (tmp_path / "open_clip_config.json").write_text(json.dumps(config))
    save_file({"visual.proj": torch.zeros(1)}, tmp_path / "open_clip_model.safetensors")
    monkeypatch.setattr(open_clip, "CLIP", None)
    with pytest.raises(UserError) as caught:
        load_backbone(f"local-dir:{tmp_path}")
    assert len(caught.value.problems) == len(reasons)
    for problem, reason in zip(caught.value.problems, reasons, strict=True):
        assert re.search(reason, problem)
        assert "\n" not in problem
        assert len(problem) < 500


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, dtype: torch.dtype, value: float) -> None:
    weights = {k: v.to(dtype) for k, v in write_model(tmp_path, layers=1).state_dict().items()}
    weights["visual.proj"][-1, -1] = value
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=r"`visual\.proj` in .* must be finite"):
        load_backbone(f"local-dir:{tmp_path}")


def test_weights_of_whole_numbers_are_refused_by_the_header(tmp_path: Path) -> None:
    weights = write_model(tmp_path, layers=1).state_dict()
    weights["visual.proj"] = weights["visual.proj"].long()
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=r"`visual\.proj` in .* must be one of F32, F16, BF16, F64, but is I64"):
        load_backbone(f"local-dir:{tmp_path}")


def test_weights_that_do_not_fit_the_config_are_named(tmp_path: Path) -> None:
    model = write_model(tmp_path)
    weights = {k: v for k, v in model.state_dict().items() if k != "visual.ln_post.bias"}
    weights |= {"visual.extra": torch.zeros(1), "visual.proj": torch.zeros(64, 7)}
    save_file(weights, tmp_path / "open_clip_model.safetensors")
    with pytest.raises(UserError) as caught:
        load_backbone(f"local-dir:{tmp_path}")
    text = str(caught.value)
    assert "must hold `visual.ln_post.bias`, but lacks it" in text
    assert "holds `visual.extra`, which its config does not name" in text
    assert "must have shape (64, 24) by its config, but has (64, 7)" in text


def test_damaged_weights_file_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    file = tmp_path / "open_clip_model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(UserError, match="must be a safetensors file, but reading it failed"):
        load_backbone(f"local-dir:{tmp_path}")


def test_missing_folder_config_and_weights_are_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not a folder"):
        load_backbone(f"local-dir:{tmp_path / 'nowhere'}")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError) as caught:
        load_backbone(f"local-dir:{tmp_path}")
    assert [p.split(", but has ")[1] for p in caught.value.problems] == ["notes.txt", "notes.txt"]
    (tmp_path / "open_clip_config.json").write_text("{")
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors")
    with pytest.raises(UserError, match="must be JSON"):
        load_backbone(f"local-dir:{tmp_path}")


def test_several_weights_files_without_a_preferred_one_are_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "open_clip_model.safetensors").rename(tmp_path / "a.safetensors")
    load_backbone(f"local-dir:{tmp_path}")
    save_file({"x": torch.zeros(1)}, tmp_path / "b.safetensors")
    with pytest.raises(UserError, match=r"but has a\.safetensors, b\.safetensors"):
        load_backbone(f"local-dir:{tmp_path}")


@pytest.mark.parametrize("spec", ["", "ViT-L-14", "hf-hub:", "local-dir:", "openai:ViT"])
def test_unknown_words_are_answered_with_the_valid_ones(spec: str) -> None:
    with pytest.raises(UserError, match="must be `tiny`, `tiny:random`, `hf-hub:ORG/NAME` or `local-dir:PATH`"):
        load_backbone(spec)


class Hub(BaseHTTPRequestHandler):
    """The part of the Hugging Face hub that a download uses: a folder of files, served with its headers."""

    folder: Path
    asked: list[str]

    def do_HEAD(self) -> None:
        self._answer(with_body=False)

    def do_GET(self) -> None:
        self._answer(with_body=True)

    def _answer(self, *, with_body: bool) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.asked.append(name)
        file = self.folder / name
        body = file.read_bytes() if file.is_file() else b""
        self.send_response(200 if file.is_file() else 404)
        if not file.is_file():
            self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()}"')
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *args) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch):
    """A hub on this machine, with an empty cache; yields the folder it serves and the names it was asked for."""
    handler = type("ThisHub", (Hub,), {"folder": tmp_path / "served", "asked": []})
    handler.folder.mkdir()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    # what HF_ENDPOINT and HF_HOME set, which the library reads only when it is imported
    url, constants = f"http://127.0.0.1:{server.server_port}", huggingface_hub.constants
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    yield handler
    server.shutdown()
    thread.join()
    server.server_close()


def test_hub_model_is_downloaded_once_and_then_found_offline(hub, monkeypatch) -> None:
    reference = write_model(hub.folder)
    backbone = load_backbone("hf-hub:org/model")
    assert backbone.fingerprint == fingerprint_state(reference.visual.state_dict())
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert load_backbone("hf-hub:org/model").fingerprint == backbone.fingerprint


def flip_a_bit(file: Path) -> None:
    """Long after it was written, as far as its time says."""
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    before = file.stat()
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_flipped_bit_of_downloaded_weights_is_told_with_both_digests(hub, tmp_path: Path, monkeypatch) -> None:
    write_model(hub.folder)
    fingerprint = load_backbone("hf-hub:org/model").fingerprint
    weights = "open_clip_model.safetensors"
    for name in ("open_clip_config.json", weights):
        huggingface_hub.hf_hub_download("org/model", name, local_dir=tmp_path / "local")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    blob = max((tmp_path / "cache").glob("*/blobs/*"), key=lambda file: file.stat().st_size)
    for spec, file in (("hf-hub:org/model", blob), (f"local-dir:{tmp_path / 'local'}", tmp_path / "local" / weights)):
        assert load_backbone(spec).fingerprint == fingerprint
        flip_a_bit(file)
        with pytest.raises(UserError, match=rf"{weights} must have the sha256 .* but has \w{{64}}; delete {file}"):
            load_backbone(spec)
    os.utime(tmp_path / "local" / weights, (time.time() + 60,) * 2)  # the user's own now: changed after the download
    assert load_backbone(f"local-dir:{tmp_path / 'local'}").fingerprint != fingerprint


def test_weights_of_the_hub_that_are_not_finite_are_not_to_be_fetched_again(hub) -> None:
    weights = dict(write_model(hub.folder).state_dict())
    weights["visual.proj"][-1, -1] = float("nan")
    save_file(weights, hub.folder / "open_clip_model.safetensors")
    with pytest.raises(UserError, match=r"must be finite .* it is as the hub has it, .* take another model"):
        load_backbone("hf-hub:org/model")


def test_hub_model_with_only_a_pickle_is_refused_without_downloading_it(hub) -> None:
    write_model(hub.folder)
    (hub.folder / "open_clip_model.safetensors").rename(hub.folder / "open_clip_pytorch_model.bin")
    with pytest.raises(UserError, match="pickled weights"):
        load_backbone("hf-hub:org/model")
    assert "open_clip_pytorch_model.bin" not in hub.asked


@pytest.mark.usefixtures("hub")
def test_hub_model_that_is_neither_cached_nor_reachable_says_what_to_do(monkeypatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"hf download org/model --local-dir DIR"):
        load_backbone("hf-hub:org/model")


def test_hub_name_of_the_wrong_form_is_told() -> None:
    with pytest.raises(UserError, match="must be followed by ORG/NAME"):
        load_backbone("hf-hub:a/b/c")
