"""Number formats of training: what is taken, what is refused, what a checkpoint keeps, what stays float32."""

import math

import pytest
import torch

from benchmarks.backbones import random_backbone
from benchmarks.inputs import random_trial_data
from tests.trainable.rounding import input_bound
from trainable.config import TrialConfig
from trainable.errors import UserError
from trainable.training.precision import Precision, lack_of_bfloat16, lack_of_cpu, lack_of_gpus, products_of
from trainable.training.trainer import TailTrainer

LACK = lack_of_bfloat16("cpu")
needs_bfloat16 = pytest.mark.skipif(bool(LACK), reason=f"this CPU {LACK}")
KINDS = {"full": {"kind": "full"}, "lora": {"kind": "lora", "rank": 4}, "dora": {"kind": "dora", "rank": 4}}


@pytest.fixture(scope="module")
def data():
    """Random features below the last two blocks of `tiny`."""
    with random_trial_data(random_backbone("tiny", "cpu"), tap=4, n=48) as data:
        yield data


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def make_trainer(data, kind: str = "full", **options) -> TailTrainer:
    values = {"epochs": 2, "tail": {"n_blocks": 2}, "adapter": KINDS[kind], "optim": {"lr": 1e-4, "batch_size": 16}}
    return TailTrainer(TrialConfig.from_dict(values), data, seed=0, **options)


def cuda_level() -> str:
    """How CUDA multiplies float32 matrices, as this version of torch says it."""
    return getattr(torch.backends.cuda.matmul, "fp32_precision", None) or torch.get_float32_matmul_precision()


def same_weights(a: TailTrainer, b: TailTrainer) -> bool:
    ours, theirs = a.state_dict()["tensors"], b.state_dict()["tensors"]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# What is asked for, and where it can be had


def test_auto_is_bfloat16_on_cuda_and_float32_on_a_cpu():
    assert (products_of("auto", "cuda"), products_of("auto", "cpu")) == ("bfloat16", "float32")
    assert (products_of("float32", "cuda"), products_of("bfloat16", "cpu")) == ("float32", "bfloat16")
    with pytest.raises(ValueError, match="must be auto, float32 or bfloat16, but got 'float16'"):
        products_of("float16", "cuda")


@pytest.mark.parametrize("instructions", ["avx512_bf16", "amx_bf16", "bf16", "sve_bf16"])
def test_a_cpu_needs_one_of_the_instructions(instructions):
    assert lack_of_cpu({instructions: True}) == ""
    with pytest.raises(UserError) as refused:
        Precision.on("cpu", "bfloat16", lack=lack_of_cpu({instructions: False, "avx2": True, "cpu_name": "Xeon E5"}))

    (line,) = refused.value.problems
    assert "`--precision bfloat16` must have CPUs that multiply it, but this machine has none of avx512_bf16" in line
    assert "(Xeon E5); use --precision float32" in line
    assert Precision.on("cpu", "auto", lack="has nothing").products == "float32"


def test_a_gpu_before_ampere_is_refused_by_name_unless_float32_is_asked_for():
    lack = lack_of_gpus([("A100", (8, 0)), ("Tesla T4", (7, 5)), ("Tesla T4", (7, 5))])
    with pytest.raises(
        UserError, match=r"`--precision auto` is on CUDA.* has Tesla T4 of 7\.5; use --precision float32"
    ):
        Precision.on("cuda", "auto", lack=lack)

    assert lack_of_gpus([("A100", (8, 0)), ("H100", (9, 0))]) == ""
    assert Precision.on("cuda", "float32", lack=lack).products == "float32"


@pytest.mark.skipif(not LACK, reason="this CPU multiplies bfloat16")
def test_a_trial_on_a_cpu_without_bfloat16_is_refused(data):
    with pytest.raises(UserError, match="must have CPUs"):
        make_trainer(data, precision="bfloat16")


# What is computed


@needs_bfloat16
@pytest.mark.parametrize("kind", KINDS)
def test_the_blocks_products_are_bfloat16_in_training_and_validation_and_the_rest_is_float32(kind, data):
    half, plain = make_trainer(data, kind, precision="bfloat16"), make_trainer(data, kind)
    seen: dict[tuple[str, bool], set[torch.dtype]] = {}
    watched = {"block": half.tail.blocks[0].mlp.c_fc, "norm": half.tail.ln_post, "head": half.tail.head}
    for name, module in watched.items():
        module.register_forward_hook(
            lambda module, _, out, name=name: seen.setdefault((name, module.training), set()).add(out.dtype)
        )
    metrics, expected = half.train_epoch(), plain.train_epoch()

    assert {part: seen[part, phase] for part in watched for phase in (True, False)} == {
        "block": {torch.bfloat16}, "norm": {torch.float32}, "head": {torch.float32},
    }  # fmt: skip
    assert seen["block", True] == seen["block", False] == {torch.bfloat16}
    assert {value.dtype for value in half.state_dict()["tensors"].values()} == {torch.float32}
    assert math.isfinite(metrics["train/loss"])
    both_factors = 2 * input_bound(torch.bfloat16)
    assert metrics["score/all"] == pytest.approx(expected["score/all"], rel=both_factors)
    assert metrics["train/loss"] != expected["train/loss"]
    assert str(half.precision) == "bfloat16 products"


def test_float32_on_a_cpu_is_what_it_is_without_a_choice(data):
    plain, asked = make_trainer(data), make_trainer(data, precision="float32")

    assert plain.train_epoch()["score/all"] == asked.train_epoch()["score/all"]
    assert same_weights(plain, asked)
    assert str(asked.precision) == "float32"


@pytest.mark.parametrize(
    ("products", "levels", "words"),
    [("bfloat16", {"tf32", "high"}, "bfloat16 products, TF32"), ("float32", {"ieee", "highest"}, "float32")],
)
def test_a_step_on_cuda_sets_how_float32_is_multiplied_and_leaves_it_as_it_was(products, levels, words):
    before, precision = cuda_level(), Precision(products, "cuda")
    with precision.step():
        assert cuda_level() in levels
    assert cuda_level() == before
    with pytest.raises(RuntimeError), precision.step():
        raise RuntimeError
    assert cuda_level() == before
    assert str(precision) == words


def test_a_step_on_a_cpu_sets_nothing():
    before = cuda_level(), torch.get_float32_matmul_precision()
    for products in ("float32", "bfloat16"):
        with Precision(products, "cpu").step():
            assert (cuda_level(), torch.get_float32_matmul_precision()) == before


@pytest.mark.gpu
@pytest.mark.parametrize(("asked", "level", "dtype"), [("auto", "tf32", "bfloat16"), ("float32", "ieee", "float32")])
def test_a_trial_on_a_gpu_computes_as_asked_and_leaves_the_setting(asked, level, dtype, data):
    trainer, before, seen = make_trainer(data, device="cuda", precision=asked), cuda_level(), set()
    trainer.tail.blocks[0].mlp.c_fc.register_forward_hook(lambda *given: seen.add((cuda_level(), given[-1].dtype)))
    metrics = trainer.train_epoch()

    assert seen == {(level, getattr(torch, dtype))}
    assert cuda_level() == before
    assert math.isfinite(metrics["score/all"])


# What a checkpoint keeps


@needs_bfloat16
def test_a_trial_goes_on_in_the_precision_of_its_checkpoint_and_in_no_other(data):
    whole, stopped = (make_trainer(data, precision="bfloat16") for _ in range(2))
    whole.train_epoch(), whole.train_epoch()
    stopped.train_epoch()
    state = stopped.state_dict()

    resumed = make_trainer(data, precision="bfloat16")
    resumed.load_state_dict(state)
    resumed.train_epoch()

    assert same_weights(whole, resumed)
    with pytest.raises(UserError, match="the checkpoint's `precision` must be 'float32', but is 'bfloat16'"):
        make_trainer(data).load_state_dict(state)


def test_a_checkpoint_that_does_not_say_is_taken_as_the_devices_own(data):
    trainer = make_trainer(data)
    state = trainer.state_dict()
    del state["values"]["precision"]

    make_trainer(data).load_state_dict(state)
