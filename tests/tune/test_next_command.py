"""Commands that are printed to be run next: a shell and this program take them back as they were meant."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

import trainable
import tune
from trainable.storage.remote_folder import RemoteFolder
from tune.cli import parse_command
from tune.command_line.model_options import EvaluateOptions, RetrainOptions
from tune.command_line.options import SearchOptions, TrainOptions
from tune.printed.next_command import carried, next_command
from tune.printed.shell_words import quoted
from tune.report.next_steps import after_search, after_training

NAMES = [
    "plain",
    "two words",
    'it\'s "so"',
    "$HOME;`id`",
    "-dash",
    "--data",
    "Käfer",
    "a\nb\x1b[31m",
    "back\\slash",
    "*",
    " edge ",
    "a,b",
]


def parsed(command: str) -> tuple[str, dict]:
    """The verb, and the values that were given to it."""
    program, *words = shlex.split(command)
    assert program == "sentinel-tune"
    verb, given = parse_command(words)
    return verb.name, given.values


@pytest.mark.parametrize("word", [*NAMES, os.fsdecode(b"K\xe4fer"), os.fsdecode(b"\xe4'\\n")])
def test_a_shell_takes_each_word_back_and_it_is_shown_in_one_line(word):
    line = quoted(["printf", "%s", word])
    assert line.isprintable()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == os.fsencode(word)


def test_a_word_that_the_terminal_cannot_show_is_escaped(monkeypatch, tmp_path):
    with (tmp_path / "out").open("w", encoding="ascii") as out:
        monkeypatch.setattr("sys.stdout", out)
        line = quoted(["printf", "%s", "Käfer"])
    assert line.isascii()
    assert subprocess.run(["bash", "-c", line], capture_output=True, check=True).stdout == "Käfer".encode()


@pytest.mark.parametrize("name", [name for name in NAMES if name.isprintable()])
def test_this_program_takes_places_and_options_back(name):
    command = next_command("evaluate", name, "other", data=name, cache=Path(name), workers=3, no_track=True, out=None)
    verb, values = parsed(command)
    place = f"./{name}" if name.startswith("-") else name
    assert (verb, values.pop("models"), values.pop("data")) == ("evaluate", (place, "other"), name)
    assert values == {"cache": Path(name), "workers": 3, "no_track": True}


def test_a_search_is_gone_on_with_where_and_how_it_ran():
    options = SearchOptions(
        data="beetles", cache=Path("a b"), local=True, epochs=3, tracking_uri="http://me:secret@host:5000", workers=7
    )
    confirm, search = after_search(options, Path("my study"), is_confirmed=False, n_trials=48)
    retrain, again = after_search(options, Path("my study"), is_confirmed=True, n_trials=None)

    assert after_search(options, Path("my study"), is_confirmed=False, n_trials=48, has_best=False) == [search]
    mendable = after_search(options, Path("my study"), is_confirmed=True, n_trials=None, is_mendable=True)
    assert mendable == [confirm, retrain, again]
    led = after_search(options, Path("my study"), is_confirmed=True, n_trials=None, is_led=True)
    hidden = "http://***@host:5000"  # to be filled in
    assert parsed(confirm) == ("confirm", {"study": Path("my study"), "local": True, "tracking_uri": hidden})
    assert parsed(search)[1] == {"resume": Path("my study"), "trials": 48, "local": True, "tracking_uri": hidden}
    assert parsed(again)[1] == {"resume": Path("my study"), "local": True, "tracking_uri": hidden}
    assert parsed(retrain) == (
        "retrain",
        {"study": Path("my study"), "cache": Path("a b"), "workers": 7, "tracking_uri": hidden},
    )
    assert (led[0], led[2]) == (retrain, again)
    assert parsed(led[1])[1] == parsed(retrain)[1] | {"leading": True}


def test_a_study_on_object_storage_is_named_by_its_uri():
    study = RemoteFolder.parse("s3://bucket/a b", what="study")
    assert parsed(after_search(SearchOptions(), study, is_confirmed=False, n_trials=None)[0])[1] == {"study": study}


def test_a_model_is_evaluated_on_its_data_with_its_cache_and_records(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    model = tmp_path / "m m"
    plain, export = after_training(TrainOptions(), model)
    assert parsed(plain) == ("evaluate", {"models": (str(model),)})
    assert parsed(export) == ("export", {"model": str(model), "submission": Path("submission")})

    options = TrainOptions(
        data="my data", cache=Path("c"), skip_bad_images=True, backbone="hf-hub:x/y", epochs=3, json=True
    )
    assert parsed(after_training(options, model)[0])[1] == {
        "models": (str(model),), "data": "my data", "cache": Path("c"), "skip_bad_images": True,
    }  # fmt: skip

    kept = {"data": "demo:9", "skip_bad_images": False, "experiment": "other", "tracking_uri": "sqlite:////x/y.db"}
    (tmp_path / "x").mkdir()
    kept["tracking_uri"] = f"sqlite:///{tmp_path / 'x' / 'y.db'}"
    assert parsed(after_training(RetrainOptions(study=Path("s")), model, kept)[0])[1] == {
        "models": (str(model),), "data": "demo:9", "experiment": "other", "tracking_uri": kept["tracking_uri"],
    }  # fmt: skip


def test_what_is_at_its_default_or_says_what_one_command_does_is_not_carried():
    options = TrainOptions(out=Path("o"), json=True, device="cpu")
    assert carried(options, EvaluateOptions) == {"device": "cpu"}


def test_no_command_is_put_together_by_hand():
    files = [file for package in (tune, trainable) for file in Path(package.__path__[0]).rglob("*.py")]
    lines = [(file.name, line) for file in files for line in file.read_text("utf-8").splitlines()]
    assert len(lines) > 10_000
    assert [found for found in lines if re.search(r"sentinel-tune [a-z-]+ [^`]*\{", found[1])] == []
