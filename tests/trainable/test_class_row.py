"""The last block's attention for the class token alone: equal to the plain block's first row, gradients included."""

import pytest
import torch
from torch import nn

from tests.trainable.rounding import assert_rounded, assert_same_in_float64, forward_terms, gradient_terms, in_float64
from trainable.architecture import VisionArchitecture
from trainable.config import PROJECTIONS
from trainable.tail.adapters import add_adapters
from trainable.tail.blocks import TailBlock
from trainable.tail.class_row import attend_from_class_row, is_cheaper

pytestmark = pytest.mark.rounding

WIDTH, TOKENS = 32, 17
SHAPE = {"n_blocks": 1, "width": WIDTH, "n_heads": 4, "mlp_width": 2 * WIDTH, "n_tokens": TOKENS}
ARCHITECTURE = VisionArchitecture(**SHAPE, embed_dim=16, image_size=16)
KINDS = ("full", "lora", "rslora", "dora")


def make_block(kind: str, *, dtype: torch.dtype = torch.float32, rank: int = 4, dropout: float = 0.0, **options):
    torch.manual_seed(0)
    architecture = VisionArchitecture(**SHAPE, embed_dim=16, image_size=16, **options)
    blocks = nn.ModuleList([TailBlock(architecture)]).to(dtype)
    for parameter in blocks.parameters():
        nn.init.normal_(parameter, std=0.15)
    if kind != "full":
        adapter = {"rank": rank, "alpha": 8.0, "rank_stabilized": kind == "rslora", "dora": kind == "dora"}
        add_adapters(blocks, **adapter, dropout=dropout, targets=PROJECTIONS, seed=0)
    with torch.no_grad():
        for parameter in blocks.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    return blocks[0].to(dtype)


def run(block: nn.Module, tokens: torch.Tensor, *, class_row_only: bool) -> dict[str, torch.Tensor]:
    """The first row, and the gradients of the tokens and of all that trains."""
    tokens = tokens.clone().requires_grad_()
    row = block(tokens, class_row_only=class_row_only)[:, :1]
    (row * torch.linspace(-1, 1, WIDTH, dtype=row.dtype)).sum().backward()
    gradients = {name: p.grad for name, p in block.named_parameters() if p.requires_grad}
    return {"row": row.detach(), "tokens": tokens.grad, **gradients}


def draw(n_images: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    tokens = torch.randn(n_images, TOKENS, WIDTH, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (3 * tokens + 1).to(dtype)


@pytest.mark.parametrize("n_images", [1, 5])
@pytest.mark.parametrize("kind", KINDS)
def test_row_and_gradients_equal_those_of_the_plain_block(kind, n_images):
    block = make_block(kind, quick_gelu=n_images == 1, layer_scale=n_images == 5)
    tokens = draw(n_images)
    assert is_cheaper(block.attn, tokens)

    exact = in_float64(block)
    expected = run(in_float64(block), tokens.double(), class_row_only=False)
    ours_exact = run(exact, tokens.double(), class_row_only=True)
    found = run(block, tokens, class_row_only=True)

    expected.pop("attn.k_proj.bias", None)  # the softmax does not see it: rounding noise around 0
    assert found.pop("attn.k_proj.bias", None) is None
    ours_exact.pop("attn.k_proj.bias", None)
    assert found.keys() == ours_exact.keys() == expected.keys()
    n_terms = gradient_terms(ARCHITECTURE, 1, n_images)
    for name, value in expected.items():
        assert_same_in_float64(ours_exact[name], value, n_terms, name)
        assert_rounded(found[name], value, n_terms, name)


def test_biases_may_be_missing():
    block = make_block("full", dtype=torch.float64)
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        getattr(block.attn, name).bias = None
    tokens = draw(3, torch.float64)

    found, expected = (block(tokens, class_row_only=only)[:, :1] for only in (True, False))

    assert_same_in_float64(found, expected, forward_terms(ARCHITECTURE, 1))


def test_tokens_below_nothing_that_trains_get_no_gradient_and_are_not_written():
    block, tokens = make_block("full"), draw(3)
    before = tokens.clone()

    block(tokens, class_row_only=True).sum().backward()

    assert tokens.grad is None
    assert torch.equal(tokens, before)


@pytest.mark.parametrize("target", ["k_proj", "v_proj"])
def test_dropout_on_an_adapters_input_leaves_the_plain_way(target):
    """It drops other channels of every token, which no single matrix does."""
    block, tokens = make_block("lora", dropout=0.5), draw(4)
    for name in {"k_proj", "v_proj"} - {target}:
        getattr(block.attn, name).lora_dropout["default"] = nn.Identity()

    assert not is_cheaper(block.train().attn, tokens)
    assert is_cheaper(block.eval().attn, tokens)


@pytest.mark.parametrize(("rank", "n_images", "n_tokens", "cheaper"), [
    (4, 1, 17, True),
    (32, 1, 17, False),  # folding an adapter as wide as the weight costs more than 17 rows through it
    (32, 64, 17, True),  # but is done once a batch
    (4, 64, 1, False),
])  # fmt: skip
def test_the_way_with_fewer_operations_is_taken(rank, n_images, n_tokens, cheaper):
    block = make_block("lora", rank=rank)

    assert is_cheaper(block.attn, torch.zeros(n_images, n_tokens, WIDTH)) == cheaper


@pytest.mark.parametrize("kind", KINDS)
def test_autocast_leaves_it_in_float32(kind):
    block, tokens = make_block(kind), draw(8)
    expected = attend_from_class_row(block.attn, block.ln_1, tokens)

    with torch.autocast("cpu", torch.bfloat16):
        found = attend_from_class_row(block.attn, block.ln_1, tokens)
        assert block(tokens, class_row_only=True).dtype == torch.float32

    assert torch.equal(found, expected)
