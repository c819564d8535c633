"""What a user reads and a program parses, from fixed journal entries."""

import io
import json
import math
from dataclasses import replace
from typing import Any

import pytest

from tests.tune.plain_entries import make_entry
from tune.journal.entries import EpochReported, JournalEntry
from tune.report.progress import ProgressPrinter
from tune.report.results import duration, result_json, result_table


def metrics(score: float, **more: float) -> dict[str, float]:
    found = {"score/all": score, "score/id": score - 0.1, "score/ood": score + 0.1}
    for part, r2, mae in (("id", 0.25, 0.5), ("ood", -0.125, 0.75)):
        for target in ("SPEI_30d", "SPEI_1y", "SPEI_2y"):
            found |= {f"r2_{part}/{target}": r2, f"mae_{part}/{target}": mae}
    return found | more


def a_study() -> list[JournalEntry]:
    """Four trials of at most 12 epochs: the variant lora, a comparison, a sampled one that wins, one that fails."""
    entries: list[JournalEntry] = []

    def add(kind: str, **fields: Any) -> None:
        entries.append(make_entry(kind, seq=len(entries), time=1000.0 + 10 * len(entries), **fields))

    config = {"epochs": 12, "adapter": {"kind": "lora"}}
    add("study", study_id="demo-1", header={"n_trials": 24, "max_epochs": 12})
    add(
        "floors",
        floors={
            name: metrics(s)
            for name, s in zip(("constant", "domain_mean", "species_mean"), (0.9, 0.8, 0.85), strict=True)
        },
    )
    add("session", n_trials=24, executor="local")
    add("ask", trial="t0000", number=0, origin="start:lora", exempt=True, values={"optim.lr": 0.001}, config=config)
    add("report", trial="t0000", epoch=1, metrics=metrics(0.7))
    add("report", trial="t0000", epoch=2, metrics=metrics(0.65))
    add("tell", trial="t0000", state="completed", value=0.65, epoch=2, reason="completed")
    add("ask", trial="t0001", number=1, origin="compare:combined", exempt=True, values=None, config=config)
    add("report", trial="t0001", epoch=1, metrics=metrics(math.nan))
    add("tell", trial="t0001", state="failed", value=None, epoch=1, reason="score is nan")
    values = {"adapter.kind": "lora", "adapter.rank": 16, "optim.lr": 0.00034567}
    add("ask", trial="t0002", number=2, origin="sampler", exempt=False, values=values, config=config)
    add("report", trial="t0002", epoch=1, metrics=metrics(0.6))
    add("decision", trial="t0002", epoch=1, action="continue", rung=1, value=0.6, cut=0.7, n=2, reason="goes on")
    add("report", trial="t0002", epoch=2, metrics=metrics(0.62, **{"train/loss": math.inf}))
    add("tell", trial="t0002", state="pruned", value=0.6, epoch=1, reason="stopped")
    add("ask", trial="t0003", number=3, origin="sampler", exempt=False, values=values, config=config)
    add("end", reason="finished")
    return entries


def result(entries: list[JournalEntry]) -> dict[str, Any]:
    return result_json(
        entries, study="studies/demo-1", tracking_uri="http://ada:geheim@host:5000", experiment_id="1",
        parent_run_id="abc", seconds=83.12345,
    )  # fmt: skip


def test_the_json_object_is_the_promised_one() -> None:
    assert result(a_study()) == {
        "study": "studies/demo-1",
        "n_trials": 4,
        "n_completed": 1,
        "n_pruned": 1,
        "n_failed": 1,
        "best": {
            "trial_id": "t0002",
            "score": 0.6,
            "epoch": 1,
            "config": {"epochs": 12, "adapter": {"kind": "lora"}},
            "metrics": metrics(0.6),
        },
        "variants": {"lora": 0.65, "combined": None},
        "floors": {"constant": 0.9, "domain_mean": 0.8, "species_mean": 0.85},
        "tracking_uri": "http://***@host:5000",
        "experiment_id": "1",
        "parent_run_id": "abc",
        "seconds": 83.123,
    }


def test_the_json_object_is_strict_json_whatever_the_metrics_are() -> None:
    entries = a_study()
    entries[4] = replace(entries[4], metrics=metrics(0.1, **{"train/loss": math.inf, "x/y": math.nan}))
    found = result(entries)
    assert found["best"]["metrics"]["train/loss"] is None
    json.dumps(found, allow_nan=False)


def test_a_study_without_any_score_has_no_best() -> None:
    assert result(a_study()[:4])["best"] is None
    table = result_table(a_study()[:4], study="demo-1", seconds=3)
    assert "No trial has a score." in table
    assert "floor constant" in table
    assert "\nlora" not in table  # a row without a number says nothing


def test_a_failed_trial_is_not_the_best_though_it_once_was() -> None:
    entries = a_study()[:5]
    assert result(entries)["best"]["trial_id"] == "t0000"
    failed = make_entry("tell", trial="t0000", state="failed", value=0.7, epoch=1, reason="")
    assert result([*entries, failed])["best"] is None


TABLE = """\
demo-1: 4 trials: 1 completed, 1 pruned, 1 failed, 1 running; this command took 1m23s

Best trial t0002: score 0.6000 at epoch 1 of 12
  adapter.kind=lora  adapter.rank=16  optim.lr=0.0003457

                           score                R2, ID             R2, OOD             MAE, ID             MAE, OOD
                       all     ID    OOD     30d    1y    2y     30d    1y    2y     30d    1y    2y     30d    1y    2y
best t0002           0.600  0.500  0.700    0.25  0.25  0.25   -0.12 -0.12 -0.12    0.50  0.50  0.50    0.75  0.75  0.75
lora                 0.650  0.550  0.750    0.25  0.25  0.25   -0.12 -0.12 -0.12    0.50  0.50  0.50    0.75  0.75  0.75
combined                 -      -      -       -     -     -       -     -     -       -     -     -       -     -     -
floor domain_mean    0.800  0.700  0.900    0.25  0.25  0.25   -0.12 -0.12 -0.12    0.50  0.50  0.50    0.75  0.75  0.75
floor species_mean   0.850  0.750  0.950    0.25  0.25  0.25   -0.12 -0.12 -0.12    0.50  0.50  0.50    0.75  0.75  0.75
floor constant       0.900  0.800  1.000    0.25  0.25  0.25   -0.12 -0.12 -0.12    0.50  0.50  0.50    0.75  0.75  0.75

score: RMS of CRPS over targets, ID and OOD, lower is better; R2 by event, MAE by image

To go on:
  sentinel-tune ui studies/demo-1
  sentinel-tune search --resume studies/demo-1
"""


def test_the_table_shows_best_variants_floors_and_the_two_commands() -> None:
    commands = [
        "sentinel-tune ui studies/demo-1",
        "sentinel-tune search --resume studies/demo-1",
    ]
    assert result_table(a_study(), study="demo-1", seconds=83, commands=commands) == TABLE


def test_the_table_fits_120_columns_whatever_names_and_values() -> None:
    entries = a_study()
    entries[3] = replace(
        entries[3],
        origin="start:" + "a_very_long_name_of_a_variant_file" * 2,
        values={f"group.parameter_{i}": "x" * 10 for i in range(30)},
    )
    entries[4] = replace(entries[4], metrics=dict.fromkeys(metrics(0.0), -123456.789))
    table = result_table(entries, study="demo-1", seconds=83)
    assert max(map(len, table.splitlines())) <= 120
    assert "-1e+05" in table
    assert "…" in table


def test_however_long_its_path_a_study_and_its_number_of_trials_stand_on_one_line() -> None:
    study = f"/data/{'x' * 95}"
    first, second, *_ = result_table(a_study(), study=study, seconds=5).splitlines()
    assert first == f"{study}: 4 trials"
    assert second == "  1 completed, 1 pruned, 1 failed, 1 running; this command took 5s"
    assert result_table(a_study()[:1], study="d", seconds=5).startswith("d: 0 trials; this command took 5s\n")


def test_a_part_that_was_not_held_out_is_shown_as_absent() -> None:
    entries = [
        replace(e, metrics={name: value for name, value in e.metrics.items() if "ood" not in name})
        if isinstance(e, EpochReported)
        else e
        for e in a_study()
    ]
    row = next(line for line in result_table(entries, study="d", seconds=1).splitlines() if line.startswith("lora"))
    assert row.split() == ["lora", "0.650", "0.550", "-", *["0.25"] * 3, *["-"] * 3, *["0.50"] * 3, *["-"] * 3]


def test_why_a_search_ended_early_is_said() -> None:
    entries = [*a_study()[:-1], make_entry("end", time=1.0, reason="time budget spent")]
    table = result_table(entries, study="demo-1", seconds=5)
    assert table.startswith("demo-1: 4 trials (time budget spent): 1 completed")
    assert "; this command took 5s\n" in table


def test_an_error_that_follows_the_result_is_not_told_in_it_too() -> None:
    entries = [*a_study()[:-1], make_entry("end", time=1.0, reason="stopped by an error: `the folder` must; make room")]
    table = result_table(entries, study="demo-1", seconds=5)
    assert table.startswith("demo-1: 4 trials (stopped by an error): 1 completed")
    assert "make room" not in table


LINES = """\
t0000 lora  epoch 1/12  rung -  score 0.700  best 0.700 (t0000)  0/24 done
t0000 lora  epoch 2/12  rung -  score 0.650  best 0.650 (t0000)  0/24 done  time left 47m40s
t0000 lora  completed at epoch 2/12  rung -  score 0.650  best 0.650 (t0000)  1/24 done  time left 15m20s
t0001 combined  epoch 1/12  rung -  score -  best 0.650 (t0000)  1/24 done  time left 15m00s
t0001 combined  failed at epoch 1/12 (score is nan)  rung -  score -  best 0.650 (t0000)  2/24 done  time left 13m45s
t0002  epoch 1/12  rung -  score 0.600  best 0.600 (t0002)  2/24 done  time left 12m38s
t0002  epoch 2/12  rung 1  score 0.620  best 0.600 (t0002)  2/24 done  time left 12m11s
t0002  pruned at epoch 2/12  rung 1  score 0.600  best 0.600 (t0002)  3/24 done  time left 14m35s
"""


def test_progress_is_a_line_an_epoch_and_one_for_every_end() -> None:
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    for each in a_study():
        printer.handle(each)
    assert stream.getvalue() == LINES


def test_lines_of_epochs_come_at_most_so_often_and_ends_always() -> None:
    stream = io.StringIO()
    printer = ProgressPrinter(stream, line_seconds=1e9)
    for each in a_study():
        printer.handle(each)
    assert [line.split("  ")[1] for line in stream.getvalue().splitlines()] == [
        "epoch 1/12",
        "completed at epoch 2/12",
        "failed at epoch 1/12 (score is nan)",
        "pruned at epoch 2/12",
    ]


def test_earlier_sessions_count_and_are_not_shown() -> None:
    stream = io.StringIO()
    printer = ProgressPrinter(stream)
    entries = a_study()
    for past in entries:
        printer.study.past(past)
    assert stream.getvalue() == ""
    printer.handle(make_entry("session", time=5000.0, n_trials=30))
    printer.handle(make_entry("report", time=5010.0, trial="t0003", epoch=1, metrics=metrics(0.61)))
    assert stream.getvalue().startswith("t0003  epoch 1/12  rung -  score 0.610  best 0.600 (t0002)  3/30 done")


class Terminal(io.StringIO):
    """A stream that says that it is a terminal."""

    def isatty(self) -> bool:
        return True


def extraction(stream: io.StringIO, step_seconds: float) -> str:
    now = 0.0
    printer = ProgressPrinter(stream, clock=lambda: now)
    for n_done in range(0, 1501, 300):
        printer.extraction(n_done, 1500)
        now += step_seconds
    return stream.getvalue()


def test_extraction_is_told_every_few_seconds_with_speed_and_time_left() -> None:
    assert extraction(io.StringIO(), 3.0) == (
        "extracting features  600/1500 images  100 images/s  time left 9s\n"
        "extracting features  1200/1500 images  100 images/s  time left 3s\n"
        "extracting features  1500/1500 images  100 images/s  time left 0s\n"
    )


def test_extraction_rewrites_its_line_on_a_terminal() -> None:
    shown = extraction(Terminal(), 1.0)
    assert shown.count("\r") == 5
    assert shown.count("\n") == 1
    assert shown.endswith("\n")
    assert shown.split("\r")[1].rstrip() == "extracting features  300/1500 images  300 images/s  time left 4s"


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (47.4, "47s"), (59.7, "1m00s"), (80, "1m20s"), (3599.9, "1h00m"), (7500, "2h05m")]
)
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text
