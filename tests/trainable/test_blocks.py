import open_clip.transformer as reference
import pytest
import torch
from torch import nn

from tests.trainable.rounding import assert_rounded, gradient_terms
from trainable.architecture import VisionArchitecture
from trainable.tail.blocks import SplitAttention, fuse_block_state, make_block, split_block_state

pytestmark = pytest.mark.rounding

WIDTH, HEADS, TOKENS = 32, 4, 7


def make_reference(*, quick_gelu: bool = False, layer_scale: bool = False) -> tuple[VisionArchitecture, nn.Module]:
    torch.manual_seed(0)
    block = reference.ResidualAttentionBlock(
        WIDTH,
        HEADS,
        ls_init_value=0.3 if layer_scale else None,
        act_layer=reference.QuickGELU if quick_gelu else nn.GELU,
    )
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    architecture = VisionArchitecture(
        n_blocks=6,
        width=WIDTH,
        n_heads=HEADS,
        mlp_width=4 * WIDTH,
        n_tokens=TOKENS,
        embed_dim=16,
        image_size=16,
        quick_gelu=quick_gelu,
        layer_scale=layer_scale,
    )
    return architecture, block


def open_clip_state(block: nn.Module, index: int) -> dict[str, torch.Tensor]:
    return {f"transformer.resblocks.{index}.{name}": value for name, value in block.state_dict().items()}


def test_split_attention_equals_multihead_attention():
    torch.manual_seed(1)
    theirs = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    nn.init.normal_(theirs.in_proj_bias)
    ours = SplitAttention(WIDTH, HEADS)
    state = {f"transformer.resblocks.0.attn.{name}": value for name, value in theirs.state_dict().items()}
    ours.load_state_dict({k.removeprefix("attn."): v for k, v in split_block_state(state, 0).items()}, strict=True)
    theirs = theirs.double()
    y = torch.randn(3, TOKENS, WIDTH, requires_grad=True)
    x = y.detach().double().requires_grad_()

    expected, found = theirs(x, x, x, need_weights=False)[0], ours(y, y)
    expected.square().sum().backward()
    found.square().sum().backward()

    n_terms = gradient_terms(make_reference()[0], 1, n_images=3)
    assert_rounded(found, expected, n_terms)
    assert_rounded(y.grad, x.grad, n_terms)
    fused = torch.cat([getattr(ours, f"{p}_proj").weight.grad for p in "qkv"])
    assert_rounded(fused, theirs.in_proj_weight.grad, n_terms)


@pytest.mark.parametrize("layer_scale", [False, True])
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_block_equals_open_clips_block(quick_gelu, layer_scale):
    architecture, theirs = make_reference(quick_gelu=quick_gelu, layer_scale=layer_scale)
    ours = make_block(architecture, open_clip_state(theirs, 5), 5).requires_grad_(True)
    x = torch.randn(3, TOKENS, WIDTH)

    expected, found = theirs.double()(x.double()), ours(x)
    expected.square().mean().backward()
    found.square().mean().backward()

    n_terms = gradient_terms(architecture, 1, n_images=3)
    assert_rounded(found, expected, n_terms)
    gradients = fuse_block_state({name: p.grad for name, p in ours.named_parameters()}, 5)
    for name, parameter in theirs.named_parameters():
        assert_rounded(gradients[f"transformer.resblocks.5.{name}"], parameter.grad, n_terms, name)


@pytest.mark.parametrize("layer_scale", [False, True])
def test_fusing_back_gives_identical_names_and_bits(layer_scale):
    architecture, theirs = make_reference(layer_scale=layer_scale)
    state = open_clip_state(theirs, 3)

    fused = fuse_block_state(make_block(architecture, state, 3).state_dict(), 3)

    assert fused.keys() == state.keys()
    assert all(torch.equal(fused[name], state[name]) for name in state)


def test_only_the_asked_block_is_taken():
    architecture, theirs = make_reference()
    others = {name: torch.zeros_like(value) for name, value in open_clip_state(theirs, 1).items()}

    block = make_block(architecture, others | open_clip_state(theirs, 11), 11)

    assert torch.equal(block.mlp.c_fc.weight, theirs.mlp.c_fc.weight)


def test_a_missing_weight_is_refused():
    architecture, theirs = make_reference()
    state = open_clip_state(theirs, 0)
    del state["transformer.resblocks.0.ln_2.bias"]

    with pytest.raises(RuntimeError, match=r"ln_2\.bias"):
        make_block(architecture, state, 0)


def test_a_block_with_adapters_is_not_fused():
    architecture, theirs = make_reference()
    state = make_block(architecture, open_clip_state(theirs, 0), 0).state_dict()

    with pytest.raises(ValueError, match="merge its adapters first"):
        fuse_block_state(state | {"mlp.c_fc.lora_A.default.weight": torch.zeros(1)}, 0)


def test_class_row_alone_equals_the_first_row_of_all():
    architecture, theirs = make_reference(layer_scale=True)
    state = open_clip_state(theirs, 0)
    whole, row = (make_block(architecture, {k: v.clone() for k, v in state.items()}, 0) for _ in range(2))
    whole.requires_grad_(True).double()
    row.requires_grad_(True)
    y = torch.randn(3, TOKENS, WIDTH, requires_grad=True)
    x = y.detach().double().requires_grad_()

    expected, found = whole(x)[:, :1], row(y, class_row_only=True)
    expected.square().mean().backward()
    found.square().mean().backward()

    assert found.shape == (3, 1, WIDTH)
    n_terms = gradient_terms(architecture, 1, n_images=3)
    assert_rounded(found, expected, n_terms)
    assert_rounded(y.grad, x.grad, n_terms)
    for (name, a), b in zip(row.named_parameters(), whole.parameters(), strict=True):
        if name == "attn.k_proj.bias":  # softmax does not see it: both are rounding noise around 0
            continue
        assert_rounded(a.grad, b.grad, n_terms, name)
