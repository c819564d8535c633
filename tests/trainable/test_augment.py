from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.trainable.rounding import assert_rounded
from trainable.training.augment import Batch, EpochAugmentation, Strengths

B, TOKENS, WIDTH, UNKNOWN, UNKNOWN_SPECIES = 2000, 3, 4, 9, 30
CHANNEL_STD = torch.tensor([1.0, 2.0, 0.5, 0.0])


def make_batch(n: int = B) -> Batch:
    generator = torch.Generator().manual_seed(0)
    return Batch(
        tokens=torch.randn(n, TOKENS, WIDTH, generator=generator),
        domains=torch.arange(n) % UNKNOWN,
        targets=torch.randn(n, 3, generator=generator),
        weights=torch.rand(n, generator=generator),
    )


def augmentation(*, seed: int = 0, epoch: int = 0, **strengths) -> EpochAugmentation:
    return EpochAugmentation(
        Strengths(**strengths),
        channel_std=CHANNEL_STD,
        unknown_domain=UNKNOWN,
        unknown_species=UNKNOWN_SPECIES,
        seed=seed,
        epoch=epoch,
    )


def copy_of(batch: Batch) -> Batch:
    return replace(batch, tokens=batch.tokens.clone())


def test_strength_zero_is_exactly_off_and_draws_nothing():
    augment, batch, indices = augmentation(), make_batch(), np.arange(B)
    tokens, global_state = batch.tokens.clone(), torch.get_rng_state()
    own = [augment._specimens, augment._noise, augment._domains, augment._species, augment._partners]
    states = [generator.get_state() for generator in own]

    after = augment.apply(batch)

    assert after is batch
    assert torch.equal(batch.tokens, tokens)
    assert augment.keep(indices) is indices
    assert torch.equal(torch.get_rng_state(), global_state)
    assert all(torch.equal(g.get_state(), s) for g, s in zip(own, states, strict=True))


def test_strengths_ramp_linearly_from_zero():
    full = Strengths(feature_noise=0.2, mixup_alpha=0.4, specimen_dropout=0.5, domain_dropout=1.0)

    ramp = [full.ramped(epoch=epoch, epochs=16, ramp_fraction=0.25) for epoch in range(16)]

    assert ramp[0] == Strengths()
    assert ramp[2] == Strengths(feature_noise=0.1, mixup_alpha=0.2, specimen_dropout=0.25, domain_dropout=0.5)
    assert ramp[4:] == [full] * 12
    assert full.ramped(epoch=0, epochs=16, ramp_fraction=0.0) == full


def test_noise_has_the_asked_share_of_each_channels_sd():
    batch = make_batch()

    noisy = augmentation(feature_noise=0.1).apply(copy_of(batch))

    found = (noisy.tokens - batch.tokens).std(dim=(0, 1))
    torch.testing.assert_close(found, 0.1 * CHANNEL_STD, rtol=0.05, atol=1e-6)
    assert torch.equal(noisy.targets, batch.targets)


def test_domain_dropout_is_per_specimen_and_leads_to_unknown():
    batch = make_batch()

    domains = augmentation(domain_dropout=0.3).apply(batch).domains

    dropped = domains == UNKNOWN
    assert dropped.float().mean() == pytest.approx(0.3, abs=0.04)
    assert torch.equal(domains[~dropped], batch.domains[~dropped])
    assert augmentation(domain_dropout=1.0).apply(batch).domains.eq(UNKNOWN).all()


def test_species_dropout_is_per_specimen_and_draws_apart_from_the_domains():
    batch = replace(make_batch(), species=torch.arange(B) % UNKNOWN_SPECIES)

    both = augmentation(domain_dropout=0.3, species_dropout=0.6).apply(batch)

    dropped = both.species == UNKNOWN_SPECIES
    assert dropped.float().mean() == pytest.approx(0.6, abs=0.04)
    assert torch.equal(both.species[~dropped], batch.species[~dropped])
    assert torch.equal(both.domains, augmentation(domain_dropout=0.3).apply(batch).domains)
    assert (dropped & (both.domains == UNKNOWN)).float().mean() == pytest.approx(0.18, abs=0.04)


def test_without_a_code_that_reads_them_no_species_are_drawn_for():
    augment, batch = augmentation(species_dropout=0.5), make_batch()
    state = augment._species.get_state()

    assert augment.apply(batch) is batch
    assert torch.equal(augment._species.get_state(), state)


def test_specimen_dropout_leaves_out_the_asked_share():
    indices = np.arange(100, 100 + B)

    kept = augmentation(specimen_dropout=0.25).keep(indices)

    assert len(kept) / B == pytest.approx(0.75, abs=0.04)
    assert (np.diff(kept) > 0).all()
    assert np.isin(kept, indices).all()


def test_specimen_dropout_never_empties_a_batch():
    augment = augmentation(specimen_dropout=0.999)

    sizes = {len(augment.keep(np.arange(2))) for _ in range(200)}

    assert sizes == {1}


def test_mixup_mixes_features_targets_weights_and_categories_in_one_proportion():
    batch = replace(make_batch(), species=torch.arange(B) % UNKNOWN_SPECIES)

    mixed = augmentation(mixup_alpha=1.0).apply(copy_of(batch))

    shares = mixed.shares
    assert 0 <= shares.min() < 0.1
    assert 0.9 < shares.max() <= 1
    partner = torch.randperm(B, generator=augmentation()._partners)
    assert torch.equal(mixed.partner_domains, batch.domains[partner])
    assert torch.equal(mixed.domains, batch.domains)
    assert torch.equal(mixed.partner_species, batch.species[partner])
    assert torch.equal(mixed.species, batch.species)
    for name, share in (("tokens", shares[:, None, None]), ("targets", shares[:, None]), ("weights", shares)):
        own, share = getattr(batch, name).double(), share.double()
        assert_rounded(getattr(mixed, name), share * own + (1 - share) * own[partner], n_terms=3)


def test_domain_dropout_comes_before_mixup():
    mixed = augmentation(mixup_alpha=1.0, domain_dropout=1.0).apply(make_batch())

    assert mixed.partner_domains.eq(UNKNOWN).all()


def test_mixup_of_a_tiny_alpha_hardly_mixes():
    shares = augmentation(mixup_alpha=1e-3).apply(make_batch()).shares

    assert ((shares < 0.01) | (shares > 0.99)).float().mean() > 0.98
    assert torch.isfinite(shares).all()


def test_seed_and_epoch_fix_every_draw():
    strengths = {"feature_noise": 0.1, "mixup_alpha": 0.2, "domain_dropout": 0.3, "specimen_dropout": 0.2}

    def drawn(seed: int, epoch: int) -> tuple[torch.Tensor, np.ndarray]:
        augment = augmentation(seed=seed, epoch=epoch, **strengths)
        return augment.apply(make_batch()).tokens, augment.keep(np.arange(B))

    first, again = drawn(1, 2), drawn(1, 2)
    assert torch.equal(first[0], again[0])
    assert np.array_equal(first[1], again[1])
    for other in (drawn(2, 2), drawn(1, 3)):
        assert not torch.equal(first[0], other[0])
        assert not np.array_equal(first[1], other[1])


def test_one_augmentation_does_not_shift_anothers_draws():
    alone = augmentation(domain_dropout=0.3).apply(make_batch()).domains
    beside = augmentation(domain_dropout=0.3, feature_noise=0.1).apply(make_batch()).domains

    assert torch.equal(alone, beside)


@pytest.mark.parametrize("n_parts", [1, 2, 3, 7, 50])
def test_parts_of_a_batch_are_the_batch(n_parts):
    batch = augmentation(mixup_alpha=1.0).apply(make_batch(7))

    parts = batch.split(n_parts)

    assert len(parts) == min(n_parts, 7)
    for name in ("tokens", "domains", "targets", "weights", "partner_domains", "shares"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))
    assert make_batch(7).split(2)[0].shares is None
