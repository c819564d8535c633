"""The benchmarks run, and say what they measured; how fast this machine is, no test asks."""

import json
import math
import os
import subprocess

import pytest
import torch

from benchmarks.__main__ import SCRIPTS, Script, main, measure
from benchmarks.backbones import random_backbone
from benchmarks.colocated import epochs_a_second
from benchmarks.figure import Figure, Target, Value
from benchmarks.hand_written import HandWritten
from benchmarks.inputs import random_trial_data
from benchmarks.interleaved import measure_in_turns
from benchmarks.setting import NotHere, Setting
from benchmarks.trainers import fixed_batch, make_trainer
from tests.trainable.rounding import TINY_TERMS, assert_rounded, in_float64


def test_a_figure_is_measured_from_end_to_end():
    stored, copies = measure(4, Setting(quick=True))

    assert 1.0 < stored.ratio < 1.2
    assert stored.parts[0].value > stored.parts[1].value > 0
    assert copies.ratio < 1.5  # two trials with copies of their own make 3; of a store this small, pages show, too


def test_a_figure_says_whether_its_target_is_met():
    fast = Figure(number=7, name="step", ratio=8.4, parts=(Value("whole", 163.0, "ms"),), target=Target(">=", 8))

    assert str(fast) == " 7 step: 8.400 (whole 163 ms), target >= 8: met"
    assert not Target("<=", 1.05).is_met(1.06)
    assert not Target("<=", 1.05).is_met(math.nan)


def test_arms_take_turns_and_rounds_are_compared_in_pairs():
    order: list[str] = []
    load = iter([1.0, 1.0, 1.0, 2.0, 20.0, 10.0, 3.0, 6.0])  # a warm-up round, then three on a machine in three moods
    times = measure_in_turns(
        {name: lambda name=name: order.append(name) for name in ("a", "b")},
        rounds=3,
        clock=lambda arm: (arm(), next(load))[1],
    )

    assert order == ["b", "a", "a", "b", "b", "a", "a", "b"]
    assert times.seconds == {"a": (1.0, 10.0, 3.0), "b": (2.0, 20.0, 6.0)}
    assert times.ratio("b", "a") == 2.0


def test_what_cannot_be_measured_here_is_named_with_its_reason(monkeypatch, capsys):
    with pytest.raises(NotHere, match="must be tiny, vit-ti or vit-l, but is 'resnet'"):
        measure(4, Setting(quick=True, backbones=("resnet",)))
    monkeypatch.setitem(SCRIPTS, 4, Script("stored_bytes", needs=("a_package_that_is_not_there",)))

    assert main(["--quick", "--only", "4"]) == 0
    assert "stored_bytes: skipped, needs a_package_that_is_not_there" in capsys.readouterr().out


def test_figures_and_what_was_skipped_reach_the_json(tmp_path, capsys):
    """That all of them run, .ci/run sees."""
    assert main(["--quick", "--only", "4,10", "--json", str(tmp_path / "figures.json")]) == 0, capsys.readouterr().out

    found = json.loads((tmp_path / "figures.json").read_text())
    assert {figure["number"] for figure in found["figures"]} == {4}
    assert list(found["skipped"]) == ["10"]
    assert all(math.isfinite(figure["ratio"]) for figure in found["figures"])
    assert found["machine"]["torch"]


@pytest.mark.parametrize("kind", ["link", "pipe"])
def test_the_json_is_written_through_what_is_there(tmp_path, kind, monkeypatch):
    monkeypatch.setattr("benchmarks.__main__.SCRIPTS", {})
    place, real = tmp_path / "figures.json", tmp_path / "real.json"
    if kind == "link":
        place.symlink_to(real)
    else:
        os.mkfifo(place)
        with real.open("wb") as out:
            reader = subprocess.Popen(["cat", place], stdout=out)
    assert main(["--quick", "--json", str(place)]) == 0
    if kind == "pipe":
        assert reader.wait(60) == 0

    assert place.is_symlink() == (kind == "link")
    assert place.is_fifo() == (kind == "pipe")
    assert json.loads(real.read_text())["figures"] == []


def test_a_json_that_cannot_be_written_is_told_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--quick", "--json", str(tmp_path)])

    assert ended.value.code == 2
    assert "`--json` must be a file" in capsys.readouterr().err


def test_a_figure_that_breaks_fails_the_run_and_costs_the_others_nothing(monkeypatch, capsys):
    monkeypatch.setitem(SCRIPTS, 1, Script("no_such_figure"))

    assert main(["--quick", "--only", "1,4"]) == 1
    shown = capsys.readouterr().out
    assert "1 no_such_figure: FAILED" in shown
    assert "4 stored bytes" in shown


@pytest.mark.parametrize("kind", ["full", "lora", "dora"])
def test_the_hand_written_step_computes_what_ours_does(kind):
    with random_trial_data(random_backbone("tiny", "cpu"), tap=4, n=40) as data:
        trainer = make_trainer(data, kind=kind, n_blocks=2, device="cpu", batch_size=16)
        batch = fixed_batch(trainer, data)
        theirs = HandWritten(trainer.tail, data.store.tail_state(2), kind)
        with torch.no_grad():
            exact = in_float64(trainer.tail)(batch.tokens, batch.domains)
            found = [tail(batch.tokens, batch.domains) for tail in (theirs, trainer.tail)]

    for predictions in found:
        assert_rounded(predictions, exact, TINY_TERMS)
    assert trainer.n_trainable == sum(p.numel() for p in theirs.parameters() if p.requires_grad)


@pytest.mark.slow
def test_trials_in_processes_of_their_own_are_counted_together(tmp_path):
    with random_trial_data(random_backbone("tiny", "cpu"), tap=5, n=40) as data:
        data.save(tmp_path)

        assert epochs_a_second(tmp_path, 2, n_blocks=1, device="cpu", batch_size=16) > 0
