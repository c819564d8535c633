"""`train`: one configuration to its end, on real features of the small demo."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import search_spaces
from search_spaces.variant import load_variant, trained_variant
from tests.trainable.rounding import TINY_TERMS, assert_rounded, in_float64, taps_in_float64
from trainable.config import TrialConfig
from trainable.export.facts import ModelFacts
from trainable.export.standalone import ExportedModel
from trainable.frozen.backbone import load_backbone
from trainable.scoring.scoring import HeldOutScorer
from trainable.training.checkpoint import load_latest
from trainable.training.precision import lack_of_bfloat16
from trainable.training.trainer import TailTrainer
from trainable.training.trial_data import TrialData

DEMO = "demo:120"


LACK = lack_of_bfloat16("cpu")


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
    assert json.loads((tmp_path / "out" / "training.json").read_text()) == result
    assert result["variant"] == "default"
    assert result["config"]["epochs"] == 2
    assert result["last"]["epoch"] == 2
    assert result["best"]["score"] <= result["last"]["score"]
    assert list(result["floors"]) == ["constant", "domain_mean", "species_mean"]
    assert result["precision"] == "float32"
    assert "nothing to extract" in ended.stderr
    assert "epoch 2/2" in ended.stderr
    assert result["model"] == str(tmp_path / "out" / "model")


@pytest.mark.seconds
@pytest.mark.skipif(bool(LACK), reason=f"this CPU {LACK}")
def test_a_training_in_bfloat16_says_so_and_goes_on_in_nothing_else(train, tmp_path):
    result = train("--precision", "bfloat16", "--epochs", 1, "--json").result
    model = ExportedModel.load(result["model"])
    other = train("--epochs", 1)

    assert result["precision"] == model.config["facts"]["precision"] == "bfloat16 products"
    card = (tmp_path / "out" / "model" / "README.md").read_text()
    assert "* precision: trained in bfloat16 products; this folder computes in float32\n" in card
    assert other.status == 2
    assert "the checkpoint's `precision` must be 'float32', but is 'bfloat16'" in other.stderr


@pytest.mark.skipif(not LACK, reason="this CPU multiplies bfloat16")
def test_bfloat16_is_refused_on_a_cpu_without_it_before_anything_is_read(train, tmp_path):
    ended = train("--precision", "bfloat16", "--data", tmp_path / "none")

    assert ended.status == 2
    assert ended.stderr.startswith("error: `--precision bfloat16` must have CPUs that multiply it, but this machine")


def test_the_best_epoch_is_exported_with_the_sigmas_and_scores_of_its_held_out_events(train, tmp_path):
    result = train("--epochs", 4, "--variant", "ft_did", "--json").result
    data = TrialData.load(tmp_path / "out" / "data")
    state, _ = load_latest(tmp_path / "out" / "checkpoints")
    trainer = TailTrainer(TrialConfig.from_dict(state["values"]["config"]), data, seed=0)
    trainer.load_state_dict(state)
    trainer.load_best()
    forecasts = HeldOutScorer(data.labels, data.event_ids, data.site_ids, data.split).forecasts(
        trainer.predict_held_out()
    )

    model = ExportedModel.load(result["model"])

    sigmas, facts = model.config["sigmas"], ModelFacts.from_dict(model.config["facts"])
    np.testing.assert_allclose(sigmas["known"], forecasts["id"].pooled_sigma, rtol=1e-12)
    np.testing.assert_allclose(sigmas["unknown"], forecasts["ood"].pooled_sigma, rtol=1e-12)
    assert (facts.name, facts.epochs, facts.seeds) == ("ft_did", result["best"]["epoch"], (0,))
    assert (facts.holdout, facts.fold, facts.scores_of) == ("both", 0, "held-out events")
    assert (facts.n_specimens, facts.held_out_domains) == (len(data.split.train), data.split.held_out_domains)
    assert facts.scores["score/all"] == result["best"]["score"]
    low, high = facts.intervals["score/all"]
    assert low <= facts.scores["score/all"] <= high
    assert list(facts.floors) == list(result["floors"])
    pixels = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    taps = taps_in_float64(load_backbone("tiny"), pixels, [trainer.tap])
    with torch.inference_mode():
        wanted = in_float64(trainer.tail.eval())(taps[trainer.tap], torch.full((6,), len(trainer.known_domains)))
    assert_rounded(model.predict_pixels(pixels, [None] * 6), wanted.clamp(-2.09, 2.09), TINY_TERMS)


@pytest.mark.seconds
@pytest.mark.parametrize(("holdout", "part"), [("site", "id"), ("domain", "ood")])
def test_a_kind_of_domain_of_which_nothing_was_held_out_takes_the_others_sigma(train, holdout, part):
    result = train("--holdout", holdout, "--epochs", 1, "--json").result

    sigmas = ExportedModel.load(result["model"]).config["sigmas"]

    assert sigmas["known"] == sigmas["unknown"]
    assert sigmas["known"][0] == pytest.approx(result["best"]["metrics"][f"sigma_{part}/SPEI_30d"])


def test_a_model_folder_that_is_not_ours_is_refused_before_training(train, tmp_path):
    model = tmp_path / "out" / "model"
    model.mkdir(parents=True)
    (model / "notes.txt").write_text("mine")
    ended = train()

    assert ended.status == 2
    assert f"but {model} holds notes.txt" in ended.stderr
    assert "epoch 1/2" not in ended.stderr
    assert (model / "notes.txt").read_text() == "mine"


def test_the_table_shows_the_best_and_the_last_epoch_beside_the_floors(train, tmp_path):
    shown = train().stdout

    for name in ("best, epoch", "last, epoch 2", "floor constant", "floor domain_mean", "floor species_mean"):
        assert name in shown
    assert str(tmp_path / "out" / "training.json") in shown
    assert f"sentinel-tune evaluate {tmp_path / 'out' / 'model'}" in shown


@pytest.mark.parametrize(("holdout", "is_said"), [("both", True), ("official", False)])
def test_where_a_search_has_more_folds_the_table_says_that_scores_are_not_alike(train, holdout, is_said):
    ended = train("--epochs", 1, "--holdout", holdout)
    said = "The score is of fold 0 alone. A search's scores are of 2 folds, unless" in ended.stdout

    assert ended.status == 0
    assert said is is_said


def test_a_variant_from_a_file_is_trained(train, tmp_path):
    own = yaml.safe_load((Path(search_spaces.__file__).parent / "variants" / "default.yaml").read_text())
    own["config"]["adapter"] |= {"kind": "lora", "rank": 3}
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own))
    ended = train("--variant", file, "--json")

    assert (ended.status, ended.result["variant"]) == (0, str(file))
    assert ended.result["config"]["adapter"]["rank"] == 3
    assert "own  epoch 2/2" in ended.stderr


def test_a_file_of_ones_own_is_trained_as_long_as_it_says(cli, demo_cache, tmp_path):
    own = yaml.safe_load((Path(search_spaces.__file__).parent / "variants" / "default.yaml").read_text())
    file = tmp_path / "own.yaml"
    file.write_text(yaml.safe_dump(own | {"epochs": 1}))
    words = ["--data", DEMO, "--cache", demo_cache, "--workers", 1, "--variant", file, "--out", tmp_path / "out"]
    ended = cli("train", *words, "--json")

    assert ended.status == 0
    assert (ended.result["config"]["epochs"], ended.result["last"]["epoch"]) == (1, 1)
    assert trained_variant("lora", None).epochs == 20 != load_variant("lora").epochs
    assert trained_variant(file, 3).epochs == 3


@pytest.mark.seconds
def test_a_training_that_is_given_its_folder_again_goes_on_from_its_checkpoint(train, tmp_path):
    def history() -> list[dict[str, float]]:
        return load_latest(tmp_path / "out" / "checkpoints")[0]["values"]["history"]

    whole = train("--epochs", 3, "--out", tmp_path / "whole", "--json").result
    train("--epochs", 3)
    for file in (tmp_path / "out" / "checkpoints").glob("epoch-000003*"):
        file.unlink()  # as if it had been stopped in the third epoch
    (tmp_path / "out" / "training.json").unlink()
    shutil.rmtree(tmp_path / "out" / "model")
    kept = history()
    again = train("--epochs", 3, "--json")

    assert kept
    assert history()[: len(kept)] == kept  # the clock's values, too: these epochs were not trained again
    assert again.result["last"]["score"] == whole["last"]["score"]
    assert again.result["best"]["score"] == whole["best"]["score"]
    weights = [Path(result["model"], "model.safetensors").read_bytes() for result in (whole, again.result)]
    assert weights[0] == weights[1]


@pytest.mark.seconds
def test_a_folder_of_another_training_is_refused_in_clear_lines(train, tmp_path):
    train()
    results = (tmp_path / "out" / "training.json").read_text()
    ended = train("--variant", "lora")

    assert ended.status == 2
    assert "Traceback" not in ended.stderr
    assert "error: the checkpoint's `config.adapter.rank` must be 256, but is 16" in ended.stderr
    assert (tmp_path / "out" / "training.json").read_text() == results


def test_the_official_split_warns_of_its_leak_and_records_it(train):
    ended = train("--holdout", "official", "--epochs", 1, "--json")

    card = Path(ended.result["model"], "README.md").read_text()
    assert f"**The official split leaks**: {ended.result['n_leaked_events']} held-out events" in card
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


def test_two_unnamed_trainings_of_one_second_have_a_folder_each(cli, demo_cache, tmp_path, monkeypatch):
    monkeypatch.setattr("tune.verbs.train._default_folder", lambda variant: tmp_path / variant)
    words = ("--data", DEMO, "--cache", demo_cache, "--workers", 1, "--variant", "default", "--epochs", 1, "--json")
    models = [cli("train", *words).result["model"] for _ in range(2)]

    assert models == [str(tmp_path / name / "model") for name in ("default", "default-2")]
