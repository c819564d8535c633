"""`retrain`: from a study's verdict to a model on all of its data, in the registry."""

import json
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file

from tests.trainable.rounding import TINY_TERMS, assert_rounded, predicted_in_float64
from tests.tune.made_study import made_study
from tests.tune.plain_entries import encoded, read_plain
from trainable.checksums import from_json, to_json
from trainable.data.task import Task
from trainable.export.standalone import ExportedModel
from trainable.scoring.out_of_fold import calibrated_sigmas
from tune.command_line.mlflow_names import model_name_problem
from tune.command_line.model_options import RetrainOptions
from tune.confirming.outcome import confirmed_of, out_of_fold_of
from tune.journal.entries import Confirming, VerdictReached, study_of
from tune.journal.journal import FILE_NAME, read_entries
from tune.models.recipe import recipe_of
from tune.tracking.client import open_client
from tune.verbs.retrain import usual_name

NAME = "beetles-of-tests"


@pytest.fixture
def retrain(cli, demo_cache, tracking_uri, tmp_path):
    """`retrain` of a study into `tmp_path / "out"`, unregistered unless told else."""

    def run(study, *argv):
        options = {
            "--workers": 1, "--cache": demo_cache, "--out": tmp_path / "out", "--tracking-uri": tracking_uri,
        }  # fmt: skip
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        return cli("retrain", study, *words, *([] if "--name" in argv else ["--no-register"]), *argv)

    return run


def replace_in_journal(study: Path, text: str, other: str) -> None:
    entries = [json.loads(json.dumps(entry).replace(text, other)) for entry in read_plain(study)]
    (study / FILE_NAME).write_bytes(b"".join(map(encoded, entries)))


def weights(folder: Path) -> dict[str, np.ndarray]:
    return load_file(folder / "model" / "model.safetensors")


def same_weights(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name]) for name in a)


def test_the_winner_is_retrained_on_all_data_for_the_epochs_that_confirmation_found_best(retrained, confirmed_study):
    confirmed = confirmed_of(read_entries(confirmed_study))
    winner = confirmed.candidate(confirmed.winner)
    model = ExportedModel.load(retrained / "model")
    facts = model.config["facts"]

    assert (facts["name"], facts["config"], facts["epochs"]) == (winner.name, winner.config, winner.epoch)
    assert (facts["holdout"], facts["fold"], facts["n_specimens"]) == ("all", None, 120)
    assert (facts["seeds"], facts["scores_of"]) == ([confirmed.seeds[0]], "confirmation")
    assert facts["scores"]["score/all"] == winner.metrics["score/all"]
    assert tuple(facts["intervals"]["score/all"]) == winner.intervals["score/all"]
    assert facts["verdict"] == confirmed.verdict
    assert facts["precision"] == json.loads((retrained / "retrain.json").read_text())["precision"] == "float32"
    assert len(model.known_domains) == 10  # none is held out
    assert set(facts["floors"]) == {"constant", "domain_mean", "species_mean"}
    assert all("score/ood" in floor for floor in facts["floors"].values())


def test_sigma_comes_from_the_confirmations_out_of_fold_forecasts(retrained, confirmed_study):
    confirmed = confirmed_of(read_entries(confirmed_study))
    forecasts = out_of_fold_of(confirmed_study, confirmed, confirmed.candidate(confirmed.winner))

    sigmas = ExportedModel.load(retrained / "model").config["sigmas"]

    for kind, expected in calibrated_sigmas(forecasts).items():
        assert sigmas[kind] == pytest.approx(expected.tolist())
    evidence = json.loads((retrained / "model" / "confirmation.json").read_text())
    assert evidence["forecasts"] == forecasts.to_dict()


def test_the_result_is_one_json_object_and_the_same_command_again_registers_nothing_new(
    retrain, retrained, confirmed_study, tracking_uri
):
    again = retrain(confirmed_study, "--out", retrained, "--name", NAME, "--json")
    result = again.result

    assert again.status == 0
    assert "trained and exported already" in again.stderr
    assert result["model"] == str(retrained / "model")
    assert result["registry_uri"] == f"models:/{NAME}/1"
    assert result["scores"]["score/all"] > 0
    run = open_client(tracking_uri).get_run(result["run_id"])
    assert run.info.status == "FINISHED"
    assert len(open_client(tracking_uri).search_model_versions(f"name = '{NAME}'")) == 1


def test_another_precision_is_another_retraining(retrain, retrained, confirmed_study):
    ended = retrain(confirmed_study, "--out", retrained, "--precision", "bfloat16")

    assert ended.status == 2
    assert "`--out" in ended.stderr
    assert "precision is float32 there and bfloat16 now" in ended.stderr


def test_the_run_is_a_child_of_the_studys_with_params_metrics_and_the_confirmation(
    retrained, confirmed_study, tracking_uri
):
    assert retrained.is_dir()
    client = open_client(tracking_uri)
    version = client.get_model_version(NAME, "1")
    run = client.get_run(version.run_id)
    study_run = client.get_run(run.data.tags["mlflow.parentRunId"])

    assert study_run.data.tags["hpo.study"] == run.data.tags["retrain.study"] == confirmed_study.name
    assert "hpo.study" not in run.data.tags  # or the next sync would take it for the study's own
    assert run.data.params["tail.n_blocks"]
    assert (run.data.params["retrain.precision"], study_run.data.tags["hpo.precision"]) == ("float32", "float32")
    assert {"train/loss", "score/all", "crps_ood/SPEI_2y"} <= run.data.metrics.keys()
    assert "confirmation.json" in [file.path for file in client.list_artifacts(version.run_id)]
    assert version.tags["retrain.study"] == confirmed_study.name


@pytest.mark.seconds
@pytest.mark.parametrize("lost", ["member-1/epoch-000002", "member-1", "both"])
def test_a_retraining_that_was_stopped_goes_on_and_ends_in_the_same_weights(
    retrain, ensemble, confirmed_study, tmp_path, lost
):
    """As if it had been killed: the model and the newest checkpoints are not there."""
    shutil.copytree(ensemble, tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "model")
    checkpoints = tmp_path / "out" / "checkpoints"
    if lost == "member-1/epoch-000002":
        (checkpoints / "member-1" / "epoch-000002.safetensors").unlink()
    else:
        shutil.rmtree(checkpoints if lost == "both" else checkpoints / lost)

    ended = retrain(confirmed_study, "--seeds", 2, "--epochs", 2)

    assert ended.status == 0, ended.stderr
    assert same_weights(tmp_path / "out", ensemble)


@pytest.fixture(scope="module")
def ensemble(confirmed_study, demo_cache, tmp_path_factory):
    """Two members of two epochs, unregistered."""
    from tune.cli import main

    folder = tmp_path_factory.mktemp("ensemble") / "out"
    words = ["--seeds", "2", "--epochs", "2", "--workers", "1", "--cache", str(demo_cache), "--no-register"]
    assert main(["retrain", str(confirmed_study), "--out", str(folder), *words]) == 0
    return folder


@pytest.mark.seconds
def test_an_ensemble_has_a_member_a_seed_and_predicts_their_mean(ensemble, confirmed_study):
    model = ExportedModel.load(ensemble / "model")
    images = [Image.new("RGB", (40, 30), (shade, 90, 40)) for shade in (20, 200)]
    pixels = model.pixels(images)
    members = [ExportedModel(model.config, [member]) for member in model.members]
    alone = [predicted_in_float64(member, pixels, [1, None]) for member in members]

    first = confirmed_of(read_entries(confirmed_study)).seeds[0]
    assert model.config["facts"]["seeds"][0] == first
    assert len(set(model.config["facts"]["seeds"])) == len(model.members) == 2
    assert not np.allclose(*alone)
    assert_rounded(model.predict(images, [1, None]), np.mean(alone, axis=0), TINY_TERMS)


def test_another_recipe_into_the_same_folder_is_refused_and_leaves_it_as_it_is(retrain, ensemble, confirmed_study):
    before = {path: path.stat().st_mtime_ns for path in ensemble.rglob("*") if path.is_file()}
    ended = retrain(confirmed_study, "--out", ensemble, "--seeds", 1, "--epochs", 1)

    assert ended.status == 2
    assert "epochs is 2 there and 1 now" in ended.stderr
    assert "seeds is " in ended.stderr
    assert before == {path: path.stat().st_mtime_ns for path in ensemble.rglob("*") if path.is_file()}


def test_a_folder_with_something_else_in_it_is_refused(retrain, confirmed_study, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("mine")
    ended = retrain(confirmed_study)

    assert (ended.status, [p.name for p in (tmp_path / "out").iterdir()]) == (2, ["thesis.tex"])
    assert "must be a new folder" in ended.stderr


def test_a_place_that_cannot_be_written_is_one_clear_line(retrain, confirmed_study, tmp_path):
    (tmp_path / "file").write_text("no folder")
    ended = retrain(confirmed_study, "--out", tmp_path / "file" / "out")

    assert (ended.status, "`--out` must be writable" in ended.stderr) == (2, True)
    assert "Traceback" not in ended.stderr


def test_an_altered_model_is_not_registered(retrain, ensemble, confirmed_study, tmp_path):
    shutil.copytree(ensemble, tmp_path / "out")
    file = tmp_path / "out" / "model" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1] + b"\0")
    ended = retrain(confirmed_study, "--seeds", 2, "--epochs", 2, "--name", "altered")

    assert ended.status == 2
    assert "was altered" in ended.stderr


def test_a_trial_without_confirmation_gets_the_sigma_of_the_searchs_own_held_out_events(
    retrain, finished_study, tmp_path
):
    refused = retrain(finished_study)
    ended = retrain(finished_study, "--trial", "t0001", "--json")
    report = [e for e in read_plain(finished_study) if e["event"] == "report" and e["trial"] == "t0001"]
    best = min(report, key=lambda entry: entry["metrics"]["score/all"])

    assert refused.status == 2
    assert "sentinel-tune confirm" in refused.stderr
    assert ended.status == 0, ended.stderr
    assert "was not confirmed" in ended.stderr
    model = ExportedModel.load(tmp_path / "out" / "model")
    assert model.config["facts"]["epochs"] == best["epoch"]
    assert model.config["facts"]["scores_of"] == "held-out events"
    assert model.config["sigmas"]["known"][0] == pytest.approx(best["metrics"]["sigma_id/SPEI_30d"])
    assert model.config["sigmas"]["unknown"][2] == pytest.approx(best["metrics"]["sigma_ood/SPEI_2y"])
    assert not (tmp_path / "out" / "model" / "confirmation.json").exists()


def test_a_configuration_that_was_confirmed_is_found_from_its_file(retrain, confirmed_study, tmp_path):
    import search_spaces

    variants = Path(search_spaces.__file__).parent / "variants"
    ended = retrain(confirmed_study, "--config", variants / "default.yaml", "--epochs", 1, "--json")

    assert ended.status == 0, ended.stderr
    assert ended.result["scores_of"] == "confirmation"
    assert ExportedModel.load(tmp_path / "out" / "model").config["facts"]["name"] == "default"


def test_leading_takes_the_one_that_leads_where_the_default_is_kept(confirmed_study):
    entries, confirmed = read_entries(confirmed_study), confirmed_of(read_entries(confirmed_study))
    leader = next(c for c in confirmed.candidates if c.name != "default" and not c.members)
    unproven = replace(confirmed, winner="default", is_win=False, leader=leader.name)
    entries.append(Confirming(of=VerdictReached(result=unproven.to_dict())))
    recipes = {
        leading: recipe_of(RetrainOptions(study=confirmed_study, leading=leading), entries) for leading in (False, True)
    }

    assert (recipes[False].name, recipes[False].is_winner) == ("default", True)
    assert (recipes[True].name, recipes[True].is_winner) == (leader.name, False)  # moves no champion
    (part,) = recipes[True].parts
    assert (part.config.to_dict(), part.epochs) == (leader.config, leader.epoch)
    assert recipes[True].scores_of == "confirmation"


@pytest.mark.parametrize(
    ("argv", "messages"),
    [
        (["--trial", "t9999"], ["`--trial` must be a trial of the study, but got 't9999'", "t0000", "t0003"]),
        (["--epochs", 99], ["`--epochs <= 3` must hold", "99"]),
        (["--config", "combined"], ["never ran combined", "sentinel-tune train --variant combined"]),
        (["--config", "/no/such.yaml"], ["/no/such.yaml"]),
        (["--seeds", 0], ["--seeds >= 1"]),
        (["--trial", "t0001", "--config", "lora"], ["cannot both be given"]),
        (["--trial", "t0001", "--leading"], ["`--trial` and `--leading` cannot both be given"]),
    ],
)
def test_a_users_mistake_is_one_clear_line_and_leaves_no_folder(retrain, confirmed_study, tmp_path, argv, messages):
    ended = retrain(confirmed_study, *argv)

    assert ended.status == 2
    assert all(message in ended.stderr for message in messages), ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_where_there_is_no_ensemble_it_is_said_what_makes_one(retrain, finished_study):
    ended = retrain(finished_study, "--trial", "ensemble")

    assert ended.status == 2
    assert "`--trial ensemble` must be of a confirmation on two folds or more" in ended.stderr
    assert "valid: t0000" in ended.stderr


def test_a_folder_that_is_no_study_is_refused(retrain, tmp_path):
    ended = retrain(tmp_path)

    assert (ended.status, "must hold journal.jsonl" in ended.stderr) == (2, True)


@pytest.mark.parametrize("name", ["data", "backbone"])
def test_data_or_backbone_that_are_not_the_studys_any_more_are_refused_with_both_values(
    retrain, confirmed_study, tmp_path, name
):
    study = tmp_path / "study"
    shutil.copytree(confirmed_study, study)
    fingerprint = read_plain(study)[0]["header"][f"{name}_fingerprint"]
    replace_in_journal(study, fingerprint, "0" * len(fingerprint))
    for file in study.glob("confirmation/*.json"):
        values = from_json(file.read_bytes())
        file.write_text(to_json(values | {f"{name}_fingerprint": "0" * len(fingerprint)}))
    ended = retrain(study)

    assert ended.status == 2
    assert fingerprint in ended.stderr
    assert "0" * len(fingerprint) in ended.stderr
    assert not (tmp_path / "out").exists()


def test_lost_forecasts_of_the_confirmation_are_told_before_training(retrain, confirmed_study, tmp_path):
    study = tmp_path / "study"
    shutil.copytree(confirmed_study, study)
    shutil.rmtree(study / "confirmation")
    ended = retrain(study)

    assert (ended.status, f"run `sentinel-tune confirm {study} --local` again" in ended.stderr) == (2, True)


@pytest.mark.seconds
def test_a_registry_that_is_down_is_told_before_training(retrain, confirmed_study, tmp_path):
    ended = retrain(confirmed_study, "--tracking-uri", "http://127.0.0.1:9", "--name", NAME)

    assert ended.status == 2
    assert "MLflow at http://127.0.0.1:9 must answer" in ended.stderr
    assert "--no-register" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()


def test_what_could_be_trained_but_not_registered_is_registered_by_the_same_command(
    retrain, ensemble, confirmed_study, tracking_uri, tmp_path
):
    """The store of files fails on the way: nothing is left in MLflow, the model stays."""
    shutil.copytree(ensemble, tmp_path / "out")
    client = open_client(tracking_uri)
    (blocked := tmp_path / "blocked").write_text("a file where a folder should be")
    study = tmp_path / "study"
    shutil.copytree(confirmed_study, study)
    experiment = client.create_experiment("broken", artifact_location=(blocked / "files").as_uri())
    replace_in_journal(study, '"experiment": "sentinel-tune"', '"experiment": "broken"')
    command = ["--seeds", 2, "--epochs", 2, "--name", "second-try"]

    failed = retrain(study, *command)
    left_runs = client.search_runs([experiment])
    left_models = client.search_registered_models("name = 'second-try'")
    blocked.unlink()
    ended = retrain(study, *command, "--json")

    assert failed.status == 2
    assert "the same command again registers it" in failed.stderr
    assert (list(left_runs), list(left_models)) == ([], [])
    assert ended.status == 0, ended.stderr
    assert "epoch 1/2" not in ended.stderr
    assert ended.result["registry_uri"] == "models:/second-try/1"


@pytest.mark.slow
def test_a_killed_retraining_ends_in_the_same_weights(processes, cli, confirmed_study, demo_cache, tmp_path):
    words = ["--workers", 1, "--cache", demo_cache, "--no-register", "--seeds", 3]
    whole = cli("retrain", confirmed_study, "--out", tmp_path / "whole", *words)
    killed = processes.start("retrain", confirmed_study, "--out", tmp_path / "killed", *words)
    first = tmp_path / "killed" / "checkpoints" / "member-1"
    while not list(first.glob("epoch-*")):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.kill()
    killed.wait()
    again = cli("retrain", confirmed_study, "--out", tmp_path / "killed", *words)

    assert (whole.status, again.status) == (0, 0), again.stderr
    assert same_weights(tmp_path / "killed", tmp_path / "whole")


def test_models_of_another_task_are_registered_as_their_study_is_called():
    study = made_study(1)
    header = study_of(study).header | {"task": Task.load("demo-one").to_dict()}
    other = [replace(study_of(study), header=header), *study[1:]]

    assert usual_name(study, "leaves") == "sentinel-beetles"
    assert usual_name(other, "leaves") == "leaves"
    assert usual_name(other, "oak: 2024/summer") == "oak- 2024-summer"
    for name in ("leaves", "oak: 2024/summer", "Bäume", "'", "x" * 300):
        assert model_name_problem(usual_name(other, name)) is None
