import itertools
import math

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from tests.trainable.rounding import rounding_bound
from trainable.training.optim import (
    LBFGS,
    Multipliers,
    ParameterGroupError,
    clip_parts,
    decays,
    load_optimizer_tensors,
    make_groups,
    make_optimizer,
    optimizer_tensors,
    part_of,
    schedule_factor,
    set_lr,
)

pytestmark = pytest.mark.rounding

NAMES = {
    "blocks.0.attn.q_proj.lora_A.default.weight": (2, 4),
    "blocks.0.attn.q_proj.lora_magnitude_vector.default.weight": (4,),
    "blocks.1.mlp.c_fc.weight": (4, 4),
    "blocks.1.mlp.c_fc.bias": (4,),
    "blocks.1.ls_1.gamma": (4,),
    "ln_post.weight": (4,),
    "head.layers.0.weight": (3, 4),
    "head.layers.0.bias": (3,),
    "head.log_sigma": (3,),
    "domain_code.embedding.weight": (5, 4),
    "domain_code.hidden.weight": (4, 4),
    "domain_code.norm.weight": (4,),
}


def named_parameters() -> list[tuple[str, nn.Parameter]]:
    torch.manual_seed(0)
    return [(name, nn.Parameter(torch.randn(shape))) for name, shape in NAMES.items()]


def groups_of(parameters, **options):
    options = {"lr": 0.01, "weight_decay": 0.1, "multipliers": Multipliers(), "n_blocks": 2} | options
    return make_groups(parameters, **options)


def test_every_trainable_parameter_is_in_exactly_one_group():
    parameters = named_parameters()
    parameters[2][1].requires_grad_(False)

    members = [id(p) for group in groups_of(parameters) for p in group["params"]]

    assert sorted(members) == sorted(id(p) for _, p in parameters if p.requires_grad)


def test_a_parameter_of_no_part_or_of_two_is_our_error():
    shared = nn.Parameter(torch.zeros(2))
    strange = [("bolcks.0.weight", nn.Parameter(torch.zeros(2))), ("head.a", shared), ("ln_post.a", shared)]

    with pytest.raises(
        ParameterGroupError, match=r"`bolcks.0.weight` belongs to no part; `ln_post.a` is also `head.a`"
    ):
        groups_of(strange)


def test_weight_decay_acts_on_matrices_alone():
    decayed = {name for name, p in named_parameters() if decays(name, p)}

    assert decayed == {
        "blocks.0.attn.q_proj.lora_A.default.weight",
        "blocks.1.mlp.c_fc.weight",
        "head.layers.0.weight",
        "domain_code.hidden.weight",
    }
    parameters = named_parameters()
    found = {id(p): group["weight_decay"] for group in groups_of(parameters) for p in group["params"]}
    assert {name: found[id(p)] for name, p in parameters} == {name: 0.1 * (name in decayed) for name, _ in parameters}


def test_parts_of_equal_rates_share_a_group():
    assert len(groups_of(named_parameters())) == 2
    assert len(groups_of(named_parameters(), multipliers=Multipliers(head=0.5))) == 4


def test_learning_rates_are_those_of_the_published_lora_system():
    """Block i of 6: 1 + 0.5 i / 6; ln_post 0.5; regressor 1.5."""
    multipliers = Multipliers(layer_slope=0.5, ln_post=0.5, head=1.5, domain=0.7)

    rates = {part: multipliers.of(part, n_blocks=6) for part in ("block_0", "block_5", "ln_post", "head", "domain")}

    assert rates == pytest.approx(
        {"block_0": 1.0, "block_5": 1 + 0.5 * 5 / 6, "ln_post": 0.5, "head": 1.5, "domain": 0.7}
    )


def test_blocks_above_nine_have_parts_of_their_own():
    assert part_of("blocks.12.ln_1.weight") == "block_12"
    assert part_of("blocks.1.ln_1.weight") == "block_1"


@pytest.mark.parametrize("name", ["adam", "adamw"])
def test_a_group_moves_at_its_own_rate(name):
    """Adam's first step is the learning rate in every coordinate."""
    parameters = named_parameters()
    before = {n: p.detach().clone() for n, p in parameters}
    multipliers = Multipliers(block=0.1, layer_slope=1.0, ln_post=2.0, head=3.0, domain=0.0)
    optimizer = make_optimizer(groups_of(parameters, weight_decay=0.0, multipliers=multipliers), name=name)
    set_lr(optimizer, 0.5)
    for _, p in parameters:
        p.grad = torch.ones_like(p)

    optimizer.step()

    for n, p in parameters:
        rate = 0.01 * 0.5 * multipliers.of(part_of(n), n_blocks=2)
        stored = float(before[n].abs().max()) * torch.finfo(p.dtype).eps  # what p loses by being rounded
        assert_close(before[n] - p.detach(), torch.full_like(p, rate), rtol=rounding_bound(10), atol=stored)


def test_decay_is_decoupled_in_adamw_and_a_gradient_in_adam():
    moved = {}
    for name in ("adam", "adamw"):
        p = nn.Parameter(torch.full((2, 2), 4.0))
        optimizer = make_optimizer(groups_of([("head.w", p)], weight_decay=0.1), name=name)
        p.grad = torch.zeros_like(p)
        optimizer.step()
        moved[name] = 4.0 - float(p.detach()[0, 0])

    assert moved == pytest.approx({"adam": 0.01, "adamw": 0.01 * 0.1 * 4.0}, abs=4 * torch.finfo(torch.float32).eps)


@pytest.mark.parametrize(("name", "reference"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_without_the_compiler_adam_steps_as_torch_s_to_the_bit(name, reference):
    ours, theirs = named_parameters(), named_parameters()
    optimizers = (make_optimizer(groups_of(ours), name=name), reference(groups_of(theirs), fused=True))
    for _ in range(3):
        for optimizer, parameters in zip(optimizers, (ours, theirs), strict=True):
            optimizer.zero_grad()
            sum(p.sin().square().sum() for _, p in parameters).backward()
            optimizer.step()

    assert all(torch.equal(a, b) for (_, a), (_, b) in zip(ours, theirs, strict=True))
    assert not any(p.grad_fn for _, p in ours)


def test_without_the_compiler_lbfgs_steps_as_torch_s_to_the_bit():
    ends = []
    for kind in (LBFGS, torch.optim.LBFGS):
        parameters = [p for _, p in named_parameters()]
        optimizer = kind(parameters, max_iter=4, line_search_fn="strong_wolfe")

        def closure(parameters=parameters, optimizer=optimizer):
            optimizer.zero_grad()
            loss = sum(p.sin().square().sum() for p in parameters)
            loss.backward()
            return loss.item()

        optimizer.step(closure)
        ends.append(parameters)

    assert all(torch.equal(a, b) for a, b in zip(*ends, strict=True))


def test_cosine_warms_up_holds_and_ends_on_the_final_fraction():
    shape = {"schedule": "cosine", "warmup_fraction": 0.1, "hold_fraction": 0.2, "final_lr_fraction": 0.01}

    factors = [schedule_factor(step, 100, **shape) for step in range(100)]

    assert factors[:10] == pytest.approx([(i + 1) / 10 for i in range(10)])
    assert factors[10:30] == [1.0] * 20
    assert factors[64] == pytest.approx(0.01 + 0.99 * 0.5)
    assert factors[-1] == pytest.approx(0.01)
    assert all(a > b for a, b in itertools.pairwise(factors[30:]))


def test_schedules_stay_in_bounds_at_every_length():
    for n_steps in range(1, 40):
        for warmup, hold in ((0.0, 0.0), (0.3, 0.0), (0.0, 1.0), (0.5, 0.5), (1.0, 0.0)):
            shape = {"schedule": "cosine", "warmup_fraction": warmup, "hold_fraction": hold, "final_lr_fraction": 0.1}
            assert all(0 < schedule_factor(step, n_steps, **shape) <= 1 for step in range(n_steps))
    assert schedule_factor(7, 9, schedule="constant", warmup_fraction=0.9) == 1.0


def test_clipping_bounds_each_part_by_itself():
    parameters = named_parameters()
    for n, p in parameters:
        p.grad = torch.full_like(p, 100.0 if part_of(n) == "head" else 1e-3)

    clip_parts(parameters, 1.0)

    norms = {}
    for n, p in parameters:
        norms[part_of(n)] = math.hypot(norms.get(part_of(n), 0.0), float(p.grad.norm()))
    n_values = sum(p.numel() for n, p in parameters if part_of(n) == "head")
    assert norms["head"] == pytest.approx(1.0, rel=rounding_bound(n_values))
    assert all(p.grad.eq(1e-3).all() for n, p in parameters if part_of(n) != "head")


def test_optimizer_state_survives_by_name():
    steps = []
    for resumed in (False, True):
        parameters = named_parameters()
        optimizer = make_optimizer(groups_of(parameters), name="adamw")
        for i in range(4):
            if resumed and i == 2:
                saved = optimizer_tensors(optimizer, {id(p): n for n, p in parameters})
                optimizer = make_optimizer(groups_of(parameters), name="adamw")
                load_optimizer_tensors(optimizer, saved, parameters)
            for j, (_, p) in enumerate(parameters):
                p.grad = torch.full_like(p, 0.1 * (i + 1) * (-1) ** j)
            optimizer.step()
        steps.append([p.detach() for _, p in parameters])

    assert all(torch.equal(a, b) for a, b in zip(*steps, strict=True))
