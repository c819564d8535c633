import os
import re
import subprocess
import sys

import pytest

from trainable.errors import UserError
from tune.cli import VERBS, main, parse_command
from tune.command_line.declaration import declarations, flag_of
from tune.command_line.option_values import parse_duration, parse_value
from tune.command_line.options import SearchOptions
from tune.command_line.parsing import Given


def fails(capsys, *argv):
    assert main(argv) == 2
    return capsys.readouterr().err


def test_names_of_files_are_not_cut_at_commas():
    _, given = parse_command(["predict", "m,n", "a, b.png", "c.png"])
    assert given.values == {"model": "m,n", "images": ("a, b.png", "c.png")}


def test_version_and_help_are_answered(capsys):
    for argv in (["--version"], ["--help"], ["search", "--help"]):
        with pytest.raises(SystemExit) as exit_:
            main(argv)
        assert exit_.value.code == 0
    assert "--reduction-factor" in capsys.readouterr().out


def test_a_misspelt_option_gets_one_line_with_the_nearest_name(capsys):
    errors = fails(capsys, "search", "--trails", "3")

    assert "did you mean `--trials`?" in errors
    assert "Traceback" not in errors


@pytest.mark.parametrize("words", [["--trails", "3"], ["--sed", "-1"], ["--trails=3"]])
def test_the_value_of_a_misspelt_option_is_not_called_an_option(words, capsys):
    errors = fails(capsys, "search", *words).splitlines()

    assert len(errors) == 1
    assert "did you mean" in errors[0]


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["inspect", "--data", "x"], "did you mean DATA, which has no dashes: `sentinel-tune inspect DATA`?"),
        (["report", "--out", "x"], "did you mean `--output`?"),
        (["report", "--zebra", "x"], "; valid: --config, --json, --output, STUDIES"),
        (["search", "--space", "smok"], "did you mean `smoke`?"),
        (["train", "--variant", "lorra"], "did you mean `lora`?"),
        (["help"], "`sentinel-tune --help` says what each is for"),
    ],
)
def test_what_was_meant_is_named_as_it_is_to_be_typed(words, hint, capsys):
    (error,) = fails(capsys, *words).splitlines()
    assert error.endswith(hint)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["search", "--no-train-each-fold"], "search; that is so unless `--train-each-fold` is given"),
        (["search", "--no_skip_bad_images=1"], "search; that is so unless `--skip-bad-images` is given"),
        (["evaluate", "m", "--track"], "evaluate; that is so unless `--no-track` is given"),
        (["search", "--confirm"], "search; that is so unless `--no-confirm` is given"),
        (["search", "--train-each-fold", "false"], "takes no value: give it, or leave it out"),
        (["search", "--train-each-fold=false"], "`--train-each-fold` is on or off and takes no value, but got 'false'"),
    ],
)  # fmt: skip
def test_no_to_an_option_that_is_off_is_told_that_it_is_off_and_not_to_turn_it_on(words, said, capsys):
    (error,) = fails(capsys, *words).splitlines()
    assert said in error
    assert "did you mean" not in error


def test_every_bad_value_is_named_at_once(capsys):
    errors = fails(
        capsys, "search", "--trials", "many", "--holdout", "random", "--time-budget", "soon", "--gpus-per-trial", "x"
    )

    assert errors.count("error:") == 4
    assert "site, domain, both, official" in errors
    assert "1h30m" in errors


def test_impossible_values_are_refused_before_any_work(capsys):
    errors = fails(capsys, "search", "--trials", "0", "--reduction-factor", "1", "--epochs", "2", "--grace-epochs", "3")

    assert "--trials >= 1" in errors
    assert "--reduction-factor >= 2" in errors
    assert "3 > 2" in errors


def test_an_unknown_verb_gets_one_line_with_the_nearest_and_all(capsys):
    errors = fails(capsys, "serach")

    assert errors.count("\n") == 1
    assert "demo-data" in errors
    assert "did you mean `search`?" in errors


@pytest.mark.parametrize(
    "words", [("submit", "serach"), ("submit", "--", "serach"), ("slurm", "serach", "--trials", "3")]
)
def test_a_misspelt_command_to_run_elsewhere_gets_the_nearest(words, capsys):
    assert "but got 'serach'; did you mean `search`?" in fails(capsys, *words)


def test_the_help_shows_what_is_used_most_first_under_titles_with_choices(capsys):
    with pytest.raises(SystemExit):
        main(["search", "--help"])
    text = capsys.readouterr().out
    places = [text.index(part) for part in ("most used:", "--trials", "stopping early:", "--plateau", "MLflow:")]

    assert places == sorted(places)
    assert "--holdout {site,domain,both,official}" in text


@pytest.mark.parametrize("verb", VERBS, ids=lambda verb: verb.name)
def test_the_help_shows_every_option_once(verb, capsys):
    with pytest.raises(SystemExit):
        main([verb.name, "--help"])
    shown = re.findall(r"^  (?:-h, )?(--[a-z-]+|[A-Z]+)", capsys.readouterr().out, flags=re.MULTILINE)
    declared = declarations(verb.options)

    assert sorted(set(shown) - {"--help", "--config"}) == sorted(
        {flag_of(name, declared) for name in declared} - {"--config"}
    )
    assert len(shown) == len(set(shown))


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("sentinel-tune sear", {"search"}),
        ("sentinel-tune search --confirm-s", {"--confirm-seeds", "--confirm-share"}),
        ("sentinel-tune search --holdout ", {"site", "domain", "both", "official"}),
    ],
)
def test_a_shell_is_offered_what_may_come_next(line, offered, tmp_path):
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    found = tmp_path / "found"
    subprocess.run(
        [sys.executable, "-m", "tune"],
        env={**os.environ, **asked, "_ARGCOMPLETE_STDOUT_FILENAME": str(found)},
        check=True,
    )

    assert {word.strip() for word in found.read_text().split("\n")} == offered


@pytest.mark.parametrize(("text", "seconds"), [("90s", 90), ("30m", 1800), ("1h30m", 5400), ("45", 45), (12, 12.0)])
def test_durations_are_read(text, seconds):
    assert parse_duration("--time-budget", text) == seconds


def test_a_yaml_file_gives_options_and_the_command_line_wins(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("trials: 7\ngrace-epochs: 2\nholdout: site\ntime_budget: 5m\nlocal: true\n")
    import tune.command_line.parsing as command_line
    from tune.cli import _make_parser

    arguments = _make_parser().parse_args(["search", "--config", str(path), "--trials", "9"])
    options = command_line.given_options(arguments, SearchOptions).options()

    assert (options.trials, options.grace, options.holdout, options.time_budget) == (9, 2, "site", 300.0)
    assert options.local is True


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("trails: 3", "did you mean `trials`?"),
        ("no-train-each-fold: true", "that is so unless `train_each_fold` is true"),
        ("epochs: 2\ntrials: yes", "search.yaml:2: `--trials` must be a whole number"),
        ("- trials", "a mapping of keys"),
        ("trials: [", "search.yaml:1: must be valid YAML"),
    ],
)
def test_a_bad_yaml_file_is_one_clear_line(tmp_path, capsys, content, message):
    path = tmp_path / "search.yaml"
    path.write_text(content)

    assert message in fails(capsys, "search", "--config", str(path))


def test_every_value_of_a_yaml_file_is_checked_also_where_the_command_line_gives_another(tmp_path):
    path = tmp_path / "search.yaml"
    path.write_text("trials: many\nepochs: 0\nlocal: perhaps\ntrails: 3\nfold: -1\n")

    with pytest.raises(UserError) as raised:
        parse_command(
            [
                "search",
                "--config",
                str(path),
                "--trials",
                "9",
                "--epochs",
                "4",
                "--local",
                "--seed",
                "x",
                "--workers=-1",
            ]
        )
    found = [problem.removeprefix(f"{path}:") for problem in raised.value.problems]
    assert found == [
        "4: `trails` is not an option; did you mean `trials`?",
        "1: `--trials` must be a whole number, but got 'many'",
        "3: `--local` must be true or false, but got 'perhaps'",
        "2: `--epochs >= 1` must hold, but got 0",
        "5: `--fold >= 0` must hold, but got -1",
        "`--seed` must be a whole number, but got 'x'",
        "`--workers >= 1` must hold, but got -1",
    ]


def test_a_missing_yaml_file_is_one_clear_line(capsys):
    assert "No such file" in fails(capsys, "search", "--config", "/nowhere/search.yaml")


def test_defaults_fill_what_was_not_given():
    assert Given(SearchOptions, {"trials": 3}).options(trials=5, seed=4).trials == 3
    assert Given(SearchOptions, {"trials": 3}).options(trials=5, seed=4).seed == 4
    assert parse_value(SearchOptions, "gpus_per_trial", "0.25") == 0.25


def test_demo_data_is_written_once_and_never_over_something(tmp_path, capsys):
    folder = tmp_path / "demo"

    assert main(["demo-data", str(folder), "--specimens", "80"]) == 0
    assert list(folder.rglob("*.parquet"))
    assert "must not exist" in fails(capsys, "demo-data", str(folder))


@pytest.mark.parametrize("verb", ["spaces", "variants"])
def test_listings_show_every_entry_and_one_in_full(verb, capsys):
    assert main([verb]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names
    for name in names:
        assert main([verb, name]) == 0
        assert capsys.readouterr().out.strip()
    assert names[0] in fails(capsys, verb, "no-such-name")


def test_a_reader_that_has_had_enough_is_no_error(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    ended = subprocess.run(
        [sys.executable, "-m", "tune", "variants"], stdout=writer, stderr=subprocess.PIPE, text=True, cwd=tmp_path
    )
    os.close(writer)

    assert (ended.returncode, ended.stderr) == (141, "")


@pytest.mark.parametrize("verb", ["search", "train", "extract"])
def test_a_backbone_that_cannot_be_named_so_is_refused_before_data_are_read(capsys, verb):
    problem = fails(capsys, verb, "--backbone", "bioclip-2", "--data", "/nowhere")

    assert problem == (
        "error: `--backbone` must be `tiny`, `tiny:random`, `hf-hub:ORG/NAME` or `local-dir:PATH`, "
        "but got 'bioclip-2'\n"
    )
