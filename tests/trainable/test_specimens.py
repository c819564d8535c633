import io
import json
import os
import pickle
import re
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tests.beetles import TARGETS
from trainable.data.copies import shared_line
from trainable.data.image_sources import TableImages
from trainable.data.specimens import Specimens, load_specimens
from trainable.errors import UserError

Rows = list[dict[str, Any]]


def png(shade: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 6), (shade, 40, 90)).save(file, "PNG")
    return file.getvalue()


def make_rows(n: int = 8, *, first: int = 0) -> Rows:
    """Two specimens an event, two events a site, two sites a domain."""
    return [
        {
            "file_path": {"bytes": png(row), "path": f"{row}.png"},
            "SPEI_30d": round(-2.09 + 0.1 * (row // 2 % 20), 2),
            "SPEI_1y": 2.09,
            "SPEI_2y": round(0.05 * (row // 2 % 20), 2),
            "eventID": 100 + row // 2,
            "domainID": 1 + row // 8,
            "siteID": f"S{row // 4}",
            "scientificName": "Amara agrestis",
            "collectDate": f"2019-06-{1 + row // 2:02d}",
            "public_id": f"P{row}",
        }
        for row in range(first, first + n)
    ]


IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})


def write_shard(path: Path, rows: Rows, *, group_rows: int = 3) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.Table.from_pylist(rows)
    if rows and "file_path" in table.column_names:
        images = pa.array([row["file_path"] for row in rows], type=IMAGE)
        table = table.set_column(table.column_names.index("file_path"), "file_path", images)
    pq.write_table(table, path, row_group_size=group_rows)


def write_shards(folder: Path, train: Rows, validation: Rows) -> Path:
    half = len(train) // 2
    write_shard(folder / "data" / "train-00000-of-00002.parquet", train[:half])
    write_shard(folder / "data" / "train-00001-of-00002.parquet", train[half:])
    write_shard(folder / "data" / "validation-00000-of-00001.parquet", validation)
    return folder


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Specimens]:
    def load_with_own_cache(data: object, **options: Any) -> Specimens:
        return load_specimens(str(data), **{"cache_dir": tmp_path / "cache", "n_processes": 2, **options})

    return load_with_own_cache


def problems_of(load: Callable[..., Specimens], data: object, **options: Any) -> tuple[str, ...]:
    with pytest.raises(UserError) as caught:
        load(data, **options)
    return caught.value.problems


# Reading


def test_parquet_shards_are_read_with_train_first_and_images_in_order(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(10), make_rows(4, first=10)
    specimens = load(write_shards(tmp_path / "d", train, validation))
    frame = specimens.frame
    assert list(frame["split"]) == ["train"] * 10 + ["validation"] * 4
    assert list(frame["specimen_id"]) == [row["public_id"] for row in train + validation]
    assert list(frame["site_id"]) == [row["siteID"] for row in train + validation]
    np.testing.assert_array_equal(frame[list(TARGETS)], [[row[t] for t in TARGETS] for row in train + validation])
    assert frame.dtypes[["event_id", "domain_id", *TARGETS]].astype(str).to_list() == ["int64"] * 2 + ["float64"] * 3
    assert frame.index.equals(pd.RangeIndex(14))
    wanted = [row["file_path"]["bytes"] for row in train + validation]
    assert specimens.images.read(range(14)) == wanted
    assert specimens.images.read([13, 0, 5, 5]) == [wanted[13], wanted[0], wanted[5], wanted[5]]
    assert (specimens.n_dropped, len(specimens.images)) == (0, 14)


def test_the_hub_loader_gives_what_the_shards_give(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(10), make_rows(4, first=10))
    local, hub = load(folder), load(f"hf://{folder}")
    pd.testing.assert_frame_equal(local.frame, hub.frame)
    assert local.fingerprint == hub.fingerprint
    assert hub.images.read([11, 2]) == local.images.read([11, 2])
    assert hub.source == f"hf://{folder}"


def test_the_hub_loader_takes_image_files_that_datasets_keeps_beside_its_tables(tmp_path: Path, load: Any) -> None:
    rows = make_rows(8)
    for row in rows:
        (tmp_path / row["file_path"]["path"]).write_bytes(row["file_path"]["bytes"])
        row["file_path"] = {"bytes": None, "path": str(tmp_path / row["file_path"]["path"])}
    write_shard(tmp_path / "d" / "data" / "train-00000-of-00001.parquet", rows)
    specimens = load(f"hf://{tmp_path / 'd'}")
    assert specimens.images.read(range(8)) == [row["file_path"]["bytes"] for row in make_rows(8)]


def test_a_hub_dataset_that_cannot_be_loaded_is_an_error_with_the_reason(tmp_path: Path, load: Any) -> None:
    (line,) = problems_of(load, f"hf://{tmp_path / 'nothing'}")
    assert "must be a dataset that `datasets.load_dataset` can load" in line


def test_the_demo_is_drawn_once_and_read_as_shards(load: Any, tmp_path: Path) -> None:
    first = load("demo:80:2")
    (drawn,) = tmp_path.glob("cache/demo-*-80-2")
    before = {path: path.stat().st_mtime_ns for path in drawn.rglob("*.parquet")}
    second = load("demo:80:2")
    assert {path: path.stat().st_mtime_ns for path in drawn.rglob("*.parquet")} == before
    assert first.fingerprint == second.fingerprint != load("demo:80:3").fingerprint
    assert len(first.frame) == 80
    assert load(drawn).fingerprint == first.fingerprint


def write_image_folder(folder: Path, rows: Rows, *, metadata: str, **columns: list[Any]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame([{**row, "file_path": f"crops/{row['public_id']}.png"} for row in rows]).assign(**columns)
    for row, name in zip(rows, table["file_path"], strict=True):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(row["file_path"]["bytes"])
    if metadata.endswith(".csv"):
        table.to_csv(folder / metadata, index=False)
    elif metadata.endswith(".parquet"):
        table.to_parquet(folder / metadata)
    else:
        table.to_json(folder / metadata, orient="records", lines=True)
    return folder


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.parquet", "metadata.jsonl"])
def test_an_image_folder_gives_what_the_shards_give(tmp_path: Path, load: Any, metadata: str) -> None:
    train, validation = make_rows(10), make_rows(4, first=10)
    split = ["train"] * 10 + ["validation"] * 4
    folder = write_image_folder(tmp_path / "i", train + validation, metadata=metadata, split=split)
    shards = load(write_shards(tmp_path / "d", train, validation))
    images = load(folder)
    pd.testing.assert_frame_equal(images.frame, shards.frame)
    assert images.fingerprint == shards.fingerprint
    assert images.images.read([12, 1]) == shards.images.read([12, 1])


def test_split_folders_are_splits_as_in_imagefolder(tmp_path: Path, load: Any) -> None:
    write_image_folder(tmp_path / "i" / "train", make_rows(8), metadata="metadata.csv")
    write_image_folder(tmp_path / "i" / "validation", make_rows(4, first=8), metadata="metadata.csv")
    assert list(load(tmp_path / "i").frame["split"]) == ["train"] * 8 + ["validation"] * 4


def test_without_a_split_column_the_folder_of_an_image_tells(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    (folder / "crops").rename(folder / "train")
    (folder / "val").mkdir()
    text = (folder / "metadata.csv").read_text().replace("crops/", "train/").replace("train/P7", "val/P7")
    (folder / "train" / "P7.png").rename(folder / "val" / "P7.png")
    (folder / "metadata.csv").write_text(text)
    assert list(load(folder).frame["split"]) == ["train"] * 7 + ["validation"]


def test_csv_text_is_taken_as_it_stands(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "siteID": "NA", "public_id": f"00{n}"} for n, row in enumerate(make_rows(4))]
    frame = load(write_image_folder(tmp_path / "i", rows, metadata="metadata.csv")).frame
    assert list(frame["site_id"]) == ["NA"] * 4
    assert frame["specimen_id"][1] == "001"


def test_dates_become_text_and_unnamed_specimens_get_names(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "collectDate": pd.Timestamp("2019-07-31"), "scientificName": None} for row in make_rows(4)]
    for row in rows:
        del row["public_id"]
    write_shard(tmp_path / "d" / "train-00000-of-00001.parquet", rows)
    frame = load(tmp_path / "d").frame
    assert set(frame["date"]) == {"2019-07-31"}
    assert set(frame["species"]) == {"unknown"}
    assert frame["specimen_id"][2] == "train-2"


def test_a_test_split_stays_unread(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(2, first=8))
    write_shard(folder / "data" / "test-00000-of-00001.parquet", [{"file_path": make_rows(1)[0]["file_path"]}])
    assert len(load(folder).frame) == 10


# Images


def test_image_sources_travel_as_paths_and_are_read_anew_in_threads(tmp_path: Path, load: Any) -> None:
    images = load(write_shards(tmp_path / "d", make_rows(200), make_rows(4, first=200))).images
    images.read(range(204))
    sent = pickle.dumps(images)
    assert len(sent) < 20_000
    assert pickle.loads(sent).read([7]) == images.read([7])  # noqa: S301 - our own
    found: dict[int, list[bytes]] = {}
    threads = [
        threading.Thread(target=lambda start=start: found.update({start: images.read(range(start, 204, 4))}))
        for start in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wanted = images.read(range(204))
    assert all(found[start] == wanted[start::4] for start in range(4))


def test_unreadable_images_are_all_listed_with_split_row_and_file(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    train[1]["file_path"]["bytes"] = b"<html>"
    train[6]["file_path"]["bytes"] = png(6)[:45]
    validation[2]["file_path"]["bytes"] = None
    lines = problems_of(load, write_shards(tmp_path / "d", train, validation))
    assert len(lines) == 4
    assert lines[0].startswith("train row 1 (P1): the image must be readable, but ")
    assert "train-00000-of-00002.parquet: no image format begins with b'<html>'" in lines[0]
    assert lines[1].startswith("train row 6 (P6)")
    assert lines[2].startswith("validation row 2 (P10)")
    assert "there are no bytes" in lines[2]
    assert "--skip-bad-images" in lines[3]


def test_skipping_bad_images_drops_and_counts_them(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    train[1]["file_path"]["bytes"] = b"no image"
    specimens = load(write_shards(tmp_path / "d", train, validation), skip_bad_images=True)
    assert specimens.n_dropped == 1
    assert list(specimens.frame["specimen_id"]) == [
        row["public_id"] for row in train + validation if row is not train[1]
    ]
    kept = pickle.loads(pickle.dumps(specimens.images))  # noqa: S301 - our own
    assert (len(kept), kept.read([1, 10])) == (
        11,
        [train[2]["file_path"]["bytes"], validation[3]["file_path"]["bytes"]],
    )
    without = write_shards(tmp_path / "e", [row for row in train if row is not train[1]], validation)
    assert load(without).fingerprint == specimens.fingerprint


def test_skipping_every_image_of_a_split_is_an_error(tmp_path: Path, load: Any) -> None:
    validation = make_rows(2, first=8)
    for row in validation:
        row["file_path"]["bytes"] = b"no image"
    lines = problems_of(load, write_shards(tmp_path / "d", make_rows(8), validation), skip_bad_images=True)
    assert "split validation must have readable images, but has none" in lines[0]


def test_a_missing_image_file_is_named(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    (folder / "crops" / "P3.png").unlink()
    assert f"{folder}/crops/P3.png" in problems_of(load, folder)[0]


def test_missing_files_are_named_with_those_that_may_be_meant_and_found_once_they_are_there(
    tmp_path: Path, load: Any
) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    (folder / "crops" / "P3.png").rename(folder / "crops" / "p3.PNG")
    line, remedy = problems_of(load, folder)
    assert line.endswith(f"there is no such file; did you mean {folder}/crops/p3.PNG? (other case)")
    assert "the names of missing ones" in remedy
    (folder / "crops" / "p3.PNG").rename(folder / "crops" / "P3.png")
    assert len(load(folder).frame) == 8


def test_images_of_more_than_8_bits_are_counted_and_tell_in_the_fingerprint(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    assert load(folder).notes == ()
    file = io.BytesIO()
    Image.fromarray(np.linspace(0, 65535, 48).reshape(6, 8).astype(np.uint16)).save(file, "PNG")
    (folder / "crops" / "P3.png").write_bytes(file.getvalue())
    (note,) = load(folder).notes
    assert note.startswith("1 image of more than 8 bits a channel: scaled")


def test_a_shard_cannot_point_to_files_of_the_reader(tmp_path: Path, load: Any) -> None:
    (tmp_path / "private.png").write_bytes(png(3))
    rows = make_rows(8)
    rows[0]["file_path"] = {"bytes": None, "path": str(tmp_path / "private.png")}
    assert "there are no bytes" in problems_of(load, write_shards(tmp_path / "d", rows, make_rows(2, first=8)))[0]


@pytest.mark.parametrize("name", ["../outside.png", "/etc/hosts", "crops/../../outside.png", ""])
def test_image_paths_that_leave_the_folder_are_refused(tmp_path: Path, load: Any, name: str) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    (tmp_path / "outside.png").write_bytes(png(1))
    text = (folder / "metadata.csv").read_text().replace("crops/P2.png", name)
    (folder / "metadata.csv").write_text(text)
    (line,) = problems_of(load, folder)
    assert f"metadata.csv: line 4: file_path must be a path inside {folder}, but is {name!r}" in line


@pytest.mark.parametrize("place", ["https://example.org/photos/", "C:\\photos\\", "/photos/"])
def test_photographs_that_lie_elsewhere_are_one_line_however_many_they_are(
    tmp_path: Path, load: Any, place: str
) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(30), metadata="metadata.csv")
    text = (folder / "metadata.csv").read_text().replace("crops/", place)
    (folder / "metadata.csv").write_text(text)
    (line,) = problems_of(load, folder)
    assert f"metadata.csv: line 2: file_path must be a path inside {folder}, but is {place + 'P0.png'!r}" in line
    assert "and so it is in 29 more rows" in line


def test_progress_counts_up_to_all_images(tmp_path: Path, load: Any) -> None:
    seen: list[tuple[int, int]] = []
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    load(folder, progress=lambda done, total: seen.append((done, total)))
    assert seen == sorted(seen)
    assert seen[-1] == (12, 12)


def test_images_are_checked_once_until_a_file_changes(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    seen: list[int] = []
    first = load(folder, progress=lambda done, _: seen.append(done))
    n_seen = len(seen)
    assert load(folder, progress=lambda done, _: seen.append(done)).fingerprint == first.fingerprint
    assert len(seen) == n_seen
    (folder / "crops" / "P3.png").write_bytes(png(200))
    os.utime(folder / "crops" / "P3.png", ns=(1, 1))
    assert load(folder, progress=lambda done, _: seen.append(done)).fingerprint != first.fingerprint
    assert len(seen) > n_seen


def test_a_damaged_record_of_checks_is_made_anew(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    first = load(folder)
    (record,) = (tmp_path / "cache" / "checked-images").glob("*.json")
    strange = json.dumps({"digests": [1] * 12, "faults": {"0": 3}, "scaled": [1e999]})
    for damage in (record.read_text()[:50], json.dumps({"digests": [], "faults": {}}), "[]", strange):
        record.write_text(damage)
        assert load(folder).fingerprint == first.fingerprint


# Copies


def with_copies(train: Rows, validation: Rows) -> None:
    """Row 5 repeats row 2 of another event, row 6 row 7 of its own, and a validation row one of train."""
    train[5]["file_path"] = train[2]["file_path"]
    train[7]["file_path"] = train[6]["file_path"]
    validation[1]["file_path"] = train[2]["file_path"]


def test_repeated_photographs_are_counted_and_the_first_few_are_named(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    with_copies(train, validation)
    specimens = load(write_shards(tmp_path / "d", train, validation))
    assert specimens.notes == (
        "warning: 3 of 12 specimens repeat the photograph of another, byte for byte, 2 of them of another event or "
        "with other labels: train row 5 is train row 2, train row 7 is train row 6, validation row 1 is train row 2; "
        "--drop-duplicates keeps the first of each",
    )
    assert (len(specimens.frame), specimens.n_duplicates) == (12, 0)


def test_dropping_duplicates_keeps_the_first_row_of_each_and_is_the_data_without_them(
    tmp_path: Path, load: Any
) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    with_copies(train, validation)
    specimens = load(write_shards(tmp_path / "d", train, validation), drop_duplicates=True)
    left = [[row for row in side if row["public_id"] not in ("P5", "P7", "P9")] for side in (train, validation)]
    without = load(write_shards(tmp_path / "e", *left))
    assert list(specimens.frame["specimen_id"]) == [row["public_id"] for side in left for row in side]
    assert (specimens.fingerprint, specimens.notes) == (without.fingerprint, ())
    assert (specimens.n_duplicates, specimens.n_dropped) == (3, 0)
    assert specimens.images.read(range(9)) == without.images.read(range(9))
    assert specimens.names[-1] == "validation row 3"


def test_a_row_that_is_there_twice_stays_once(tmp_path: Path, load: Any) -> None:
    rows = make_rows(8)
    write_shard(tmp_path / "d" / "train.parquet", [*rows, rows[3], rows[3]])
    write_shard(tmp_path / "e" / "train.parquet", rows)
    specimens = load(tmp_path / "d", drop_duplicates=True)
    assert specimens.fingerprint == load(tmp_path / "e").fingerprint
    assert any("P3' 3 times" in note for note in load(tmp_path / "d").notes)


def test_a_split_of_nothing_but_copies_is_an_error(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(2))
    (line,) = problems_of(load, folder, drop_duplicates=True)
    assert "split validation must have images that are readable and not in train too, but has none" in line


def test_a_public_id_that_all_rows_share_is_named(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "public_id": "same"} for row in make_rows(4)]
    write_shard(tmp_path / "d" / "train.parquet", rows)
    assert load(tmp_path / "d").notes == (
        "warning: all 4 specimens have the public_id 'same': it tells none from another",
    )


def test_held_out_photographs_that_are_trained_on_are_told(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    with_copies(train, validation)
    of = load(write_shards(tmp_path / "d", train, validation))
    sides = np.arange(8), np.arange(8, 12)
    assert shared_line(of.digests, of.names, *sides) == (
        "1 of 4 held-out specimens are, byte for byte, in train too: validation row 1 is train row 2; the scores tell "
        "of memory, not of new sites: --drop-duplicates"
    )
    assert shared_line(of.digests, of.names, np.arange(4), np.arange(6, 8)) is None


# Tables


@pytest.mark.parametrize("index", [["file_path"], ["eventID"], ["siteID", "public_id"]], ids=str)
def test_named_levels_of_a_parquet_index_are_columns(tmp_path: Path, load: Any, index: list[str]) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.parquet")
    whole = load(folder)
    pd.read_parquet(folder / "metadata.parquet").set_index(index).to_parquet(folder / "metadata.parquet")
    assert load(folder).fingerprint == whole.fingerprint


def test_a_named_range_as_index_is_a_column_in_metadata_and_in_shards(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "eventID": 100 + n} for n, row in enumerate(make_rows(8))]
    folder = write_image_folder(tmp_path / "i", rows, metadata="metadata.csv")
    table = pd.read_csv(folder / "metadata.csv").drop(columns="eventID")
    table.index = pd.RangeIndex(100, 108, name="eventID")
    table.to_parquet(folder / "metadata.parquet")
    wanted = load(folder_without(folder, "metadata.parquet", tmp_path)).fingerprint
    (folder / "metadata.csv").unlink()
    assert load(folder).fingerprint == wanted
    (tmp_path / "shards").mkdir()
    table.assign(file_path=[row["file_path"] for row in rows]).to_parquet(tmp_path / "shards" / "train.parquet")
    assert load(tmp_path / "shards").fingerprint == wanted


def folder_without(folder: Path, name: str, scratch: Path) -> Path:
    return Path(shutil.copytree(folder, scratch / "copy", ignore=shutil.ignore_patterns(name)))


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "shards"])
def test_integers_stay_exact_beyond_2_to_53_and_beside_missing_ones(tmp_path: Path, load: Any, kind: str) -> None:
    rows = [{**row, "eventID": 2**53 + n // 2, "public_id": 7 + n if n else None} for n, row in enumerate(make_rows(8))]
    folder = tmp_path / "i"
    if kind == "shards":
        write_shard(folder / "train.parquet", rows)
    else:
        write_image_folder(folder, [{**row, "public_id": n} for n, row in enumerate(rows)], metadata="metadata.parquet")
        table = pd.read_parquet(folder / "metadata.parquet")
        ids = pd.array([row["public_id"] for row in rows], dtype="Int64")
        table = table.assign(public_id=ids, eventID=table["eventID"].astype("Int64"))
        if kind != "parquet":
            (folder / "metadata.parquet").unlink()
        if kind == "csv":
            table.to_csv(folder / "metadata.csv", index=False)
        elif kind == "jsonl":
            records = [
                {name: cell for name, cell in row.items() if cell is not pd.NA} for row in table.to_dict("records")
            ]
            (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, records)))
        else:
            table.to_parquet(folder / "metadata.parquet")
    frame = load(folder).frame
    assert list(frame["event_id"]) == [2**53 + n // 2 for n in range(8)]
    assert list(frame["specimen_id"]) == ["train-0", *(str(7 + n) for n in range(1, 8))]


def test_a_float_that_was_rounded_is_no_event(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "eventID": float(2**53 + 2)} for row in make_rows(2)]
    write_shard(tmp_path / "d" / "train.parquet", rows)
    assert "eventID must be an integer of 0 or more, but is 9007199254740994.0" in problems_of(load, tmp_path / "d")[0]


def test_ids_with_leading_zeros_are_text_in_every_kind_of_table(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "public_id": f"00{n}", "siteID": "007"} for n, row in enumerate(make_rows(4))]
    for metadata in ("metadata.csv", "metadata.jsonl", "metadata.parquet"):
        frame = load(write_image_folder(tmp_path / metadata, rows, metadata=metadata)).frame
        assert (frame["specimen_id"][1], frame["site_id"][1]) == ("001", "007")


@pytest.mark.parametrize(("sign", "named"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_the_separator_of_a_table_without_commas_is_named(tmp_path: Path, load: Any, sign: str, named: str) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(4), metadata="metadata.csv")
    table = pd.read_csv(folder / "metadata.csv")
    table.to_csv(folder / "metadata.csv", index=False, sep=sign, decimal=",")
    (line,) = problems_of(load, folder)
    assert f"its columns must be separated by commas, but are by {named} ({sign!r})" in line


@pytest.mark.parametrize("metadata", ["metadata.csv", "metadata.jsonl"])
def test_a_byte_order_mark_is_no_part_of_a_table(tmp_path: Path, load: Any, metadata: str) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(4), metadata=metadata)
    whole = load(folder)
    (folder / metadata).write_bytes(b"\xef\xbb\xbf" + (folder / metadata).read_bytes())
    assert load(folder).fingerprint == whole.fingerprint


@pytest.mark.parametrize(
    ("encoding", "said"), [("utf-16", "but is UTF-16"), ("latin-1", "but line 2 has the byte 0xe4; save it as UTF-8")]
)
def test_another_encoding_is_named(tmp_path: Path, load: Any, encoding: str, said: str) -> None:
    rows = [{**row, "scientificName": "K\u00e4fer"} for row in make_rows(4)]
    folder = write_image_folder(tmp_path / "i", rows, metadata="metadata.csv")
    text = (folder / "metadata.csv").read_text("utf-8")
    (folder / "metadata.csv").write_bytes(text.encode(encoding))
    (line,) = problems_of(load, folder)
    assert said in line


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet", "shards"])
def test_a_column_that_is_there_twice_is_refused(tmp_path: Path, load: Any, kind: str) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(4), metadata=f"metadata.{kind}" if kind != "shards" else "x")
    path = folder / ("train.parquet" if kind == "shards" else f"metadata.{kind}")
    if kind == "csv":
        lines = path.read_text().splitlines()
        path.write_text("\n".join([f"{lines[0]},eventID", *(f"{line},7" for line in lines[1:])]))
    elif kind == "jsonl":
        path.write_text(path.read_text().replace('"eventID":', '"eventID":7,"eventID":'))
    else:
        if kind == "shards":
            write_shard(path, make_rows(4))
            (folder / "x").unlink()
        table = pq.read_table(path)
        pq.write_table(table.append_column("eventID", table.column("eventID")), path)
    assert "eventID is there" in problems_of(load, folder)[0]


@pytest.mark.parametrize("cells", [[["S1"], ["S1"]], [{"a": 1}, None]], ids=["lists", "tables"])
@pytest.mark.parametrize("column", ["siteID", "eventID", "SPEI_1y"])
def test_cells_that_hold_several_values_are_refused(tmp_path: Path, load: Any, cells: Any, column: str) -> None:
    rows = [{**row, column: cell} for row, cell in zip(make_rows(2), cells, strict=True)]
    folder = write_image_folder(tmp_path / "i", rows, metadata="metadata.jsonl")
    rule = re.compile(f"train row 0(, train row 1)?: {column} must be one value, but is a ")
    assert any(map(rule.match, problems_of(load, folder)))


def test_whole_floats_beside_integers_are_integers_in_text(tmp_path: Path, load: Any) -> None:
    rows = [{**row, "siteID": 12 if n else 12.0, "public_id": n if n else "x"} for n, row in enumerate(make_rows(4))]
    folder = write_image_folder(tmp_path / "i", make_rows(4), metadata="metadata.jsonl")
    records = [json.loads(line) for line in (folder / "metadata.jsonl").read_text().splitlines()]
    written = [json.dumps(record | {"siteID": row["siteID"]}) for record, row in zip(records, rows, strict=True)]
    (folder / "metadata.jsonl").write_text("\n".join(written))
    assert set(load(folder).frame["site_id"]) == {"12"}


def test_categories_are_read_as_their_values(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(4), metadata="metadata.parquet")
    whole = load(folder)
    table = pd.read_parquet(folder / "metadata.parquet").astype({"siteID": "category", "scientificName": "category"})
    table.to_parquet(folder / "metadata.parquet")
    assert load(folder).fingerprint == whole.fingerprint


def test_shards_in_hidden_and_service_folders_are_left_out_and_counted(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    whole = load(folder)
    for place in (".cache", "__MACOSX", "@eaDir"):
        shutil.copytree(folder / "data", folder / place)
    found = load(folder)
    assert (found.fingerprint, whole.notes) == (whole.fingerprint, ())
    assert found.notes[0].startswith(f"left out of {folder}: 9 parquet files hidden or in hidden or service")


# Fingerprint


@pytest.mark.parametrize("change", ["SPEI_1y", "eventID", "image", "order"])
def test_the_fingerprint_changes_with_any_value_image_or_order(tmp_path: Path, load: Any, change: str) -> None:
    train, validation = make_rows(8), make_rows(4, first=8)
    first = load(write_shards(tmp_path / "d", train, validation)).fingerprint
    if change == "SPEI_1y":
        train[0]["SPEI_1y"] = train[1]["SPEI_1y"] = 2.0
    elif change == "eventID":
        train[0]["eventID"] = train[1]["eventID"] = 99
    elif change == "image":
        train[0]["file_path"]["bytes"] = png(250)
    else:
        train[0], train[1] = train[1], train[0]
    assert load(write_shards(tmp_path / "e", train, validation)).fingerprint != first


# Problems


def test_all_bad_values_of_all_kinds_are_listed_at_once(tmp_path: Path, load: Any) -> None:
    train, validation = make_rows(16), make_rows(4, first=16)
    train[0]["SPEI_30d"] = float("nan")
    train[1]["SPEI_2y"] = 2.5
    train[3]["siteID"] = "S9"
    train[5]["SPEI_1y"] = -1.0
    train[8]["domainID"] = 7
    train[10]["siteID"] = " "
    validation[1]["SPEI_1y"] = None
    validation[2]["file_path"]["bytes"] = b"no image"
    lines = "\n".join(problems_of(load, write_shards(tmp_path / "d", train, validation)))
    for line in (
        "train row 0: `-2.09 <= SPEI_30d <= 2.09` must hold, but got nan",
        "train row 1: `-2.09 <= SPEI_2y <= 2.09` must hold, but got 2.5",
        "validation row 1: `-2.09 <= SPEI_1y <= 2.09` must hold, but got nan",
        "train row 10: siteID must be given, but is ' '",
        "event 101 must be of one site, but is of 'S0' (train row 2), 'S9' (train row 3)",
        "event 102 must have one label each for SPEI_30d, SPEI_1y, SPEI_2y, but has "
        "-1.89/2.09/0.1 (train row 4), -1.89/-1/0.1 (train row 5)",
        "site S2 must be in one domain, but is in 7 (train row 8), 2 (train row 9)",
        "validation row 2 (P18): the image must be readable",
    ):
        assert line in lines


def test_an_event_on_both_sides_of_the_datasets_split_is_compared_too(tmp_path: Path, load: Any) -> None:
    validation = make_rows(2)
    validation[0]["siteID"] = "S7"
    lines = problems_of(load, write_shards(tmp_path / "d", make_rows(8), validation))
    assert lines[0] == "event 100 must be of one site, but is of 'S0' (train row 0), 'S7' (validation row 0)"


def test_many_problems_of_one_kind_are_cut_and_counted(tmp_path: Path, load: Any) -> None:
    train = [{**row, "SPEI_1y": 9.0 + number} for number, row in enumerate(make_rows(60))]
    lines = problems_of(load, write_shards(tmp_path / "d", train, make_rows(4, first=60)))
    assert len(lines) == 21
    assert lines[-1] == "and 40 more: SPEI_1y out of range"


def test_what_many_rows_have_word_for_word_is_one_line(tmp_path: Path, load: Any) -> None:
    train = [{**row, "SPEI_1y": 9.0, "SPEI_2y": 2.0 + (number < 2)} for number, row in enumerate(make_rows(60))]
    lines = problems_of(load, write_shards(tmp_path / "d", train, make_rows(4, first=60)))
    assert sorted(lines) == [
        "train row 0, train row 1, train row 2 and 57 more rows: `-2.09 <= SPEI_1y <= 2.09` must hold, but got 9.0",
        "train row 0, train row 1: `-2.09 <= SPEI_2y <= 2.09` must hold, but got 3.0",
    ]


def test_labels_a_rounding_beyond_the_range_pass(tmp_path: Path, load: Any) -> None:
    train = [{**row, "SPEI_1y": 2.0917} for row in make_rows(8)]
    load(write_shards(tmp_path / "d", train, make_rows(4, first=8)))


@pytest.mark.parametrize(("column", "value"), [("eventID", "E-7"), ("domainID", 1.5), ("eventID", -4)])
def test_ids_that_are_no_integers_are_listed(tmp_path: Path, load: Any, column: str, value: Any) -> None:
    rows = [
        {**row, column: str(value)} if n == 3 else {**row, column: str(row[column])}
        for n, row in enumerate(make_rows())
    ]
    folder = write_image_folder(tmp_path / "i", rows, metadata="metadata.csv")
    assert f"train row 3: {column} must be an integer of 0 or more, but is '{value}'" in problems_of(load, folder)


def test_missing_columns_of_every_shard_are_listed_at_once(tmp_path: Path, load: Any) -> None:
    train = [{k: v for k, v in row.items() if k not in ("SPEI_1y", "siteID")} for row in make_rows(8)]
    lines = problems_of(load, write_shards(tmp_path / "d", train, make_rows(2, first=8)))
    assert len(lines) == 2
    assert all("column SPEI_1y, siteID must be there, but has file_path, SPEI_30d, SPEI_2y" in line for line in lines)


def test_missing_columns_of_an_image_folder_are_listed(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    table = pd.read_csv(folder / "metadata.csv").drop(columns=["eventID", "file_path"])
    table.to_csv(folder / "metadata.csv", index=False)
    lines = "\n".join(problems_of(load, folder))
    assert "column eventID must be there" in lines
    assert "column file_name or file_path must be there" in lines


def test_empty_splits_are_errors(tmp_path: Path, load: Any) -> None:
    write_shard(tmp_path / "d" / "train-00000-of-00001.parquet", make_rows(8))
    empty = pq.read_table(tmp_path / "d" / "train-00000-of-00001.parquet").slice(0, 0)
    pq.write_table(empty, tmp_path / "d" / "validation-00000-of-00001.parquet")
    assert problems_of(load, tmp_path / "d") == (
        f"{tmp_path / 'd'}: split validation must have specimens, but is empty",
    )
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    header = (folder / "metadata.csv").read_text().splitlines()[0]
    (folder / "metadata.csv").write_text(header + "\n")
    assert problems_of(load, folder) == (f"{folder}: split train must have specimens, but is empty",)


def test_a_missing_shard_is_an_unfinished_download(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    (folder / "data" / "train-00000-of-00002.parquet").unlink()
    (line,) = problems_of(load, folder)
    assert "all 2 shards of 'train' must be there, but number 0 is not (1 missing)" in line


def test_a_shard_that_is_no_parquet_is_named(tmp_path: Path, load: Any) -> None:
    folder = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    shard = folder / "data" / "train-00001-of-00002.parquet"
    shard.write_text("version https://git-lfs.github.com/spec/v1\n")
    (line,) = problems_of(load, folder)
    assert line.startswith(f"{shard} must be readable, but: ")


def test_images_stored_as_paths_in_a_table_are_refused(tmp_path: Path, load: Any) -> None:
    table = pd.DataFrame(make_rows(8)).assign(file_path="a.png")
    (tmp_path / "d").mkdir()
    table.to_parquet(tmp_path / "d" / "train.parquet")
    (line,) = problems_of(load, tmp_path / "d")
    assert "column file_path must hold images as struct{bytes, path}, but is " in line


def test_unknown_splits_are_refused(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(2), metadata="metadata.csv", split=["train", "holdout"])
    (line,) = problems_of(load, folder)
    assert "a split must be train, validation or test, but found holdout" in line
    shards = write_shards(tmp_path / "d", make_rows(8), make_rows(4, first=8))
    shutil.copy(shards / "data" / "validation-00000-of-00001.parquet", shards / "data" / "holdout.parquet")
    assert "but found holdout.parquet" in problems_of(load, shards)[0]


def test_broken_metadata_names_file_and_line(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.jsonl")
    with (folder / "metadata.jsonl").open("a") as file:
        file.write("{broken\n")
    (line,) = problems_of(load, folder)
    assert f"{folder / 'metadata.jsonl'} must be readable, but: line 9 must be a JSON object" in line


def test_two_metadata_files_in_one_folder_are_refused(tmp_path: Path, load: Any) -> None:
    folder = write_image_folder(tmp_path / "i", make_rows(8), metadata="metadata.csv")
    write_image_folder(folder, make_rows(8), metadata="metadata.jsonl")
    (line,) = problems_of(load, folder)
    assert "must have one metadata file, but has metadata.csv, metadata.jsonl" in line


def test_data_that_is_nothing_known_lists_what_may_be_given(tmp_path: Path, load: Any) -> None:
    assert "must be `demo`, `hf://OWNER/NAME` or a folder" in problems_of(load, tmp_path / "none")[0]
    (tmp_path / "d").mkdir()
    assert "parquet shards" in problems_of(load, tmp_path / "d")[0]
    for data in ("demo:", "demo:many", "demo:-3", "demo:120:", "demo::3", "demo:120:-1", "demo:120:1:2"):
        assert "demo:N must name the number of specimens, such as demo:300, and demo:N:K" in problems_of(load, data)[0]


def test_rows_without_images_are_not_followed_unless_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(png(5))
    rows = make_rows(2)
    rows[1]["file_path"] = {"bytes": None, "path": str(tmp_path / "a.png")}
    write_shard(tmp_path / "t.parquet", rows)
    from trainable.data.image_sources import Chunk

    chunks = [Chunk(str(tmp_path / "t.parquet"), 0, 2)]
    assert TableImages(chunks, "file_path").read([1]) == [b""]
    following = pickle.loads(pickle.dumps(TableImages(chunks, "file_path", follow_paths=True)))  # noqa: S301 - our own
    assert following.read([1]) == [png(5)]
