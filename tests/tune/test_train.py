"""`train`: one configuration to its end, on real features of the small demo."""

import json
from pathlib import Path

import pytest
import yaml

import search_spaces

DEMO = "demo:120"


@pytest.fixture
def train(cli, demo_cache, tmp_path):
    """`train` for two epochs into `tmp_path / "out"`, unless told else."""

    def run(*argv):
        options = {
            "--data": DEMO, "--cache": demo_cache, "--workers": 1,
            "--variant": "default", "--epochs": 2, "--out": tmp_path / "out",
        }  # fmt: skip
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        return cli("train", *words, *argv)

    return run


def test_a_variant_is_trained_to_its_end_and_its_results_are_kept(train, tmp_path):
    ended = train("--json")
    result = ended.result

    assert ended.status == 0
    assert json.loads((tmp_path / "out" / "results.json").read_text()) == result
    assert result["variant"] == "default"
    assert result["config"]["epochs"] == 2
    assert result["last"]["epoch"] == 2
    assert result["best"]["score"] <= result["last"]["score"]
    assert list(result["floors"]) == ["constant", "domain_mean", "species_mean"]
    assert "nothing to extract" in ended.stderr
    assert "epoch 2/2" in ended.stderr


def test_the_table_shows_the_best_and_the_last_epoch_beside_the_floors(train, tmp_path):
    shown = train().stdout

    for name in ("best, epoch", "last, epoch 2", "floor constant", "floor domain_mean", "floor species_mean"):
        assert name in shown
    assert str(tmp_path / "out" / "results.json") in shown


def test_a_variant_from_a_file_is_trained(train, tmp_path):
    own = yaml.safe_load((Path(search_spaces.__file__).parent / "variants" / "default.yaml").read_text())
    own["config"]["adapter"] |= {"kind": "lora", "rank": 3}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    ended = train("--variant", file, "--json")

    assert (ended.status, ended.result["variant"]) == (0, str(file))
    assert ended.result["config"]["adapter"]["rank"] == 3
    assert "own  epoch 2/2" in ended.stderr


def test_a_training_that_is_given_its_folder_again_goes_on_from_its_checkpoint(train, tmp_path):
    whole = train("--epochs", 3, "--out", tmp_path / "whole", "--json").result
    train("--epochs", 3)
    for file in (tmp_path / "out" / "checkpoints").glob("epoch-000003*"):
        file.unlink()  # as if it had been stopped in the third epoch
    (tmp_path / "out" / "results.json").unlink()
    second = tmp_path / "out" / "checkpoints" / "epoch-000002.safetensors"
    written = second.stat().st_mtime_ns
    again = train("--epochs", 3, "--json")

    assert second.stat().st_mtime_ns == written
    assert again.result["last"]["score"] == whole["last"]["score"]
    assert again.result["best"]["score"] == whole["best"]["score"]


def test_a_folder_of_another_training_is_refused_in_clear_lines(train, tmp_path):
    train()
    results = (tmp_path / "out" / "results.json").read_text()
    ended = train("--variant", "lora")

    assert ended.status == 2
    assert "Traceback" not in ended.stderr
    assert "error: the checkpoint's `config.adapter.rank` must be 256, but is 16" in ended.stderr
    assert (tmp_path / "out" / "results.json").read_text() == results


def test_the_official_split_warns_of_its_leak_and_records_it(train):
    ended = train("--holdout", "official", "--epochs", 1, "--json")

    assert f" {ended.result['n_leaked_events']} " in next(
        line for line in ended.stderr.splitlines() if line.startswith("warning: ")
    )


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--variant", "no-such-variant"], "no-such-variant"),
        (["--variant", "/no/such/file.yaml"], "/no/such/file.yaml"),
        (["--epochs", 0], "--epochs >= 1"),
        (["--data", "/no/such/folder"], "/no/such/folder"),
        (["--fold", 99], "99"),
        (["--backbone", "huge"], "huge"),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_leaves_no_folder(train, tmp_path, argv, message):
    ended = train(*argv)

    assert ended.status == 2
    assert message in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
