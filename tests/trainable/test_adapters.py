import json

import pytest
import torch
from torch import nn

from tests.trainable.rounding import assert_rounded, assert_same_in_float64, forward_terms, gradient_terms, in_float64
from trainable.architecture import VisionArchitecture
from trainable.config import PROJECTIONS
from trainable.tail import folding
from trainable.tail.adapters import adapter_config, adapter_state, add_adapters, merge_adapters
from trainable.tail.blocks import TailBlock, fuse_block_state

pytestmark = pytest.mark.rounding

WIDTH, TOKENS, N_BLOCKS = 32, 7, 2
ARCHITECTURE = VisionArchitecture(
    n_blocks=5, width=WIDTH, n_heads=4, mlp_width=2 * WIDTH, n_tokens=TOKENS, embed_dim=16, image_size=16
)
FORWARD_TERMS = forward_terms(ARCHITECTURE, N_BLOCKS)
KINDS = {
    "lora": {"rank_stabilized": False, "dora": False},
    "rslora": {"rank_stabilized": True, "dora": False},
    "dora": {"rank_stabilized": False, "dora": True},
    "rsdora": {"rank_stabilized": True, "dora": True},
}


def make_blocks() -> nn.ModuleList:
    torch.manual_seed(0)
    blocks = nn.ModuleList(TailBlock(ARCHITECTURE) for _ in range(N_BLOCKS))
    for parameter in blocks.parameters():
        nn.init.normal_(parameter, std=0.2)
    return blocks


def adapt(blocks: nn.ModuleList, kind: str = "lora", **options) -> nn.ModuleList:
    options = {"rank": 4, "alpha": 8.0, "dropout": 0.0, "targets": PROJECTIONS, "seed": 0, **KINDS[kind]} | options
    add_adapters(blocks, **options)
    return blocks


def run(blocks: nn.ModuleList, x: torch.Tensor, *, class_row_only: bool = False) -> torch.Tensor:
    for i, block in enumerate(blocks):
        x = block(x, class_row_only=class_row_only and i == len(blocks) - 1)
    return x


def train_a_little(blocks: nn.ModuleList, x: torch.Tensor) -> None:
    optimizer = torch.optim.Adam([p for p in blocks.parameters() if p.requires_grad], lr=1e-2)
    for _ in range(3):
        optimizer.zero_grad()
        run(blocks, x).square().mean().backward()
        optimizer.step()


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("kind", KINDS)
def test_fresh_adapters_change_nothing(kind, x):
    blocks = make_blocks()
    base, exact = run(blocks, x), run(in_float64(blocks), x.double())

    adapted = run(adapt(blocks, kind), x)

    assert_rounded(adapted, exact, FORWARD_TERMS)
    if "dora" not in kind:
        assert torch.equal(adapted, base)  # B is 0, and what is added to each weight or output is 0


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("target", PROJECTIONS)
def test_each_projection_is_truly_adapted(target, kind, x):
    """The published systems' adapter on out_proj was dead, and those on q, k, v did not exist."""
    blocks = adapt(make_blocks(), kind, targets=(target,))
    base = run(blocks, x)
    run(blocks, x).square().mean().backward()
    trained = {name: p for name, p in blocks.named_parameters() if p.requires_grad}
    assert all(target in name and p.grad is not None for name, p in trained.items())
    assert all(p.grad.abs().max() > 0 for name, p in trained.items() if "lora_B" in name)
    train_a_little(blocks, x)

    assert (run(blocks, x) - base).abs().max() > 1e-4
    assert len(trained) == N_BLOCKS * (3 if "dora" in kind else 2)


def test_the_number_of_wrapped_layers_is_blocks_times_targets():
    options = {"rank": 2, "alpha": 2.0, "dropout": 0.0, "seed": 0, **KINDS["lora"]}

    assert add_adapters(make_blocks(), targets=PROJECTIONS, **options) == N_BLOCKS * len(PROJECTIONS)
    assert add_adapters(make_blocks(), targets=("v_proj", "c_fc"), **options) == N_BLOCKS * 2


def test_a_projection_that_is_not_there_is_never_skipped_silently():
    with pytest.raises((RuntimeError, ValueError), match=r"c_gate"):
        adapt(make_blocks(), targets=("q_proj", "c_gate"))


@pytest.mark.parametrize("kind", KINDS)
def test_base_weights_do_not_train(kind, x):
    blocks = adapt(make_blocks(), kind)
    before = {name: p.clone() for name, p in blocks.named_parameters() if not p.requires_grad}

    train_a_little(blocks, x)

    after = dict(blocks.named_parameters())
    assert all("lora_" in name for name, p in after.items() if p.requires_grad)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@pytest.mark.parametrize(("kind", "scaling"), [("lora", 2.0), ("rslora", 4.0)])
def test_the_scale_on_ba_is_alpha_over_rank_or_its_root(kind, scaling):
    layer = adapt(make_blocks(), kind)[0].mlp.c_fc

    assert layer.scaling["default"] == scaling


@pytest.mark.parametrize("kind", KINDS)
def test_merged_equals_adapted_and_is_plain(kind, x):
    blocks = adapt(make_blocks(), kind)
    train_a_little(blocks, x)
    adapted, exact = run(blocks, x), run(in_float64(blocks), x.double())

    merged = merge_adapters(blocks)

    assert merged.state_dict().keys() == make_blocks().state_dict().keys()
    assert_rounded(run(merged, x), exact, FORWARD_TERMS)
    assert torch.equal(run(blocks, x), adapted)  # merging a copy: training can go on
    for i, block in enumerate(merged):
        assert fuse_block_state(block.state_dict(), i)


def test_merging_in_half_precision_is_refused():
    blocks = adapt(make_blocks()).bfloat16()

    with pytest.raises(ValueError, match=r"float32 only, but the blocks hold torch\.bfloat16"):
        merge_adapters(blocks)


@pytest.mark.parametrize("kind", KINDS)
def test_saved_adapters_load_through_peft_alone(kind, x):
    from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

    blocks = adapt(make_blocks(), kind)
    train_a_little(blocks, x)
    state, config = adapter_state(blocks, first_block=3), json.loads(json.dumps(adapter_config(blocks, first_block=3)))

    tower = nn.Module()
    tower.transformer = nn.Module()
    tower.transformer.resblocks = nn.ModuleList([TailBlock(ARCHITECTURE) for _ in range(3)] + list(make_blocks()))
    model = get_peft_model(tower, LoraConfig(**{k: v for k, v in config.items() if k not in ("peft_type",)}))
    outcome = set_peft_model_state_dict(model, state)

    assert outcome.unexpected_keys == []
    assert config["r"] == 4
    exact = run(in_float64(blocks), x.double())
    assert_rounded(run(tower.transformer.resblocks[3:], x), exact, FORWARD_TERMS)


def use_pefts_arithmetic(blocks: nn.ModuleList) -> None:
    """Take our layers out again: peft's LoRA layers, and peft's DoRA on the same magnitudes."""
    from peft.tuners.lora import Linear
    from peft.tuners.lora.dora import DoraLinearLayer

    for module in list(blocks.modules()):
        if isinstance(module, Linear):
            module.__class__ = Linear
            if "default" in module.lora_magnitude_vector:
                plain = DoraLinearLayer(fan_in_fan_out=False)
                plain.weight = module.lora_magnitude_vector["default"].weight
                module.lora_magnitude_vector["default"] = plain


@pytest.mark.seconds
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("class_row_only", [False, True])
@pytest.mark.parametrize("folds", [False, True])
@pytest.mark.parametrize("kind", ["rslora", "dora"])
def test_our_arithmetic_equals_pefts_in_output_and_gradients(
    kind, folds, class_row_only, dropout, dtype, x, monkeypatch
):
    """Folded into the weight where that pays, in float32 and without dropout; else beside it, DoRA's norm factored."""
    monkeypatch.setattr(folding, "PASSES", dict.fromkeys(("lora", "dora"), 1e6 if folds else 0))
    x = x.to(dtype).repeat(8, 1, 1) + torch.arange(24).view(-1, 1, 1) / 24
    ours = adapt(make_blocks(), kind, dropout=dropout)
    torch.manual_seed(2)
    with torch.no_grad():
        for p in ours.parameters():
            if p.requires_grad:
                p.add_(0.1 * torch.randn_like(p))
    theirs, ours = in_float64(ours), in_float64(ours) if dtype == torch.float64 else ours
    use_pefts_arithmetic(theirs)

    outputs = []
    for blocks, tokens in ((ours, x), (theirs, x.double())):
        torch.manual_seed(3)  # the same dropout masks
        outputs.append(run(blocks, tokens, class_row_only=class_row_only))
        outputs[-1].square().mean().backward()

    assert ours[0].mlp.c_fc._pays(x) == (folds and dropout == 0.0 and dtype == torch.float32)
    n_terms = gradient_terms(ARCHITECTURE, N_BLOCKS, n_images=len(x))
    assert_equal = assert_rounded if dtype == torch.float32 else assert_same_in_float64
    assert_equal(*outputs, n_terms)
    theirs_by_name = dict(theirs.named_parameters())
    trained = {name: p for name, p in ours.named_parameters() if p.requires_grad}
    largest = max(float(theirs_by_name[name].grad.abs().max()) for name in trained)
    for name, p in trained.items():
        assert_equal(p.grad, theirs_by_name[name].grad, n_terms, name, magnitude=largest)


def test_in_half_precision_the_update_is_never_folded_into_the_weight():
    """bfloat16 has 8 bits: an update of a thousandth of the weight would be lost."""
    layer, many = adapt(make_blocks(), rank=24)[0].mlp.c_fc, torch.zeros(100, WIDTH)

    assert layer._pays(many)
    assert not layer._pays(many.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not layer._pays(many)


@pytest.mark.parametrize("kind", ["lora", "dora"])
def test_same_seed_same_adapters_whatever_the_global_generator_says(kind):
    state = torch.get_rng_state()
    first = adapt(make_blocks(), kind, seed=5).state_dict()
    torch.set_rng_state(state)
    blocks = make_blocks()
    before = torch.get_rng_state()
    second = adapt(blocks, kind, seed=5).state_dict()

    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(first[name], second[name]) for name in first)
    other = adapt(make_blocks(), kind, seed=6).state_dict()
    assert not torch.equal(first["0.mlp.c_fc.lora_A.default.weight"], other["0.mlp.c_fc.lora_A.default.weight"])
