"""`plan`: what it promises, what it refuses, and that it leaves nothing behind; and what a search then really did."""

import shutil
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from search_spaces.space import list_spaces
from search_spaces.variant import load_variant
from tests.conftest import DEMO, PLAIN
from tests.tune.plain_entries import read_plain
from trainable.data.task import Task, beetles
from trainable.errors import UserError
from trainable.training.precision import lack_of_bfloat16
from trainable.training.trainer import TailTrainer
from tune.cli import parse_command
from tune.cluster.gpu_share import _Stepper
from tune.measuring.costs import Costs
from tune.measuring.step_probe import few_rows
from tune.planning.plan_text import plan_text
from tune.planning.study_plan import StudyPlan
from tune.planning.summary import summary
from tune.report.console import Console
from tune.study.search_request import search_request
from tune.study.study_data import load_study_data
from tune.verbs.plan import plan_study

SECTIONS = ["extraction", "trial", "search", "confirmation", "records", "start_seconds", "wall_seconds",
            "device_seconds", "time_budget", "notes"]  # fmt: skip

LACK = lack_of_bfloat16("cpu")


def here(function, *args, cpus, gpus):
    """In this process: quick, and good for all but the figures of memory."""
    assert cpus > 0
    assert gpus == 0
    return function(*args)


@pytest.fixture
def plan(demo_cache, tmp_path, monkeypatch):
    """Plans a search with its measurements in this process, from an empty folder; features of `DEMO` are stored."""
    assert demo_cache.is_dir()
    monkeypatch.chdir(tmp_path)

    def run(*argv: object) -> StudyPlan:
        options = {"--data": DEMO, "--space": "smoke", "--workers": 1, "--epochs": 4, "--trials": 6}
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        _, given = parse_command(["plan", "--local", *map(str, [*words, *argv])])
        return plan_study(given, Console(json=False), fresh=here)

    return run


def files_of(*folders: Path) -> set[Path]:
    """All but the note that a store was read and found right, which whoever opens it first leaves."""
    return {path for folder in folders for path in folder.rglob("*") if not path.name.endswith(".verified.json")}


@pytest.mark.seconds
def test_more_folds_take_more_time_to_search_and_none_to_confirm(plan, monkeypatch):
    monkeypatch.setattr(Costs, "epoch_seconds", lambda *_, n_train, n_held_out: n_train + n_held_out)
    one, two = plan("--search-folds", 1), plan("--search-folds", 2, "--train-each-fold")
    at_once = plan("--search-folds", 2)

    assert at_once.search.device_seconds.expected < 1.05 * one.search.device_seconds.expected
    assert at_once.confirmation.device_seconds.expected == one.confirmation.device_seconds.expected
    assert two.search.device_seconds.expected > 1.9 * one.search.device_seconds.expected
    assert two.confirmation.device_seconds.expected == pytest.approx(one.confirmation.device_seconds.expected, rel=0.05)


@pytest.mark.seconds
def test_what_is_stored_already_need_not_be_extracted_and_nothing_is_left_behind(plan, demo_cache, tmp_path):
    before = files_of(demo_cache, tmp_path)
    found = plan()

    assert files_of(demo_cache, tmp_path) == before
    assert (found.extraction.n_images, found.extraction.images, found.extraction.bytes) == (120, 0, 0)
    assert found.extraction.taps == (4, 5)
    assert (found.search.trials, found.search.in_full, found.search.most_epochs) == (6, 1, 24)
    assert 6 <= found.search.epochs.expected <= 24
    assert found.confirmation.runs == 12
    assert found.trial.fit_memory >= 1
    assert found.trial.precision == "float32"
    search, confirmation = found.search, found.confirmation
    for part in (search.epochs, search.wall_seconds, confirmation.wall_seconds, found.wall_seconds):
        assert 0 < part.low <= part.expected <= part.high
    for end in ("low", "expected", "high"):
        lines = [getattr(part.wall_seconds, end) for part in (search, confirmation)]
        assert getattr(found.wall_seconds, end) == pytest.approx(sum(lines) + found.start_seconds)
    check_text(plan_text(found), longest=str(demo_cache))

    each = plan("--train-each-fold")  # a trial of two folds then holds the weights and moments of two trainings
    assert each.trial.n_trainable == found.trial.n_trainable
    sizes = zip(found.trial.checkpoint_bytes, each.trial.checkpoint_bytes, strict=True)
    assert all(1.9 * of_one < of_two < 2.1 * of_one for of_one, of_two in sizes)


def check_text(text: str, *, longest: str) -> None:
    """A dozen aligned lines, none too long, whatever folder it is in."""
    lines = text.splitlines()
    assert [line[:14].strip() for line in lines] == [
        "images", "features", "memory", "an epoch", "smallest", "largest", "side by side", "epochs", "search",
        "confirmation", "starting up", "checkpoints", "MLflow", "in all",
    ]  # fmt: skip
    assert all(line[13] == " " != line[14] for line in lines)
    assert max(len(line) for line in lines) <= 130 + len(longest)


@pytest.mark.slow
@pytest.mark.skipif(bool(LACK), reason=f"this CPU {LACK}")
def test_steps_are_measured_in_the_precision_asked_for(plan):
    found = plan("--precision", "bfloat16")

    assert found.trial.precision == "bfloat16 products"
    assert "the smallest and the largest trial, bfloat16 products\n" in plan_text(found)


@pytest.mark.seconds
def test_missing_images_are_counted_and_timed_and_nothing_is_left_behind(plan, tmp_path):
    cache = tmp_path / "cache"
    plan("--cache", cache, "--data", "demo:76")
    before = files_of(tmp_path)
    found = plan("--cache", cache, "--data", "demo:76")

    assert files_of(tmp_path) == before
    assert found.extraction.images == 76
    assert found.extraction.bytes == 76 * 2 * 17 * 128 * 2  # images, taps, tokens, width, half precision
    assert found.extraction.image_seconds > 0
    assert found.extraction.seconds > 0
    spans = found.search.wall_seconds.expected + found.confirmation.wall_seconds.expected
    assert found.wall_seconds.expected == pytest.approx(found.start_seconds + found.extraction.seconds + spans)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_spaces())
def test_every_shipped_space_can_be_planned(plan, name, tmp_path):
    found = plan("--space", name, "--data", "demo:76", "--cache", tmp_path / "cache")

    assert found.extraction.images == 76
    low, high = found.trial.n_trainable
    assert 0 < low <= high
    assert found.trial.checkpoint_bytes[0] < found.trial.checkpoint_bytes[1]
    assert found.search.epochs.expected <= found.search.most_epochs


@pytest.fixture
def dead_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def test_all_that_cannot_work_is_told_at_once_with_exit_status_2(cli, tmp_path, monkeypatch, dead_port):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "journal.jsonl").write_text("")
    ended = cli(
        "plan", "--local", "--data", DEMO, "--space", "smoke", "--workers", 1, "--device", "cuda",
        "--confirm-folds", 99, "--tracking-uri", f"http://ada:geheim@127.0.0.1:{dead_port}",
    )  # fmt: skip
    again = cli("plan", "--local", "--data", DEMO, "--space", "smoke", "--study", "old", "--gpus-per-trial", "auto")

    problems = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.status == 2
    assert len(problems) == 3
    assert f"127.0.0.1:{dead_port}" in problems[0]
    assert "geheim" not in ended.stderr
    assert "--device cuda" in problems[1]
    assert "--confirm-folds" in problems[2]
    assert again.status == 2
    assert "holds a study" in again.stderr
    assert "`--gpus-per-trial auto` must have a CUDA device" in again.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old"]


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--gpus-per-trial", "many", "must be a number or auto, but got 'many'"),
        ("--trial-resources", "mine", "must be NAME=AMOUNT"),
        ("--space", "nowhere", "a search space"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_measured(cli, option, value, words):
    ended = cli("plan", "--local", "--data", DEMO, option, value)

    assert ended.status == 2
    assert words in ended.stderr


def test_a_space_that_asks_for_more_blocks_than_there_are_is_refused(plan, tmp_path):
    space = tmp_path / "deep.yaml"
    text = (Path(__file__).parents[2] / "search_spaces" / "smoke.yaml").read_text()
    space.write_text(text.replace("int: [1, 2]", "int: [1, 9]"))

    with pytest.raises(UserError, match=r"`tail\.n_blocks <= 6` must hold for backbone tiny, .* asks for 9"):
        plan("--space", space)


@pytest.mark.slow
def test_a_disk_too_small_for_features_or_for_the_study_beside_them_is_refused(plan, tmp_path, monkeypatch):
    usage, tap_bytes = shutil.disk_usage("/"), 400 * 17 * 128 * 2
    words = ("--cache", tmp_path / "cache", "--data", "demo:400")
    free = int(tap_bytes * 1.5)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=free))
    with pytest.raises(UserError) as tight:
        plan(*words)
    free = tap_bytes // 2
    with pytest.raises(UserError) as small:
        plan(*words)

    assert "for checkpoints and features" in str(tight.value)  # the deepest tap fits, and not the study beside it
    assert "free for the features" in str(small.value)


@pytest.mark.slow
def test_the_rest_of_a_study_is_planned_and_a_finished_one_has_none(plan, finished_study, tmp_path):
    study = shutil.copytree(finished_study, tmp_path / "study")
    done = plan("--resume", study, "--no-confirm", "--epochs", 3, "--trials", 5)
    more = plan("--resume", study, "--no-confirm", "--epochs", 3, "--trials", 9)

    assert (done.search.trials, done.search.epochs.high) == (0, 0)
    assert (more.search.trials, more.search.in_full, more.search.most_epochs) == (4, 0, 4 * 3)
    assert read_plain(study) == read_plain(finished_study)


@pytest.mark.seconds
def test_a_study_without_trials_left_is_summed_up_by_its_confirmation(finished_study):
    argv = ["search", "--local", "--resume", str(finished_study), "--confirm-top", "1", "--confirm-folds", "1"]
    _, given = parse_command(argv)
    request = search_request(replace(given, values=given.values | {"no_confirm": False}))
    data = load_study_data(request.options, request.options, Console(json=False), request.task)

    assert summary(request, data, None) == "plan: all trials have ended, then at most 6 epochs of confirmation"


@pytest.mark.seconds
def test_what_a_study_refuses_is_said_before_any_data_are_read(plan, finished_study, capsys):
    with pytest.raises(UserError, match="`--fold` must stay 0 in the study"):
        plan("--resume", finished_study, "--fold", 3)

    assert "specimens" not in capsys.readouterr().err


@pytest.mark.slow
def test_what_a_search_then_does_is_what_was_planned(plan, cli, tmp_path):
    argv = ["--cache", tmp_path / "cache", "--data", "demo:90", "--trials", 3, "--epochs", 2, "--no-confirm",
            "--grace-epochs", 2, "--study", tmp_path / "study"]  # fmt: skip
    promised = plan(*argv)
    ended = cli("search", "--local", "--space", "smoke", "--workers", 1, *argv, "--json")
    entries = read_plain(tmp_path / "study")
    reports = [entry for entry in entries if entry["event"] == "report"]
    (store,) = [path for path in (tmp_path / "cache" / "features").iterdir() if path.is_dir()]
    arrays = [np.load(file, mmap_mode="r") for file in store.glob("tap-*/*.npy")]

    assert ended.status == 0, ended.stderr
    assert f"extracted {promised.extraction.images} images" in ended.stderr
    assert promised.extraction.bytes == sum(array.nbytes for array in arrays)
    assert promised.search.epochs.expected == len(reports) == 6  # none is stopped before its end
    assert promised.records.mlflow_runs == 1 + ended.result["n_trials"]
    assert promised.records.mlflow_values == sum(len(entry["metrics"]) + 1 for entry in reports)
    assert "plan: 3 trials, 1 of them in full, 1 side by side: about 6 of 6 epochs under ASHA;" in ended.stderr
    kept = sum(file.stat().st_size for file in (tmp_path / "study" / "checkpoints").rglob("*.safetensors"))
    assert kept <= 1.5 * promised.records.checkpoint_bytes


@pytest.mark.slow
def test_on_ray_and_on_this_machine_measurements_have_processes_of_their_own(processes, demo_cache):
    argv = ["plan", "--data", DEMO, "--space", PLAIN, "--epochs", 4, "--workers", 2, "--cache", demo_cache, "--json"]
    ended = [processes.run(*argv), processes.run(*argv, "--local")]

    assert [end.status for end in ended] == [0, 0], [end.stderr for end in ended]
    on_ray, local = (end.result for end in ended)
    assert list(on_ray) == list(local) == SECTIONS
    assert (on_ray["search"]["slots"], local["search"]["slots"]) == (2, 1)
    for result in (on_ray, local):
        least, most = result["trial"]["memory_bytes"]
        assert 50 * 2**20 < least <= most < 4 * 2**30  # a process with torch in it, not one of this test's size
    assert [path for path in processes.folder.iterdir() if not path.name.startswith("process-")] == []


TASKS = [
    (beetles(), 3),
    (Task.load("demo-one"), 1),
    (Task.load("demo-size"), 1),
    (Task.load("demo-species").with_classes("abcdefg"), 7),
]


@pytest.mark.parametrize(("task", "n"), TASKS)
def test_steps_are_measured_for_as_many_outputs_as_the_task_has(demo_cache, task, n):
    manifest = next((demo_cache / "features").glob("*/manifest.json"))
    trainer = TailTrainer(load_variant("default", epochs=1), few_rows(manifest.parent, 4, task), seed=0, device="cpu")
    trainer.train_epoch()

    assert trainer.tail.head.layers[-1].out_features == n


@pytest.mark.seconds
@pytest.mark.parametrize(("task", "n"), TASKS)
def test_the_share_of_a_gpu_is_measured_for_as_many_outputs_too(demo_cache, task, n):
    manifest = next((demo_cache / "features").glob("*/manifest.json"))
    stepper, config = _Stepper(), load_variant("default", epochs=1).to_dict()
    assert stepper.begin(str(manifest.parent), config, task, "cpu", 1, "float32", 1) > 0

    assert stepper.run(0.1)[0] > 0
    assert stepper._trainer.tail.head.layers[-1].out_features == n
