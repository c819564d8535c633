import pytest
import torch
from open_clip.transformer import VisionTransformer

from tests.trainable.rounding import assert_rounded, forward_terms, gradient_terms, in_float64
from trainable.architecture import VisionArchitecture
from trainable.config import TrialConfig
from trainable.tail.tail import CategoryCode, Tail, make_tail
from trainable.training.assembly import tail_of

pytestmark = pytest.mark.rounding

LAYERS, WIDTH, EMBED = 4, 32, 24
N_DOMAINS = 5
POOLING = [("tok", False), ("tok", True), ("avg", False), ("avg", True)]


def make_tower(pool: str = "tok", ln_after: bool = False) -> tuple[VisionTransformer, VisionArchitecture]:
    torch.manual_seed(0)
    tower = VisionTransformer(
        image_size=16,
        patch_size=8,
        width=WIDTH,
        layers=LAYERS,
        heads=4,
        mlp_ratio=2.0,
        pool_type=pool,
        final_ln_after_pool=ln_after,
        output_dim=EMBED,
    )
    for parameter in tower.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    architecture = VisionArchitecture(
        n_blocks=LAYERS,
        width=WIDTH,
        n_heads=4,
        mlp_width=2 * WIDTH,
        n_tokens=5,
        embed_dim=EMBED,
        image_size=16,
        pool=pool,
        ln_post_after_pool=ln_after,
    )
    return tower, architecture


def taps_of(tower: VisionTransformer, pixels: torch.Tensor) -> list[torch.Tensor]:
    streams = [tower._embeds(pixels)]
    for block in tower.transformer.resblocks:
        streams.append(block(streams[-1]))
    return [stream.detach() for stream in streams]


def features_in_float64(tower: VisionTransformer, pixels: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.normalize(in_float64(tower)(pixels.double()), dim=-1)


def tail_on(tower: VisionTransformer, architecture: VisionArchitecture, **options) -> Tail:
    state = {name: value.detach().clone() for name, value in tower.state_dict().items()}
    options = {"tap": 2, "n_blocks": 2, "n_domains": N_DOMAINS, "domain_scale": 1.0} | options
    return make_tail(architecture, state, **options)


@pytest.mark.seconds
@pytest.mark.parametrize(("pool", "ln_after"), POOLING)
@pytest.mark.parametrize("n_blocks", range(LAYERS + 1))
def test_stem_and_tail_equal_the_whole_tower(n_blocks, pool, ln_after):
    tower, architecture = make_tower(pool, ln_after)
    pixels = torch.randn(6, 3, 16, 16)
    whole = features_in_float64(tower, pixels)
    for tap in range(LAYERS - n_blocks + 1):  # a shallower tap runs frozen blocks between
        tail = tail_on(tower, architecture, tap=tap, n_blocks=n_blocks)

        features = tail.embed(taps_of(tower, pixels)[tap])

        assert len(tail.between) == LAYERS - n_blocks - tap
        assert_rounded(features, whole, forward_terms(architecture, LAYERS))


@pytest.mark.parametrize(("pool", "ln_after"), POOLING)
def test_gradients_equal_those_of_the_whole_tower(pool, ln_after):
    tower, architecture = make_tower(pool, ln_after)
    pixels, probe = torch.randn(6, 3, 16, 16), torch.randn(6, EMBED)
    tail = tail_on(tower, architecture)

    (tail.embed(taps_of(tower, pixels)[2]) * probe).sum().backward()
    tower.double()
    (torch.nn.functional.normalize(tower(pixels.double()), dim=-1) * probe).sum().backward()

    n_terms = gradient_terms(architecture, LAYERS, n_images=6)
    for i, block in enumerate(tail.blocks):
        theirs = tower.transformer.resblocks[2 + i]
        fused = torch.cat([getattr(block.attn, f"{p}_proj").weight.grad for p in "qkv"])
        assert_rounded(fused, theirs.attn.in_proj_weight.grad, n_terms)
        assert_rounded(block.mlp.c_fc.weight.grad, theirs.mlp.c_fc.weight.grad, n_terms)
    assert_rounded(tail.ln_post.weight.grad, tower.ln_post.weight.grad, n_terms)


def test_only_blocks_ln_post_domain_code_and_regressor_train():
    tower, architecture = make_tower()
    tail = tail_on(tower, architecture, tap=1)
    before = {name: value.clone() for name, value in tail.state_dict().items()}

    optimizer = torch.optim.Adam([p for p in tail.parameters() if p.requires_grad], lr=1e-2)
    tail(taps_of(tower, torch.randn(6, 3, 16, 16))[1], torch.arange(6)).square().sum().backward()
    optimizer.step()

    moved = {name.split(".")[0] for name, value in tail.state_dict().items() if not torch.equal(value, before[name])}
    assert moved == {"blocks", "ln_post", "domain_code", "head"}


def test_training_does_not_write_into_the_stores_weights():
    tower, architecture = make_tower()
    state = {name: value.detach().clone() for name, value in tower.state_dict().items()}
    tail = make_tail(architecture, state, tap=1, n_blocks=2, n_domains=2, domain_scale=1.0)

    with torch.no_grad():
        for parameter in tail.parameters():
            if parameter.requires_grad:
                parameter.add_(1.0)

    assert all(torch.equal(state[name], value) for name, value in tower.state_dict().items())
    frozen = tail.between[0].mlp.c_fc.weight
    assert frozen.data_ptr() == state["transformer.resblocks.1.mlp.c_fc.weight"].data_ptr()


def test_weights_that_only_carry_adapters_stay_in_the_stores_memory():
    tower, architecture = make_tower()
    state = {name: value.detach().clone() for name, value in tower.state_dict().items()}
    config = TrialConfig(epochs=1).with_values({"tail.n_blocks": 2, "adapter.kind": "dora", "adapter.rank": 2})
    tail = tail_of(config, architecture, state, tap=2, n_domains=2, seed=0)
    tail(torch.randn(6, 5, WIDTH), torch.arange(6) % 2).square().sum().backward()
    torch.optim.AdamW([p for p in tail.parameters() if p.requires_grad]).step()

    assert all(torch.equal(state[name], value) for name, value in tower.state_dict().items())
    base = tail.blocks[0].mlp.c_fc.base_layer.weight
    assert base.data_ptr() == state["transformer.resblocks.2.mlp.c_fc.weight"].data_ptr()
    assert tail.ln_post.weight.data_ptr() != state["ln_post.weight"].data_ptr()


def test_trained_tail_loads_into_the_plain_tower():
    tower, architecture = make_tower()
    pixels = torch.randn(6, 3, 16, 16)
    tail = tail_on(tower, architecture)
    taps = taps_of(tower, pixels)
    with torch.no_grad():
        for parameter in tail.blocks.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))

    state = tail.open_clip_state()
    tower.load_state_dict({**tower.state_dict(), **state}, strict=True)

    assert state.keys() <= tower.state_dict().keys()
    assert_rounded(tail.embed(taps[2]), features_in_float64(tower, pixels), forward_terms(architecture, LAYERS))


@pytest.mark.parametrize("scale", [0.05, 1.0, 27.7])
def test_domain_code_starts_with_the_asked_norm(scale):
    code = CategoryCode(N_DOMAINS, EMBED, scale=scale)

    norms = code(torch.arange(N_DOMAINS + 1)).norm(dim=1)

    torch.testing.assert_close(norms, torch.full_like(norms, scale), rtol=1e-3, atol=0.0)  # less by LayerNorm's eps


def test_domain_scale_zero_is_exactly_off():
    tower, architecture = make_tower()
    tail = tail_on(tower, architecture, domain_scale=0.0)
    tokens = taps_of(tower, torch.randn(4, 3, 16, 16))[2]

    assert not [name for name, _ in tail.named_parameters() if "domain" in name]
    assert torch.equal(tail(tokens, torch.zeros(4, dtype=torch.int64)), tail(tokens, torch.arange(4)))


def test_every_domain_and_unknown_has_a_code_of_its_own():
    codes = CategoryCode(N_DOMAINS, EMBED, scale=1.0)(torch.arange(N_DOMAINS + 1))

    assert len(torch.unique(codes, dim=0)) == N_DOMAINS + 1


def test_mixed_domain_codes_lie_between_the_two():
    tower, architecture = make_tower()
    tail = tail_on(tower, architecture)
    tokens = taps_of(tower, torch.randn(3, 3, 16, 16))[2]
    own, partner = torch.tensor([0, 1, 2]), torch.tensor([3, 4, 5])

    def mixed(share: float) -> torch.Tensor:
        return tail(tokens, own, partner, torch.full((3,), share))

    assert torch.equal(mixed(1.0), tail(tokens, own))  # `lerp` adds 0 to that end
    assert torch.equal(mixed(0.0), tail(tokens, partner))
    assert not torch.allclose(mixed(0.5), mixed(1.0))


def test_head_dropout_acts_in_training_only():
    tower, architecture = make_tower()
    tail = tail_on(tower, architecture, head_dropout=0.5)
    tokens, domains = taps_of(tower, torch.randn(4, 3, 16, 16))[2], torch.arange(4)

    assert not torch.equal(tail.train()(tokens, domains), tail(tokens, domains))
    assert torch.equal(tail.eval()(tokens, domains), tail(tokens, domains))


@pytest.mark.parametrize(("head", "n_layers"), [("mlp", 4), ("narrow", 2), ("linear", 1)])
def test_a_regressor_of_each_kind_is_its_layers_with_gelu_between(head, n_layers):
    tower, architecture = make_tower()
    tail = tail_on(tower, architecture, head=head, head_dropout=0.5 if head == "linear" else 0.0, domain_scale=0.0)
    tokens, domains = taps_of(tower, torch.randn(4, 3, 16, 16))[2], torch.arange(4)
    first, *rest = in_float64(tail).head.layers

    expected = first(in_float64(tail).embed(tokens))
    for layer in rest:
        expected = layer(torch.nn.functional.gelu(expected))

    assert 1 + len(rest) == n_layers
    assert_rounded(tail.train()(tokens, domains), expected, forward_terms(architecture, LAYERS))


def test_same_seed_same_weights_whatever_the_global_generator_says():
    tower, architecture = make_tower()
    state = torch.get_rng_state()
    first = tail_on(tower, architecture, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.rand(5)

    second, other = (tail_on(tower, architecture, seed=seed).state_dict() for seed in (3, 4))

    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["head.layers.0.weight"], other["head.layers.0.weight"])


def test_parts_are_initialised_independently_of_each_other():
    tower, architecture = make_tower()

    with_code, without = (tail_on(tower, architecture, domain_scale=scale) for scale in (1.0, 0.0))

    assert torch.equal(with_code.head.layers[0].weight, without.head.layers[0].weight)


def test_a_tap_above_the_trainable_blocks_is_refused():
    tower, architecture = make_tower()

    with pytest.raises(ValueError, match="n_blocks <= 1"):
        tail_on(tower, architecture, tap=3, n_blocks=2)
