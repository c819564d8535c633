"""Where and when the demo's specimens were caught: domains, sites, events, labels and species, drawn by seed."""

from dataclasses import dataclass
from datetime import date, timedelta
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TARGETS = ("SPEI_30d", "SPEI_1y", "SPEI_2y")
"""What the three labels of an event are called, in the order in which they are drawn."""

N_YEARS = 36
"""Years of the climatology that SPEI is a rank in (imageomics/sentinel-beetles: about 36 distinct labels)."""

LABEL_GRID: tuple[float, ...] = tuple(
    # Tukey's plotting position, as drought indices round it (Hobbins et al. 2016, doi:10.1175/JHM-D-15-0121.1), gives
    # the published values: ... 0.54 0.63 0.71 ... 1.45 1.69 2.09
    round(NormalDist().inv_cdf((rank - 0.33) / (N_YEARS + 0.33)), 2)
    for rank in range(1, N_YEARS + 1)
)

MIN_PER_SITE = 4
"""Fewest specimens of a site, so that each site has more than one event."""

MAX_PER_EVENT = 40


@dataclass(frozen=True, slots=True)
class Domain:
    """A domain's share and labels, as published.

    n_images: in the hub's train split. n_sites: assumption that adds up to the published 19, 1 to 3 a domain. mean,
    sd: SPEI of 30 days, 1 year, 2 years over its images.
    """

    id: int
    n_images: int
    n_sites: int
    mean: tuple[float, float, float]
    sd: tuple[float, float, float]


# https://huggingface.co/datasets/imageomics/sentinel-beetles, train split
DOMAINS = (
    Domain(202, 4468, 3, (-0.187, -0.060, -0.259), (0.98, 1.01, 0.84)),
    Domain(46, 3848, 3, (0.453, 0.872, 1.130), (0.79, 0.90, 1.04)),
    Domain(3, 2833, 2, (0.412, 0.924, 1.041), (0.92, 0.87, 0.85)),
    Domain(32, 2450, 2, (0.252, 0.767, 1.533), (0.86, 0.90, 0.61)),
    Domain(11, 2443, 2, (0.381, 0.501, 0.411), (1.05, 1.17, 0.94)),
    Domain(9, 2196, 2, (-0.167, 0.139, 0.063), (1.05, 1.03, 0.87)),
    Domain(99, 1396, 2, (-0.403, -0.389, -0.353), (1.00, 0.90, 1.01)),
    Domain(4, 1380, 1, (0.016, 0.447, 0.301), (1.04, 1.14, 1.21)),
    Domain(7, 848, 1, (0.395, 0.680, 0.971), (0.73, 0.55, 0.83)),
    Domain(1, 508, 1, (0.072, 0.658, 0.873), (1.25, 0.74, 0.79)),
)

N_SITES = sum(domain.n_sites for domain in DOMAINS)

_GENERA = (
    "Agonum",
    "Amara",
    "Bembidion",
    "Calathus",
    "Carabus",
    "Chlaenius",
    "Harpalus",
    "Poecilus",
    "Pterostichus",
    "Synuchus",
)
_EPITHETS = ("agrestis", "borealis", "collinus", "desertus", "fluvialis", "glaber", "hortensis", "insulanus", "lucidus",
             "montanus", "nitens", "obscurus", "pratensis", "rufescens", "silvaticus", "terrestris")  # fmt: skip

_OWN_SPECIES, _SHARED_SPECIES, _SHARED_POOL = 9, 5, 24
_SPECIES_TILT = (
    0.6  # how much an event's 2-year index shifts which species are caught, log weight per unit (assumption)
)
_SIZE_OF_SPECIES, _SIZE_OF_YEARS, _SIZE_OF_SPECIMEN = 1.0, 0.6, 1.0  # mm, the second per unit of SPEI (assumption)
_SHARE_UNMEASURED = 0.1


@dataclass(frozen=True, slots=True)
class World:
    """Sites, events and specimens; events of one site are adjacent, specimens of one event are adjacent.

    event_site: [events] index of a site. event_labels: [events, 3]. event_dates: [events]. specimen_event:
    [specimens] index of an event. specimen_species: [specimens] index of a species. site_domain: [sites] index of
    DOMAINS.
    """

    site_names: tuple[str, ...]
    site_domain: Ints
    event_site: Ints
    event_ids: Ints
    event_dates: tuple[str, ...]
    event_labels: Floats
    specimen_event: Ints
    specimen_species: Ints
    species_names: tuple[str, ...]


def make_world(n_specimens: int, rng: np.random.Generator) -> World:
    """Draw all that is not a picture; n_specimens at least `MIN_PER_SITE * N_SITES`."""
    site_domain = np.repeat(np.arange(len(DOMAINS)), [domain.n_sites for domain in DOMAINS])
    site_names = tuple(f"D{domain.id:03d}{letter}" for domain in DOMAINS for letter in "ABC"[: domain.n_sites])
    sizes = [_event_sizes(int(n), rng) for n in _specimens_per_site(n_specimens)]
    event_size = np.concatenate(sizes)
    event_site = np.repeat(np.arange(N_SITES), [len(s) for s in sizes])
    days = _event_days(event_site, rng)
    labels = _labels(event_site, site_domain[event_site], days // 365, event_size, rng)
    specimen_event = np.repeat(np.arange(len(event_size)), event_size)
    species_names, specimen_species = _species(site_domain[event_site], labels, specimen_event, rng)
    return World(
        site_names=site_names,
        site_domain=site_domain,
        event_site=event_site,
        event_ids=rng.permutation(len(event_size)) + 1,
        event_dates=tuple((date(2013, 1, 1) + timedelta(days=int(day))).isoformat() for day in days),
        event_labels=labels,
        specimen_event=specimen_event,
        specimen_species=specimen_species,
        species_names=species_names,
    )


def draw_sizes(world: World, rng: np.random.Generator) -> list[object]:
    """Each specimen's length in mm, to a tenth; None where nobody measured. Wet years grow larger beetles, a little."""
    of_species = 12 + _SIZE_OF_SPECIES * rng.normal(size=len(world.species_names))
    wet = world.event_labels[world.specimen_event, TARGETS.index("SPEI_2y")]
    noise = rng.normal(size=len(wet))
    sizes = of_species[world.specimen_species] + _SIZE_OF_YEARS * wet + _SIZE_OF_SPECIMEN * noise
    is_measured = rng.random(len(wet)) >= _SHARE_UNMEASURED
    return [round(float(size), 1) if known else None for size, known in zip(sizes, is_measured, strict=True)]


def _specimens_per_site(n_specimens: int) -> Ints:
    shares = []
    for domain in DOMAINS:
        weights = np.array([3.0, 2.0, 1.5][: domain.n_sites])  # a domain's sites are never alike (assumption)
        shares.append(domain.n_images * weights / weights.sum())
    share = np.concatenate(shares) / sum(domain.n_images for domain in DOMAINS)
    exact = share * n_specimens
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: n_specimens - counts.sum()]] += 1
    while (lacking := counts < MIN_PER_SITE).any():
        counts[np.argmax(lacking)] += 1
        counts[np.argmax(counts)] -= 1
    return counts


def _event_sizes(n_specimens: int, rng: np.random.Generator) -> Ints:
    """Specimens per event of one site: many events of few, a few of many."""
    largest = max(1, min(MAX_PER_EVENT, n_specimens // 3))
    sizes: list[int] = []
    while (left := n_specimens - sum(sizes)) > 0:
        size = round(float(rng.lognormal(1.25, 1.0)))
        sizes.append(min(max(size, 1), largest, left))
    return np.array(sizes, dtype=np.int64)


def _event_days(event_site: Ints, rng: np.random.Generator) -> Ints:
    """Days since 2013-01-01 in ten seasons from May to September, every fortnight; no site has two events on a day."""
    season_days = np.concatenate([365 * year + np.arange(120, 270, 14) for year in range(10)])
    days = np.empty(len(event_site), dtype=np.int64)
    for site in range(N_SITES):
        rows = np.flatnonzero(event_site == site)
        # a second round of trap nights starts a day later, should a site have more events than fortnights
        rounds = np.concatenate([season_days + k for k in range(-(-len(rows) // len(season_days)))])
        days[rows] = np.sort(rng.choice(rounds, len(rows), replace=False))
    return days


def _labels(event_site: Ints, event_domain: Ints, year: Ints, event_size: Ints, rng: np.random.Generator) -> Floats:
    """[events, 3] SPEI: longer indices follow the site's year, shorter ones the event; per domain as published."""
    n = len(event_site)
    of_site, of_year = rng.normal(size=(N_SITES, 3)), rng.normal(size=(N_SITES, int(year.max()) + 1))
    season, recent, month = rng.normal(size=(3, n))
    yearly = of_year[event_site, year]
    latent = 0.35 * of_site[event_site] + np.stack(
        [
            0.3 * yearly + 0.3 * recent + 0.9 * month,
            0.6 * yearly + 0.7 * recent + 0.3 * season,
            0.8 * yearly + 0.5 * season,
        ],
        1,
    )
    labels = np.empty((n, 3))
    for index, domain in enumerate(DOMAINS):
        rows = event_domain == index
        for target in range(3):
            labels[rows, target] = _fitted(
                latent[rows, target], event_size[rows], domain.mean[target], domain.sd[target]
            )
    return labels


def _fitted(latent: Floats, weights: Ints, mean: float, sd: float) -> Floats:
    """Latent values on the grid, moved and scaled so that the images' mean and SD come out despite the ceiling."""
    shift, scale = mean, sd
    centred = latent - np.average(latent, weights=weights)
    centred /= max(float(np.sqrt(np.average(centred**2, weights=weights))), 1e-6)
    grid = np.array(LABEL_GRID)
    best, least = grid[np.zeros(len(latent), dtype=np.int64)], np.inf
    for _ in range(60):
        values = grid[np.abs((shift + scale * centred)[:, None] - grid).argmin(axis=1)]
        found_mean = float(np.average(values, weights=weights))
        found_sd = float(np.sqrt(np.average((values - found_mean) ** 2, weights=weights)))
        error = abs(found_mean - mean) + abs(found_sd - sd)
        if error < least:
            best, least = values, error
        shift += 0.5 * (mean - found_mean)
        scale = float(np.clip(scale * (sd / max(found_sd, 1e-3)) ** 0.5, 0.05, 5.0))
    return best


def _species(
    event_domain: Ints, labels: Floats, specimen_event: Ints, rng: np.random.Generator
) -> tuple[tuple[str, ...], Ints]:
    """Names, and each specimen's species: mostly the domain's own; dry and wet events catch different ones."""
    n_species = _SHARED_POOL + _OWN_SPECIES * len(DOMAINS)
    names = [f"{genus} {epithet}" for genus in _GENERA for epithet in _EPITHETS]
    chosen = tuple(names[i] for i in rng.permutation(len(names))[:n_species])
    likes_wet = rng.normal(size=n_species)
    pools = []
    for index in range(len(DOMAINS)):
        own = _SHARED_POOL + _OWN_SPECIES * index + np.arange(_OWN_SPECIES)
        pools.append(rng.permutation(np.concatenate([own, rng.choice(_SHARED_POOL, _SHARED_SPECIES, replace=False)])))
    commonness = 1 / (1 + np.arange(_OWN_SPECIES + _SHARED_SPECIES))
    species = np.empty(len(specimen_event), dtype=np.int64)
    for event in range(len(labels)):
        pool = pools[event_domain[event]]
        weights = commonness * np.exp(_SPECIES_TILT * likes_wet[pool] * labels[event, 2])
        rows = np.flatnonzero(specimen_event == event)
        species[rows] = rng.choice(pool, len(rows), p=weights / weights.sum())
    return chosen, species
