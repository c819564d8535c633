"""TailTrainer on a small task whose features live in memory; the real store is in test_trial_data.py."""

import math
import pickle
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from tests.trainable.rounding import assert_rounded, forward_terms, gradient_terms
from trainable.architecture import VisionArchitecture
from trainable.config import NO_NAME, TrialConfig
from trainable.data.splits import Split, whole
from trainable.errors import UserError
from trainable.tail.blocks import make_block
from trainable.training.checkpoint import load_latest, save_checkpoint
from trainable.training.divergence import TrialDiverged
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

ARCHITECTURE = VisionArchitecture(
    n_blocks=3, width=16, n_heads=2, mlp_width=32, n_tokens=5, embed_dim=12, image_size=16
)
N_EVENTS, PER_EVENT = 60, 4
KINDS = {
    "full": {"kind": "full"},
    "lora": {"kind": "lora", "rank": 4, "alpha": 8.0},
    "rslora": {"kind": "lora", "rank": 4, "alpha": 8.0, "rank_stabilized": True},
    "dora": {"kind": "dora", "rank": 4, "alpha": 8.0},
}
EVERYTHING_ON = {
    "augment.feature_noise": 0.05,
    "augment.mixup_alpha": 0.3,
    "augment.specimen_dropout": 0.2,
    "augment.domain_dropout": 0.3,
    "augment.species_dropout": 0.3,
    "tail.species_scale": 0.5,
    "augment.ramp_fraction": 0.5,
    "adapter.dropout": 0.1,
    "tail.head": "narrow",
    "tail.probe_first": True,
    "tail.head_dropout": 0.1,
    "loss.kind": "crps",
    "loss.event_exponent": 0.5,
    "loss.bag_size": 3,
    "optim.max_grad_norm": 1.0,
    "optim.warmup_fraction": 0.1,
    "optim.accumulation_steps": 2,
    "optim.average": "ema",
}


class RowsInMemory:
    """What a feed reads of a mapped tap."""

    def __init__(self, rows: torch.Tensor) -> None:
        self.rows, self.dtype = rows, rows.dtype

    def positions(self, indices: np.ndarray) -> torch.Tensor:
        return torch.from_numpy(indices)

    def gather(self, positions: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        return torch.index_select(self.rows, 0, positions, out=out)


class TapsInMemory:
    """A feature store by hand: every asked tap of random token maps, float16 or float32."""

    def __init__(self, tap_0: torch.Tensor, taps: tuple[int, ...], dtype: torch.dtype = torch.float16) -> None:
        self.architecture, self.taps, self.n, self.key, self.path = ARCHITECTURE, taps, len(tap_0), "key", "memory"
        self._state = draw_tower_state()
        self._features: dict[int, torch.Tensor] = {}
        stream = tap_0
        for tap in range(ARCHITECTURE.n_blocks + 1):
            self._features[tap] = stream.to(dtype)
            if tap < ARCHITECTURE.n_blocks:
                stream = make_block(ARCHITECTURE, self._state, tap)(stream)

    def best_tap(self, n_frozen: int) -> int:
        return max(tap for tap in self.taps if tap <= n_frozen)

    def mapped(self, tap: int) -> "RowsInMemory":
        assert tap in self.taps
        return RowsInMemory(self._features[tap])

    def channel_std(self, tap: int) -> torch.Tensor:
        return self._features[tap].float().std(dim=(0, 1))

    def tail_state(self, n_blocks: int) -> dict[str, torch.Tensor]:
        first = ARCHITECTURE.n_blocks - n_blocks
        return {k: v for k, v in self._state.items() if "resblocks" not in k or int(k.split(".")[2]) >= first}


def draw_tower_state() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(7)
    width, hidden, embed = ARCHITECTURE.width, ARCHITECTURE.mlp_width, ARCHITECTURE.embed_dim
    shapes = {
        "attn.in_proj_weight": (3 * width, width),
        "attn.in_proj_bias": (3 * width,),
        "attn.out_proj.weight": (width, width),
        "attn.out_proj.bias": (width,),
        "mlp.c_fc.weight": (hidden, width),
        "mlp.c_fc.bias": (hidden,),
        "mlp.c_proj.weight": (width, hidden),
        "mlp.c_proj.bias": (width,),
    }
    state = {"ln_post.weight": torch.ones(width), "ln_post.bias": torch.zeros(width)}
    state["proj"] = torch.randn(width, embed, generator=generator) / width**0.5
    for i in range(ARCHITECTURE.n_blocks):
        block = {name: 0.2 * torch.randn(shape, generator=generator) for name, shape in shapes.items()}
        for norm in ("ln_1", "ln_2"):
            block |= {f"{norm}.weight": torch.ones(width), f"{norm}.bias": torch.zeros(width)}
        state |= {f"transformer.resblocks.{i}.{name}": value for name, value in block.items()}
    return state


def make_data(taps: tuple[int, ...] = (0, 1, 2, 3), dtype: torch.dtype = torch.float16) -> TrialData:
    """Events whose labels are a linear function of a vector that shows in the tokens of their specimens."""
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(N_EVENTS, 4))
    labels = np.clip(hidden @ rng.normal(size=(4, 3)) * 0.5, -2.09, 2.09)
    domains = np.array([1, 3, 4, 7, 9])[np.arange(N_EVENTS) % 5]
    sites = np.array([f"S{d}{e % 3}" for e, d in enumerate(domains)])
    event = np.repeat(np.arange(N_EVENTS), PER_EVENT)
    shown = hidden[event] @ rng.normal(size=(4, ARCHITECTURE.width))
    tokens = shown[:, None, :] + 0.3 * rng.normal(size=(len(event), ARCHITECTURE.n_tokens, ARCHITECTURE.width))
    ood = domains[event] == 9
    held_out = np.char.endswith(sites, "0")[event] & ~ood
    split = Split(
        policy="both",
        fold=0,
        train=np.flatnonzero(~ood & ~held_out),
        id_=np.flatnonzero(held_out),
        ood=np.flatnonzero(ood),
        held_out_sites=(),
        held_out_domains=(9,),
        n_leaked_events=0,
    )
    return TrialData(
        store=TapsInMemory(torch.from_numpy(tokens).float(), taps, dtype),
        labels=labels[event].astype(np.float32),
        domain_ids=domains[event],
        event_ids=event,
        site_ids=sites[event],
        species=np.array(["Amara", "Calathus", NO_NAME])[np.arange(len(event)) % 3],
        split=split,
    )


DATA = make_data()
N_TRAIN = len(DATA.split.train)


def make_config(epochs: int = 4, *, kind: str = "full", **values) -> TrialConfig:
    config = TrialConfig.from_dict({"epochs": epochs, "adapter": KINDS[kind]})
    return config.with_values({"optim.lr": 3e-3, "optim.batch_size": 32, **values})


def without_times(metrics: dict[str, float]) -> dict[str, float]:
    return {name: value for name, value in metrics.items() if not name.startswith("time/")}


def same_tensors(a: TailTrainer, b: TailTrainer) -> bool:
    ours, theirs = a.state_dict()["tensors"], b.state_dict()["tensors"]
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


@pytest.mark.seconds
@pytest.mark.parametrize("n_blocks", range(4))
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_trains_at_every_depth(kind, n_blocks):
    trainer = TailTrainer(make_config(1, kind=kind, **{"tail.n_blocks": n_blocks}), DATA, seed=0)

    metrics = trainer.train_epoch()

    assert {"score/all", "score/id", "score/ood", "crps_ood/SPEI_2y", "train/loss", "train/lr"} <= metrics.keys()
    assert all(name.count("/") == 1 and math.isfinite(value) for name, value in metrics.items())
    assert trainer.n_trainable == sum(p.numel() for p in trainer.tail.parameters() if p.requires_grad)
    assert trainer.epoch == metrics["train/epoch"] == 1


@pytest.mark.seconds
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("loss", ["mse", "crps"])
def test_loss_falls_and_held_out_events_gain_on_a_toy_task(loss, kind):
    trainer = TailTrainer(make_config(15, kind=kind, **{"loss.kind": loss}), DATA, seed=0)

    history = [trainer.train_epoch() for _ in range(15)]

    assert history[-1]["train/loss"] < 0.5 * history[0]["train/loss"]
    assert history[-1]["score/all"] < 0.75 * history[0]["score/all"]


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "lora", "dora"])
def test_interrupted_and_resumed_equals_uninterrupted_to_the_bit(kind, tmp_path):
    config = make_config(5, kind=kind, **EVERYTHING_ON)
    whole = TailTrainer(config, DATA, seed=3)
    for _ in range(5):
        whole.train_epoch()

    trainer = TailTrainer(config, DATA, seed=3)
    while trainer.epoch < 5:
        trainer.train_epoch()
        save_checkpoint(tmp_path, trainer.state_dict())
        torch.manual_seed(trainer.epoch)  # another process has other global generators
        np.random.seed(trainer.epoch)  # noqa: NPY002
        trainer = TailTrainer(config, DATA, seed=3)
        state, skipped = load_latest(tmp_path)
        assert skipped == []
        trainer.load_state_dict(state)

    assert same_tensors(trainer, whole)
    assert [without_times(m) for m in trainer.history] == [without_times(m) for m in whole.history]
    assert trainer.best_epoch == whole.best_epoch
    assert np.array_equal(trainer.predict_held_out(), whole.predict_held_out())


def test_a_saved_state_does_not_change_with_the_trainer():
    trainer = TailTrainer(make_config(), DATA, seed=0)
    trainer.train_epoch()
    state = trainer.state_dict()
    copies = {name: value.clone() for name, value in state["tensors"].items()}
    values = repr(state["values"])
    trainer.train_epoch()

    assert all(torch.equal(copies[name], value) for name, value in state["tensors"].items())
    assert repr(state["values"]) == values


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "dora"])
def test_same_seed_same_weights_and_another_seed_others(kind):
    trainers = []
    for seed in (1, 1, 2):
        torch.rand(seed + len(trainers))
        trainers.append(TailTrainer(make_config(kind=kind, **EVERYTHING_ON), DATA, seed=seed))
        for _ in range(2):
            trainers[-1].train_epoch()

    assert same_tensors(trainers[0], trainers[1])
    assert not same_tensors(trainers[0], trainers[2])


def test_training_leaves_the_global_generators_alone():
    torch_state, numpy_state = torch.get_rng_state(), repr(np.random.get_state())  # noqa: NPY002

    TailTrainer(make_config(kind="lora", **EVERYTHING_ON), DATA, seed=0).train_epoch()

    assert torch.equal(torch.get_rng_state(), torch_state)
    assert repr(np.random.get_state()) == numpy_state  # noqa: NPY002


def test_a_state_of_another_trial_is_refused():
    trainer = TailTrainer(make_config(), DATA, seed=0)
    other = TailTrainer(make_config(**{"optim.lr": 1e-3}), DATA, seed=1)

    with pytest.raises(UserError) as caught:
        trainer.load_state_dict(other.state_dict())

    assert len(caught.value.problems) == 2
    assert "`config.optim.lr` must be 0.003, but is 0.001" in caught.value.problems[0]
    assert "`seed` must be 0, but is 1" in caught.value.problems[1]


def test_the_best_epoch_is_kept_and_can_be_put_back():
    trainer = TailTrainer(make_config(6, **{"optim.lr": 3e-2}), DATA, seed=0)
    held_out = []
    for _ in range(6):
        trainer.train_epoch()
        held_out.append(trainer.predict_held_out())
    scores = [metrics["score/all"] for metrics in trainer.history]
    assert trainer.best_epoch == 1 + int(np.argmin(scores))
    assert trainer.best_score == min(scores)

    resumed = TailTrainer(make_config(6, **{"optim.lr": 3e-2}), DATA, seed=0)
    resumed.load_state_dict(trainer.state_dict())
    resumed.load_best()

    assert np.array_equal(resumed.predict_held_out(), held_out[trainer.best_epoch - 1])


def test_before_the_first_epoch_there_is_no_best():
    trainer = TailTrainer(make_config(), DATA, seed=0)

    assert (trainer.best_epoch, trainer.best_score) == (0, math.inf)
    with pytest.raises(ValueError, match="no best epoch yet"):
        trainer.load_best()


DROPOUT = {"tail.head_dropout": 0.3, "adapter.dropout": 0.2}


@pytest.mark.seconds
@pytest.mark.rounding
@pytest.mark.parametrize(
    ("accumulation_steps", "kind", "chance"),
    [
        (2, "full", {}),
        (3, "full", {"augment.mixup_alpha": 0.5}),
        (3, "full", {**DROPOUT, "augment.mixup_alpha": 0.5}),
        (2, "lora", DROPOUT),
        (32, "dora", DROPOUT),
    ],
)
def test_accumulation_gives_the_same_gradient(accumulation_steps, kind, chance):
    def gradients(n_steps: int, dtype: torch.dtype) -> dict[str, torch.Tensor]:
        values = {"optim.accumulation_steps": n_steps, "optim.batch_size": N_TRAIN, **chance}
        trainer = TailTrainer(make_config(1, kind=kind, **values), DATA, seed=0)
        trainer.tail.to(dtype)
        trainer.train_epoch()
        return {name: p.grad for name, p in trainer.tail.named_parameters() if p.grad is not None}

    exact, found = gradients(1, torch.float64), gradients(accumulation_steps, torch.float32)

    assert found.keys() == exact.keys()
    largest = max(float(g.abs().max()) for g in exact.values())
    n_terms = gradient_terms(ARCHITECTURE, ARCHITECTURE.n_blocks, n_images=N_TRAIN)
    for name, gradient in exact.items():
        assert_rounded(found[name], gradient, n_terms, name, magnitude=largest)


def test_a_batch_in_parts_is_the_same_trial():
    """As one that ran out of memory is tried again: in float64, where rounding is below what steps could enlarge."""

    def trained(n_steps: int) -> TailTrainer:
        off = {"tail.probe_first": False, "optim.average": "none"}
        values = {**EVERYTHING_ON, **DROPOUT, **off, "optim.accumulation_steps": n_steps, "optim.batch_size": 48}
        trainer = TailTrainer(make_config(1, kind="lora", **values), DATA, seed=0)
        trainer.tail.double()
        trainer.train_epoch()
        return trainer

    whole, parts = (trained(n_steps) for n_steps in (1, 3))
    for (name, wanted), found in zip(whole.tail.named_parameters(), parts.tail.parameters(), strict=True):
        assert torch.allclose(found, wanted, rtol=1e-9, atol=1e-9), name


def gathered_in_an_epoch(**options) -> list[np.ndarray]:
    """The specimens of each batch that one epoch asks of the feed."""
    trainer = TailTrainer(make_config(**options), make_data(), seed=0)
    asked: list[np.ndarray] = []
    batches = trainer._feed.batches
    trainer._feed.batches = lambda wanted: asked.extend(wanted) or batches(wanted)
    trainer._train_steps()
    return asked


def test_every_training_specimen_is_seen_once_an_epoch():
    batches = gathered_in_an_epoch(**{"optim.batch_size": 24})

    assert N_TRAIN % 24 != 0
    assert [len(batch) for batch in batches] == [24] * (N_TRAIN // 24) + [N_TRAIN % 24]
    assert sorted(np.concatenate(batches)) == sorted(make_data().split.train)


def test_specimen_dropout_saves_the_work_too():
    batches = gathered_in_an_epoch(**{"augment.specimen_dropout": 0.5})

    assert len(batches) == math.ceil(N_TRAIN / 32)
    assert 0.3 * N_TRAIN < sum(map(len, batches)) < 0.7 * N_TRAIN


@pytest.mark.rounding
@pytest.mark.parametrize("n_blocks", [0, 1, 2])
def test_a_shallower_tap_gives_the_same_predictions(n_blocks):
    config = make_config(**{"tail.n_blocks": n_blocks})
    deep, shallow = (make_data(taps, torch.float32) for taps in ((3 - n_blocks,), (0,)))

    trainers = [TailTrainer(config, data, seed=0) for data in (deep, shallow)]
    found = [trainer.predict_held_out() for trainer in trainers]
    trainers[1].tail.double()
    exact = trainers[1].predict_held_out()

    for predictions in found:
        assert_rounded(predictions, exact, forward_terms(ARCHITECTURE, ARCHITECTURE.n_blocks))


def test_more_blocks_than_the_backbone_has_are_refused():
    with pytest.raises(UserError, match=r"`tail.n_blocks <= 3` must hold for this backbone, but got 4"):
        TailTrainer(make_config(**{"tail.n_blocks": 4}), DATA, seed=0)


def test_unseen_domains_are_unknown_whatever_their_number():
    """In the published systems a dropped domain became `len(known)`, which may be a real domain's number."""
    trainer = TailTrainer(make_config(), DATA, seed=0)
    renumbered = DATA.domain_ids.copy()
    renumbered[DATA.split.ood] = 4_000
    other = TailTrainer(make_config(), replace(DATA, domain_ids=renumbered), seed=0)

    assert trainer.known_domains == (1, 3, 4, 7)
    assert np.array_equal(trainer.predict_held_out(), other.predict_held_out())
    renumbered[DATA.split.ood] = 4
    known = TailTrainer(make_config(), replace(DATA, domain_ids=renumbered), seed=0)
    assert not np.array_equal(trainer.predict(DATA.split.ood), known.predict(DATA.split.ood))


@pytest.mark.rounding
def test_predictions_do_not_depend_on_their_company():
    trainer = TailTrainer(make_config(**{"tail.head_dropout": 0.5}), DATA, seed=0)
    trainer.train_epoch()

    together = trainer.predict(np.arange(20))
    alone = np.concatenate([trainer.predict(np.array([i])) for i in range(20)])

    assert trainer.predict(np.arange(0)).shape == (0, 3)
    trainer.tail.double()
    exact = trainer.predict(np.arange(20))
    for predictions in (together, alone):
        assert_rounded(predictions, exact, forward_terms(ARCHITECTURE, ARCHITECTURE.n_blocks))


def test_an_exploding_loss_ends_the_trial_with_its_reason():
    config = make_config(**{"optim.lr": 1.0, "optim.head_multiplier": 100.0, "optim.name": "adam"})

    with pytest.raises(TrialDiverged, match=r"diverged in epoch 1: the training loss is .* over 1000 times") as caught:
        TailTrainer(config, DATA, seed=0).train_epoch()

    assert caught.value.epoch == 1
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)  # noqa: S301


def test_features_that_are_not_finite_end_the_trial_with_its_reason():
    data = make_data()
    data.store._features[1][int(data.split.train[0])] = math.inf

    with pytest.raises(TrialDiverged, match="the training loss is nan"):
        TailTrainer(make_config(), data, seed=0).train_epoch()

    data = make_data()
    data.store._features[1][int(data.split.ood[0])] = math.inf
    with pytest.raises(TrialDiverged, match="predictions are not finite"):
        TailTrainer(make_config(), data, seed=0).train_epoch()


def test_training_ends_with_the_last_epoch():
    trainer = TailTrainer(make_config(1), DATA, seed=0)
    trainer.train_epoch()

    with pytest.raises(ValueError, match="has 1 epochs, and all are done"):
        trainer.train_epoch()


def test_a_trial_of_half_the_length_is_one_of_half_the_epochs():
    half = TailTrainer(make_config(4).with_values({"length": 0.5}), make_data(), seed=3)
    short = TailTrainer(make_config(2), make_data(), seed=3)
    for _ in range(2):
        assert without_times(half.train_epoch()) == without_times(short.train_epoch())
    with pytest.raises(ValueError, match="2 epochs, and all are done"):
        half.train_epoch()


def test_the_learning_rate_reported_is_that_of_the_epochs_last_step():
    trainer = TailTrainer(make_config(3, **{"optim.final_lr_fraction": 0.1}), DATA, seed=0)

    rates = [trainer.train_epoch()["train/lr"] for _ in range(3)]

    assert rates[0] > rates[1] > rates[2]
    assert rates[2] == pytest.approx(3e-3 * 0.1)


def test_event_weights_reach_the_loss():
    losses = [
        TailTrainer(make_config(**{"loss.event_exponent": e}), replace(DATA, event_ids=ids), seed=0).train_epoch()
        for e, ids in ((0.0, DATA.event_ids), (1.0, DATA.event_ids), (1.0, np.minimum(DATA.event_ids, 30)))
    ]

    assert losses[0]["train/loss"] == losses[1]["train/loss"]  # all events are of one size
    assert losses[0]["train/loss"] != losses[2]["train/loss"]


def test_without_unknown_domains_there_are_no_ood_metrics():
    split = replace(DATA.split, ood=np.zeros(0, dtype=np.int64))

    metrics = TailTrainer(make_config(), replace(DATA, split=split), seed=0).train_epoch()

    assert "score/all" in metrics
    assert not [name for name in metrics if "ood" in name]


def all_data() -> TrialData:
    """`DATA` with nothing held out."""
    frame = pd.DataFrame({"site_id": DATA.site_ids})
    return replace(DATA, split=whole(frame))


def test_without_held_out_events_there_is_training_and_no_score():
    trainer = TailTrainer(make_config(), all_data(), seed=0)
    metrics = [trainer.train_epoch() for _ in range(2)]

    assert {name.partition("/")[0] for name in metrics[0]} == {"train", "time"}
    assert (trainer.best_epoch, trainer.best_score) == (0, math.inf)
    assert metrics[1]["train/loss"] < metrics[0]["train/loss"]
    assert trainer.known_domains == (1, 3, 4, 7, 9)  # the held-out one too
    assert trainer.predict_held_out().shape == (0, 3)
    assert not [name for name in trainer.state_dict()["tensors"] if name.startswith("best/")]


@pytest.mark.seconds
@pytest.mark.parametrize("kind", ["full", "dora"])
def test_interrupted_training_on_all_data_ends_in_the_same_weights(kind, tmp_path):
    config = make_config(4, kind=kind, **EVERYTHING_ON)
    whole_run, stopped = (TailTrainer(config, all_data(), seed=3) for _ in range(2))
    for _ in range(4):
        whole_run.train_epoch()
    for _ in range(2):
        stopped.train_epoch()
    save_checkpoint(tmp_path, stopped.state_dict())
    resumed = TailTrainer(config, all_data(), seed=3)
    resumed.load_state_dict(load_latest(tmp_path)[0])
    for _ in range(2):
        resumed.train_epoch()

    assert same_tensors(resumed, whole_run)
    assert [without_times(m) for m in resumed.history] == [without_times(m) for m in whole_run.history]


def test_a_checkpoint_of_a_split_is_not_gone_on_with_on_all_data():
    trainer = TailTrainer(make_config(), DATA, seed=0)

    with pytest.raises(UserError, match="`split` must be"):
        TailTrainer(make_config(), all_data(), seed=0).load_state_dict(trainer.state_dict())


def test_weights_that_are_not_finite_end_a_training_without_held_out_events():
    """A code that no specimen has spoils the others' weights in the epoch's only step, after its loss was finite."""
    config = make_config(**{"optim.batch_size": 4096, "augment.domain_dropout": 0.0})
    trainer = TailTrainer(config, all_data(), seed=0)
    with torch.no_grad():
        trainer.tail.domain_code.embedding.weight[-1] = math.nan

    with pytest.raises(TrialDiverged, match="diverged in epoch 1: weights are not finite"):
        trainer.train_epoch()
