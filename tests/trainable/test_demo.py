import hashlib
import io
import json
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score

from tests.beetles import LABEL_RANGE, TARGETS
from trainable.data.decoding import decode
from trainable.data.demo import N_WORLDS, draw_demo
from trainable.data.demo_pictures import draw_specimen, make_looks
from trainable.data.demo_world import DOMAINS, LABEL_GRID, make_world
from trainable.data.specimens import Specimens, load_specimens
from trainable.data.splits import make_split
from trainable.data.task import Task
from trainable.errors import UserError


@pytest.fixture(scope="module")
def cache_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def demo(cache_dir: Path) -> Specimens:
    started = time.process_time()
    specimens = load_specimens("demo", cache_dir=cache_dir, n_processes=1)
    assert time.process_time() - started < 10
    return specimens


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        draw_demo(tmp_path / name, n_specimens=100, seed=seed)
    a, b, c = (contents(tmp_path / name) for name in "abc")
    assert a == b
    assert a.keys() == c.keys()
    assert all(a[name] != c[name] for name in a)


def test_a_world_is_named_behind_the_number_of_specimens_and_is_that_of_its_seed(tmp_path: Path) -> None:
    draw_demo(tmp_path / "drawn", n_specimens=76, seed=7)
    drawn, seventh, zeroth, unnamed = (
        load_specimens(data, cache_dir=tmp_path / "cache", n_processes=1)
        for data in (str(tmp_path / "drawn"), "demo:76:7", "demo:76:0", "demo:76")
    )
    assert drawn.fingerprint == seventh.fingerprint != zeroth.fingerprint == unnamed.fingerprint


@pytest.mark.parametrize("seed", [-1, N_WORLDS, N_WORLDS + 19])
def test_a_seed_that_is_no_demos_is_refused(tmp_path: Path, seed: int) -> None:
    with pytest.raises(UserError, match=rf"`0 <= seed < 2\*\*63` must hold, but got {seed}"):
        draw_demo(tmp_path / "demo", n_specimens=76, seed=seed)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.seconds
def test_shards_have_the_hubs_names_columns_types_and_features(demo: Specimens, cache_dir: Path) -> None:
    assert len(demo.frame) == 1500
    shards = sorted(cache_dir.glob("demo-*/data/*.parquet"))
    assert [shard.name for shard in shards] == [
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
        "validation-00000-of-00001.parquet",
    ]
    image = "struct<bytes: binary, path: string>"
    columns = {
        **dict.fromkeys(["file_path", "colorpicker_full_path", "scalebar_full_path"], image),
        **dict.fromkeys(["SPEI_30d", "SPEI_1y", "SPEI_2y"], "double"),
        **dict.fromkeys(["eventID", "domainID"], "int64"),
        **dict.fromkeys(["siteID", "scientificName", "collectDate", "public_id"], "string"),
        **dict.fromkeys(["relative_img_loc", "colorpicker_path", "scalebar_path"], "string"),
        "size_mm": "double",  # which the hub's have not
    }
    for shard in shards:
        schema = pq.read_schema(shard)
        assert {field.name: str(field.type) for field in schema} == columns
        features = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        assert features.keys() == columns.keys()
        assert features["colorpicker_full_path"] == {"_type": "Image"}
        assert features["SPEI_1y"] == {"dtype": "float64", "_type": "Value"}


def test_sizes_are_drawn_apart_from_labels_splits_and_pictures_which_are_those_of_before_them(tmp_path: Path) -> None:
    of_world, of_looks, of_pictures, of_split = np.random.default_rng(7).spawn(4)
    world = make_world(76, of_world)
    looks = make_looks(world, of_looks)
    pictures = [draw_specimen(world, looks, specimen, of_pictures) for specimen in range(76)]
    validation = np.sort(of_split.permutation(76)[:8])

    specimens = load_specimens("demo:76:7", cache_dir=tmp_path, n_processes=1)

    order = [int(name.removeprefix("DEMO.")) for name in specimens.frame["specimen_id"]]
    assert order[-8:] == validation.tolist()
    assert specimens.images.read(range(76)) == [pictures[specimen] for specimen in order]
    table = specimens.frame.to_csv(index=False).encode()
    assert hashlib.sha256(table).hexdigest() == "ccc371c44f88c2a59db0cefb9916de94f319abd1cfd7261a49e26857614927e1"


@pytest.mark.seconds
def test_sizes_tell_a_little_of_the_two_year_index_and_some_are_missing(cache_dir: Path) -> None:
    specimens = load_specimens("demo", task=Task.load("demo-size"), cache_dir=cache_dir, n_processes=1)
    sizes = specimens.numbers[:, 0]
    is_known = np.isfinite(sizes)

    assert 0.07 < 1 - is_known.mean() < 0.13
    assert 5 < sizes[is_known].min() < sizes[is_known].max() < 20
    assert 0.1 < np.corrcoef(sizes[is_known], specimens.labels[is_known, 0])[0, 1] < 0.6


def test_all_three_images_of_a_specimen_are_real(demo: Specimens, cache_dir: Path) -> None:
    assert len(demo.images) == 1500
    (shard,) = cache_dir.glob("demo-*/data/validation-*.parquet")
    for row in pq.read_table(shard).slice(0, 20).to_pylist():
        for column in ("file_path", "colorpicker_full_path", "scalebar_full_path"):
            Image.open(io.BytesIO(row[column]["bytes"])).load()
        assert all(64 <= side <= 96 for side in Image.open(io.BytesIO(row["file_path"]["bytes"])).size)


def test_domains_have_the_published_shares_means_and_deviations(demo: Specimens) -> None:
    frame = demo.frame
    n_images = sum(domain.n_images for domain in DOMAINS)
    assert set(frame["domain_id"]) == {1, 3, 4, 7, 9, 11, 32, 46, 99, 202}
    for domain in DOMAINS:
        labels = frame.loc[frame["domain_id"] == domain.id, list(TARGETS)]
        assert len(labels) / len(frame) == pytest.approx(domain.n_images / n_images, abs=0.01)
        np.testing.assert_allclose(labels.mean(), domain.mean, atol=0.1)
        np.testing.assert_allclose(labels.std(), domain.sd, atol=0.1)


def test_labels_lie_on_the_published_grid_with_many_at_the_ceiling(demo: Specimens) -> None:
    labels = demo.frame[list(TARGETS)]
    assert len(LABEL_GRID) == 36
    assert LABEL_GRID[-11:] == (0.54, 0.63, 0.71, 0.80, 0.90, 1.01, 1.13, 1.28, 1.45, 1.69, 2.09)
    assert (LABEL_GRID[0], LABEL_GRID[-1]) == LABEL_RANGE
    assert set(np.unique(labels)) <= set(LABEL_GRID)
    at_ceiling = (labels == LABEL_RANGE[1]).mean()
    np.testing.assert_allclose(at_ceiling, [0.03, 0.12, 0.19], atol=0.05)


def test_events_are_of_one_site_date_and_label_with_a_long_tail_of_sizes(demo: Specimens) -> None:
    frame = demo.frame
    by_event = frame.groupby("event_id")
    assert (by_event[["site_id", "domain_id", "date", *TARGETS]].nunique() == 1).all(axis=None)
    assert (frame.groupby(["site_id", "date"])["event_id"].nunique() == 1).all()
    sizes = by_event.size()
    assert 150 <= len(sizes) <= 300
    assert (sizes <= 2).mean() > 0.2
    assert 20 <= sizes.max() <= 40
    sites = frame.groupby("site_id")
    assert len(sites) == 19
    assert sites["event_id"].nunique().min() >= 4
    assert frame.groupby("domain_id")["site_id"].nunique().between(1, 3).all()


def test_the_validation_split_is_a_leaking_tenth_of_the_images(demo: Specimens) -> None:
    split = make_split(demo.frame, holdout="official", fold=0, seed=0)
    assert len(split.id_) == 150
    n_events = demo.frame["event_id"].iloc[split.id_].nunique()
    assert split.n_leaked_events > 0.9 * n_events


def test_domains_differ_in_species(demo: Specimens) -> None:
    species = demo.frame.groupby("domain_id")["species"].unique().map(set)
    assert 40 <= demo.frame["species"].nunique() <= 150
    alike = [len(a & b) / len(a | b) for i, a in enumerate(species) for b in species.iloc[:i]]
    assert np.mean(alike) < 0.3


@pytest.mark.slow
def test_looks_tell_of_drought_at_unseen_sites_and_less_so_in_unseen_domains(demo: Specimens) -> None:
    pixels = np.stack([decode(image, 64) for image in demo.images.read(range(1500))]) / 255
    features = colour_statistics(pixels)
    domains = np.asarray(demo.frame["domain_id"])[:, None] == np.unique(demo.frame["domain_id"])
    found: dict[str, list[pd.DataFrame]] = {"id": [], "ood": []}
    for fold in range(5):
        split = make_split(demo.frame, holdout="both", fold=fold, seed=0)
        looks, floor = (ridge(x, demo.frame, split.train) for x in (features, domains.astype(float)))
        for part, rows in (("id", split.id_), ("ood", split.ood)):
            found[part].append(event_means(demo.frame, looks, floor, rows))
    r2 = {part: event_r2(pd.concat(tables)) for part, tables in found.items()}
    assert (r2["id"]["looks"] > 0.3).all()
    assert (r2["id"]["looks"] < 0.75).all()
    assert (r2["id"]["looks"] - r2["id"]["floor"] > 0.2).all()
    assert (r2["ood"]["looks"] > 0.1).all()
    assert r2["ood"]["looks"].mean() < r2["id"]["looks"].mean() - 0.05


def colour_statistics(pixels: np.ndarray) -> np.ndarray:
    middle, edge = pixels[:, 20:44, 26:38], pixels[:, :8]
    brightness, background = pixels.mean(-1), np.median(edge.mean(-1), axis=(1, 2))
    covered = (brightness < 0.72 * background[:, None, None]).mean((1, 2))[:, None]
    gloss = np.percentile(middle.mean(-1).reshape(len(pixels), -1), [50, 90, 98], axis=1).T
    columns = [x.mean((1, 2)) for x in (pixels, middle, edge)] + [x.std((1, 2)) for x in (pixels, middle)]
    features = np.concatenate([*columns, covered, gloss], axis=1)
    return (features - features.mean(0)) / features.std(0)


def ridge(features: np.ndarray, frame: pd.DataFrame, train: np.ndarray) -> np.ndarray:
    labels = frame[list(TARGETS)].to_numpy()
    return Ridge(10.0).fit(features[train], labels[train]).predict(features)


def event_means(frame: pd.DataFrame, looks: np.ndarray, floor: np.ndarray, rows: np.ndarray) -> pd.DataFrame:
    tables = {"labels": frame[list(TARGETS)].to_numpy(), "looks": looks, "floor": floor}
    wide = pd.concat({name: pd.DataFrame(t[rows], columns=list(TARGETS)) for name, t in tables.items()}, axis=1)
    return wide.groupby(frame["event_id"].to_numpy()[rows]).mean()


def event_r2(events: pd.DataFrame) -> dict[str, np.ndarray]:
    return {
        name: r2_score(events["labels"], events[name].clip(*LABEL_RANGE), multioutput="raw_values")
        for name in ("looks", "floor")
    }


def test_few_specimens_still_cover_all_sites_with_several_events(tmp_path: Path) -> None:
    frame = load_specimens("demo:76", cache_dir=tmp_path, n_processes=1).frame
    assert len(frame) == 76
    assert frame["site_id"].nunique() == 19
    assert frame.groupby("site_id")["event_id"].nunique().min() >= 2


def test_too_few_specimens_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"`n_specimens >= 76`, but got 75"):
        draw_demo(tmp_path / "demo", n_specimens=75)


def test_a_folder_that_exists_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="must not exist yet"):
        draw_demo(tmp_path, n_specimens=76)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_a_place_that_cannot_be_written_is_refused_and_left_clean(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must be written to"):
        draw_demo(tmp_path / "file" / "demo", n_specimens=76)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
