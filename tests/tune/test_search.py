"""`search --local` from its command line to its result, with all real parts and the smallest data."""

import shutil
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import entries_of, read_plain
from trainable.training.precision import lack_of_bfloat16
from tune.decisions.differences import differences
from tune.tracking.values import study_tags

LACK = lack_of_bfloat16("cpu")

KEYS = [
    "study", "n_trials", "n_completed", "n_pruned", "n_failed", "best", "variants", "floors", "tracking_uri",
    "experiment_id", "parent_run_id", "seconds",
]  # fmt: skip
STATES = {"completed": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
BEST_KEYS = ["trial_id", "score", "epoch", "config", "metrics"]


def scores_of(folder: Path) -> dict[str, list[float]]:
    """Every trial's scores, epoch by epoch, as the journal has them."""
    found: dict[str, list[float]] = {}
    for entry in read_plain(folder):
        if entry["event"] == "report":
            found.setdefault(entry["trial"], []).append(entry["metrics"]["score/all"])
    return found


def configs_of(folder: Path) -> list[dict]:
    return [entry["config"] for entry in read_plain(folder) if entry["event"] == "ask"]


@pytest.mark.seconds
def test_json_is_one_object_on_stdout_and_everything_else_on_stderr(demo_search, tmp_path, tracking_uri):
    ended = demo_search("--json")
    result = ended.result

    assert ended.status == 0
    assert list(result) == KEYS
    assert list(result["best"]) == BEST_KEYS
    assert result["study"] == str(tmp_path / "study")
    assert (result["n_trials"], result["n_completed"], result["n_pruned"], result["n_failed"]) == (3, 2, 1, 0)
    assert list(result["variants"]) == ["default", "ft_did"]
    assert list(result["floors"]) == ["constant", "domain_mean", "species_mean"]
    assert result["best"]["score"] == result["best"]["metrics"]["score/all"]
    assert result["best"]["score"] <= min(result["variants"].values())
    assert result["tracking_uri"] == tracking_uri
    assert "t0002  completed" in ended.stderr


@pytest.mark.seconds
def test_the_table_shows_best_variants_floors_and_the_commands_to_go_on(demo_search, tmp_path):
    shown = demo_search().stdout.splitlines()

    def line(start: str) -> str:
        (found,) = [text for text in shown if text.startswith(start)]
        return found

    for name in ("default", "ft_did", "floor constant", "floor domain_mean", "floor species_mean"):
        numbers = line(f"{name} ").removeprefix(name).split()
        assert len(numbers) == 3 + 4 * 3  # scores; R2 and MAE, ID and OOD, of three targets
        assert all(float(number) < 10 for number in numbers)
    assert line("Best trial ")
    assert line(f"  sentinel-tune ui {tmp_path / 'study'}")
    for start, mode in (("  # it opens", "TABLE"), ("  # as charts:", "CHART")):
        assert f"&compareRunsMode={mode}&viewStateShareKey=" in line(f"{start} http://127.0.0.1:5000/#/experiments/")
    assert line(f"  sentinel-tune search --resume {tmp_path / 'study'} --trials 6")
    assert max(len(text) for text in shown if not text.startswith("  ")) <= 120


@pytest.mark.seconds
def test_the_journal_holds_every_step_and_replays_to_the_same_decisions(demo_search, tmp_path):
    demo_search("--trials", 4)
    entries = read_plain(tmp_path / "study")

    assert [entry["event"] for entry in entries[:3]] == ["study", "floors", "session"]
    assert entries[-1]["event"] == "end"
    assert entries[-1]["reason"] == "finished"
    for trial in ("t0000", "t0001", "t0002", "t0003"):
        kinds = [entry["event"] for entry in entries if entry.get("trial") == trial]
        epochs = kinds.count("report")
        assert kinds[0] == "ask"
        assert kinds[-1] == "tell"
        assert 1 <= epochs <= 2
        assert 1 <= kinds.count("checkpoint") <= epochs
        assert kinds.index("checkpoint") == kinds.index("report") - 1
    assert differences(SearchSpace.load("smoke"), entries_of(entries)) == []


@pytest.mark.seconds
def test_the_study_folder_says_what_was_asked_for_and_opens_in_optuna_without_comparisons(demo_search, tmp_path):
    demo_search("--seed", 5)
    folder = tmp_path / "study"

    header = yaml.safe_load((folder / "study.yaml").read_text())
    assert header == read_plain(folder)[0]["header"]
    assert (header["options"]["data"], header["seed"], header["n_trials"]) == ("demo:120", 5, 3)
    storage = JournalStorage(JournalFileBackend(str(folder / "optuna.log")))
    study = optuna.load_study(study_name="study", storage=storage)
    ends = {entry["trial"]: entry["state"] for entry in read_plain(folder) if entry["event"] == "tell"}
    assert [trial.state for trial in study.trials] == [STATES[ends[name]] for name in ("t0000", "t0002")]
    assert not (folder / "ray").exists()


@pytest.mark.seconds
def test_the_same_seed_gives_the_same_configurations_and_scores_and_another_seed_others(demo_search, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        demo_search("--seed", seed, "--study", tmp_path / name)

    a, b, c = (scores_of(tmp_path / name) for name in "abc")
    assert a == b
    assert configs_of(tmp_path / "a") == configs_of(tmp_path / "b")
    assert a != c


@pytest.mark.slow
@pytest.mark.skipif(bool(LACK), reason=f"this CPU {LACK}")
def test_a_search_in_bfloat16_says_so_and_resumed_ends_as_one_that_was_not_interrupted(demo_search, tmp_path):
    demo_search("--precision", "bfloat16", "--trials", 2, "--study", tmp_path / "whole")
    demo_search("--precision", "bfloat16", "--trials", 1, "--study", tmp_path / "half")
    demo_search("--resume", tmp_path / "half", "--trials", 2, "--study", tmp_path / "half")

    first, _, session = read_plain(tmp_path / "half")[:3]
    assert first["header"]["options"]["precision"] == "bfloat16"
    assert (session["device"], session["precision"]) == ("cpu", "bfloat16 products")
    assert study_tags("half", first["header"])["hpo.precision"] == "bfloat16"
    assert scores_of(tmp_path / "half") == scores_of(tmp_path / "whole")


@pytest.mark.seconds
def test_a_second_search_extracts_nothing_and_says_so(demo_search, demo_cache):
    features = {path: path.stat().st_mtime_ns for path in demo_cache.glob("features/**/*.safetensors")}
    ended = demo_search()

    assert "nothing to extract" in ended.stderr
    assert "images/s" not in ended.stderr
    assert features
    assert {path: path.stat().st_mtime_ns for path in demo_cache.glob("features/**/*.safetensors")} == features


@pytest.mark.seconds
def test_a_first_search_draws_and_extracts_and_shows_images_a_second(demo_search, tmp_path):
    ended = demo_search("--cache", tmp_path / "cache", "--data", "demo:76", "--trials", 1)

    assert ended.status == 0
    assert "76/76 images" in ended.stderr
    assert "images/s" in ended.stderr


@pytest.mark.seconds
def test_resume_adds_trials_goes_on_with_the_sampler_and_repeats_none(demo_search, cli, tmp_path):
    demo_search()
    before = read_plain(tmp_path / "study")
    ended = cli("search", "--resume", tmp_path / "study", "--local", "--trials", 6, "--json")

    assert (ended.status, ended.result["n_trials"]) == (0, 6)
    assert "nothing to extract" in ended.stderr
    assert read_plain(tmp_path / "study")[: len(before)] == before
    configs = configs_of(tmp_path / "study")
    assert len({repr(config) for config in configs}) == 6
    demo_search("--trials", 6, "--study", tmp_path / "at once")
    assert configs == configs_of(tmp_path / "at once")
    assert scores_of(tmp_path / "study") == scores_of(tmp_path / "at once")


@pytest.mark.seconds
def test_resuming_without_more_trials_only_shows_the_result_again(demo_search, cli, tmp_path):
    first = demo_search("--json").result
    again = cli("search", "--resume", tmp_path / "study", "--local", "--json").result

    assert {**again, "seconds": 0} == {**first, "seconds": 0}


@pytest.mark.seconds
def test_no_variants_leaves_the_starting_points_out(demo_search):
    result = demo_search("--no-variants", "--json", "--trials", 2).result

    assert result["variants"] == {}
    assert result["n_trials"] == 2


@pytest.mark.seconds
def test_the_official_split_warns_with_the_number_of_leaked_events(demo_search, tmp_path):
    ended = demo_search("--holdout", "official", "--trials", 1)
    n_leaked = read_plain(tmp_path / "study")[0]["header"]["n_leaked_events"]

    (warning,) = [line for line in ended.stderr.splitlines() if line.startswith("warning: ")]
    assert n_leaked > 0
    assert f" {n_leaked} " in warning


@pytest.mark.seconds
def test_a_spent_time_budget_pauses_and_a_resume_goes_on_where_it_stopped(demo_search, cli, tmp_path):
    ended = demo_search("--time-budget", "0.01", "--epochs", 3)
    entries = read_plain(tmp_path / "study")

    assert ended.status in (0, 1)  # 1 when there was time for no score at all
    assert entries[-1]["reason"] == "time budget spent"
    result = cli("search", "--resume", tmp_path / "study", "--local", "--time-budget", "1h", "--json").result
    assert (result["n_trials"], result["n_failed"]) == (3, 0)
    reported = [(e["trial"], e["epoch"]) for e in read_plain(tmp_path / "study") if e["event"] == "report"]
    assert len(set(reported)) == len(reported)


SPACE = """
about: a test's own
base: default
start_from: [default]
parameters:
  tail.n_blocks: {{choices: {blocks}, role: scientific, why: depth}}
  optim.lr: {{float: {bounds}, log: true, role: nuisance, why: rate}}
"""


@pytest.mark.parametrize("verb", ["search", "search --local", "extract", "extract --local"])
def test_a_gpu_that_this_machine_lacks_is_told_before_any_data_are_read(cli, verb, tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    ended = cli(*verb.split(), "--device", "cuda", "--data", tmp_path / "nothing", "--space", "smoke")

    assert ended.status == 2
    assert [line for line in ended.stderr.splitlines() if line.startswith("error: ")] == [
        "error: `--device cuda` needs a GPU, but this machine has none; use `--device cpu` or `--device auto`"
    ]


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--space", "no-such-space"], "no-such-space"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--data", "demo:10"], "76"),
        (["--backbone", "huge"], "huge"),
        (["--backbone", "local-dir:/no/such/folder"], "/no/such/folder"),
        (["--fold", "99"], "99"),
        (["--device", "cuda"], "needs a GPU"),
        (["--tracking-uri", "./mlruns"], "tracking URI"),
        (["--space", "{folder}/too-deep.yaml"], "tail.n_blocks <= 6"),
        (["--space", "{folder}/inverted.yaml"], "inverted.yaml:7"),
        (["--space", "{folder}/unknown.yaml"], "unknown.yaml:8"),
    ],
)
def test_a_users_mistake_is_clear_lines_and_status_2_and_leaves_no_study(demo_search, tmp_path, argv, message):
    import torch

    if "cuda" in argv and torch.cuda.is_available():
        pytest.skip("there is a GPU, so asking for it is no mistake")
    files = {
        "too-deep": SPACE.format(blocks="[2, 7]", bounds="[1.0e-4, 1.0e-3]"),
        "inverted": SPACE.format(blocks="[1, 2]", bounds="[1.0e-3, 1.0e-4]"),
        "unknown": SPACE.format(blocks="[1, 2]", bounds="[1.0e-4, 1.0e-3]") + "  optim.speed: {int: [1, 2]}\n",
    }
    for name, text in files.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    ended = demo_search(*(word.format(folder=tmp_path) for word in argv))

    assert ended.status == 2
    assert ended.stdout == ""
    problems = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert any(message in line for line in problems), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "study").exists()


@pytest.mark.seconds
def test_a_second_search_into_the_same_folder_is_refused_and_the_first_one_stays(demo_search, tmp_path):
    demo_search()
    before = read_plain(tmp_path / "study")
    ended = demo_search()

    assert ended.status == 2
    assert "--resume" in ended.stderr
    assert read_plain(tmp_path / "study") == before


@pytest.mark.seconds
@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--seed", 9], "`--seed` must stay 0"),
        (["--data", "demo:121"], "`--data` must stay demo:120"),
        (["--epochs", 9], "`--epochs` must stay 2"),
        (["--holdout", "site"], "`--holdout` must stay both"),
        (["--space", "full"], "`--space` must stay smoke"),
    ],
)
def test_a_resume_with_other_fixed_options_is_refused(demo_search, cli, tmp_path, argv, message):
    demo_search("--trials", 1)
    before = read_plain(tmp_path / "study")
    ended = cli("search", "--local", "--resume", tmp_path / "study", *argv)

    assert ended.status == 2
    assert message in ended.stderr
    assert read_plain(tmp_path / "study") == before


@pytest.mark.seconds
def test_a_resume_with_a_changed_space_file_is_refused_with_the_difference(demo_search, cli, tmp_path):
    space = tmp_path / "own.yaml"
    space.write_text(SPACE.format(blocks="[1, 2]", bounds="[1.0e-4, 1.0e-3]"))
    assert demo_search("--space", space, "--trials", 1).status == 0
    space.write_text(SPACE.format(blocks="[1, 2]", bounds="[1.0e-4, 5.0e-3]"))
    ended = cli("search", "--local", "--resume", tmp_path / "study")

    assert ended.status == 2
    assert "0.001" in ended.stderr
    assert "0.005" in ended.stderr


@pytest.mark.seconds
def test_a_resume_on_changed_data_is_refused(demo_search, cli, tmp_path):
    data = tmp_path / "data"
    assert cli("demo-data", data, "--specimens", 76).status == 0
    assert demo_search("--data", data, "--trials", 1).status == 0
    shutil.rmtree(data)
    assert cli("demo-data", data, "--specimens", 76, "--seed", 1).status == 0
    ended = cli("search", "--local", "--resume", tmp_path / "study")

    assert ended.status == 2
    assert "data fingerprint" in ended.stderr


def test_resuming_what_is_no_study_is_one_clear_line(cli, tmp_path):
    ended = cli("search", "--resume", tmp_path / "nothing", "--local")

    assert ended.status == 2
    assert ended.stderr.count("error: ") == 1
    assert not (tmp_path / "nothing").exists()
