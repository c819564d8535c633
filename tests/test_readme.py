"""README.md and the guides it leads to say nothing that is not so: commands run, what they name is there."""

import re
import shlex
import time
import tomllib
from dataclasses import fields
from pathlib import Path

import psutil
import pytest
import yaml
from PIL import Image

from search_spaces.space import SearchSpace
from search_spaces.variant import load_variant, variant_file
from tests.tune.plain_entries import read_plain
from trainable.allowance import usable_cpus
from trainable.errors import UserError
from tune.cli import VERBS, parse_command
from tune.command_line.parsing import Given

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SUBJECTS = ("searching", "space", "confirming", "models", "data")
"""Of a guide each in docs/, in the order in which a newcomer needs them."""

TEXT = "\n".join((README, *((ROOT / "docs" / f"{name}.md").read_text(encoding="utf-8") for name in SUBJECTS)))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PROGRAMS = {
    "python3",
    "python",
    ".",
    "source",
    "pip",
    "pytest",
    "sentinel-tune",
    "mlflow",
    "ray",
    "git",
    "cd",
    "export",
}


def blocks(language: str, text: str = TEXT) -> list[str]:
    """Fenced blocks of a language; "" for those without one."""
    fences = re.findall(r"^```(\w*)\n(.*?)^```$", text, flags=re.DOTALL | re.MULTILINE)
    return [body for name, body in fences if name == language]


def commands() -> list[list[str]]:
    """Every command of every bash block, as words."""
    found = []
    for block in blocks("bash"):
        for line in block.replace("\\\n", " ").splitlines():
            words: list[str] = []
            for word in [*shlex.split(line, comments=True), "&&"]:
                if word == "&&":
                    found.append(words)
                    words = []
                else:
                    words.append(word)
    return [words for words in found if words]


OURS = [words for words in commands() if words[0] == "sentinel-tune" or words[:3] == ["python", "-m", "tune"]]


def test_the_first_ten_minutes_are_two_lines():
    lines = README.partition("```bash\n")[2].partition("```")[0].splitlines()
    assert len(lines) == 2
    install = "python3 -m venv .venv && . .venv/bin/activate && pip install -e"

    assert any(line.startswith(f"{install} . && sentinel-tune search ") for line in lines)
    assert any(line.startswith(f"{install} '.[dev]' && pytest ") for line in lines)


@pytest.mark.parametrize("words", OURS, ids=" ".join)
def test_the_command_line_understands(words):
    arguments = words[1:] if words[0] == "sentinel-tune" else words[3:]
    if "--help" in arguments or "--version" in arguments:
        with pytest.raises(SystemExit) as exit_:
            parse_command(arguments)
        assert exit_.value.code == 0
        return
    _, given = parse_command(arguments)
    if isinstance(given, Given):
        given.options()


def test_a_newcomer_reads_it_in_five_minutes_and_on_any_screen():
    prose = re.sub(r"```.*?```", "", README, flags=re.DOTALL)

    assert len(prose.split()) < 5 * 240  # words a minute of technical English
    assert max(len(block.splitlines()) for block in blocks("text", README)) <= 15
    assert [line for line in README.splitlines() if len(line) > 140 and not line.startswith("|")] == []


def test_what_the_result_shows_is_explained_before():
    explained, _, shown = README.partition("## What success looks like")

    for word in ("trial", "floor", "fold", "verdict", "variant"):
        assert re.search(rf"^\| ([\w ]+, )?{word}\b", explained, re.MULTILINE), word
    assert "Verdict:" in shown


def test_a_command_with_a_mistake_would_be_noticed():
    with pytest.raises(UserError):
        parse_command(["serach"])
    assert len(OURS) >= 5


def test_other_commands_are_of_known_programs_and_ask_for_extras_that_exist():
    for words in commands():
        assert words[0] in PROGRAMS, words
        for word in words:
            for extras in re.findall(r"^\.\[(.+)\]$", word):
                assert set(extras.split(",")) <= PROJECT["project"]["optional-dependencies"].keys()


def test_every_option_that_the_text_names_exists():
    known = {f"--{f.name.replace('_', '-')}" for verb in VERBS for f in fields(verb.options)}
    known |= {"--config", "--help", "--version"}
    code = re.findall(r"`([^`\n]+)`", re.sub(r"```.*?```", "", TEXT, flags=re.DOTALL))
    named = {
        word
        for span in code
        if not span.split()[0].startswith(("pip", "mlflow", "ray ", "pytest"))
        for word in re.findall(r"(?<!\S)--[a-z][a-z-]*", span)
    }

    assert named
    assert named <= known


def test_named_files_are_there():
    folders = "|".join(
        re.escape(path.name) for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")
    )
    for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", TEXT):
        assert name.startswith("studies/") or (ROOT / name).exists(), name


def test_the_file_tree_names_what_is_there():
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    trees = [block for block in blocks("", page) if re.search(r"^trainable/ ", block, re.MULTILINE)]
    assert trees
    inside: dict[int, Path] = {}  # indent -> the folder last named there
    for line in (line for tree in trees for line in tree.splitlines()):
        if found := re.match(r"( *)(\S+)(?: {2,}\S|$)", line):
            indent = len(found[1])
            folder = next((path for at, path in sorted(inside.items(), reverse=True) if at < indent), ROOT)
            assert (folder / found[2]).exists(), folder / found[2]
            inside = {at: path for at, path in inside.items() if at < indent} | {indent: folder / found[2]}


@pytest.mark.parametrize("block", [block for block in blocks("yaml") if "parameters:" in block])
def test_the_search_space_to_copy_is_one(block, tmp_path):
    file = tmp_path / "space.yaml"
    file.write_text(block)

    assert SearchSpace.load(str(file)).table()


@pytest.mark.parametrize("block", blocks("yaml"))
def test_yaml_is_yaml(block):
    assert yaml.safe_load(block)


ELSEWHERE = ("hf://", "hf-hub:", "local-dir:", "s3://", "--address", "--config", "--submit", "--push")
SMALL = {
    "plan": ["--data", "demo:120", "--epochs", "2"],
    "search": ["--data", "demo:120", "--epochs", "2", "--confirm-top", "1", "--confirm-folds", "1"],
    "train": ["--data", "demo:120", "--epochs", "2"],
    "evaluate": ["--data", "demo:120"],
}


WITH_OTHERS = ("ui", "enqueue", "stop")
"""Verbs with tests of their own: one that serves until it is stopped, and two that steer a search which runs."""

OWN_PROCESS = ("plan", "search", "spaces", "variants")
"""Verbs that use Ray or measure in fresh processes, and two that load next to nothing; others run in this process."""


def in_small(arguments: list[str], study: Path | None) -> list[str]:
    """A command of the text on the small demo, with few and short trials; STUDY is the one that there is."""
    words = [word.replace("studies/STUDY", str(study)).replace("STUDY", str(study)) for word in arguments]
    if "--help" in words:
        return words
    if "--trials" in words:
        words[words.index("--trials") + 1] = "4" if "--resume" in words else "3"
    if words[0] in ("plan", "confirm") or "--warm-start" in words:
        words.append("--local")  # on Ray they have tests of their own
    return words if "--resume" in words else words + SMALL.get(words[0], [])  # a study keeps what it was begun with


def reading_sizes(folder: Path, cli) -> None:
    """The model of the guide that reads a number: of a variant of one's own."""
    folder.parent.mkdir()
    variant = folder.parent / "sizes.yaml"
    config = load_variant("default", epochs=1).with_values({"tail.n_blocks": 0, "tail.number_scale": 0.3})
    variant.write_text(variant_file(config.to_dict(), "the default, told of sizes"), encoding="utf-8")
    options = ["--data", "demo:120", "--task", "demo-size", "--epochs", 1, "--workers", 1]
    ended = cli("train", "--variant", variant, "--out", folder, *options)
    assert ended.status == 0, ended.stderr


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_every_command_that_needs_nothing_but_this_machine_runs(processes, cli, demo_cache, tmp_path, monkeypatch):
    """In the text's order, each on what those before it left; the bare `search` has its own test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(demo_cache))
    (tmp_path / "photographs").mkdir()
    for i, shade in enumerate((60, 120, 180)):
        Image.new("RGB", (90, 70), (shade, 90, 40)).save(tmp_path / "photographs" / f"beetle-{i}.jpg")
    (tmp_path / "photographs" / "metadata.csv").write_text("file_name,size_mm\nbeetle-0.jpg,11.5\nbeetle-1.jpg,\n")
    reading_sizes(tmp_path / "models" / "size", cli)
    verbs: list[str] = []
    for command in OURS:
        words = command[1:] if command[0] == "sentinel-tune" else command[3:]
        if words == ["search"] or words[0] in WITH_OTHERS or any(word.startswith(ELSEWHERE) for word in words):
            continue
        arguments = in_small(words, next(iter(sorted((tmp_path / "studies").glob("*"))), None))
        is_own = words[0] in OWN_PROCESS and (words[0] != "search" or "--local" not in arguments)
        ended = processes.run(*arguments) if is_own else cli(*arguments)
        assert ended.status == 0, (arguments, ended.stderr)
        assert ended.stdout
        verbs.append(words[0])

    assert len(verbs) >= 5


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_main_job_beats_every_floor_and_loses_to_no_variant_in_four_gigabytes(processes, tmp_path):
    """`sentinel-tune search` as the first line has it, but shorter: draws, extracts, searches, confirms."""
    n_cores = usable_cpus()
    shorter = ("--trials", "10", "--epochs", "12", "--confirm-top", "1", "--confirm-folds", "1")
    process, n_bytes = processes.start("search", "--json", *shorter, SENTINEL_TUNE_CACHE=str(tmp_path / "cache")), 0
    while process.poll() is None:
        n_bytes = max(n_bytes, sum(resident(each) for each in processes.living()))
        time.sleep(5)  # looking costs time, too
    ended = processes.wait(process)
    assert ended.status == 0, ended.stderr
    result, (study,) = ended.result, (tmp_path / "studies").iterdir()

    floors = next(event["floors"] for event in read_plain(study) if event["event"] == "floors")
    assert result["study"] == str(study)
    assert result["best"]["metrics"]["score/id"] < min(floor["score/id"] for floor in floors.values())
    assert result["best"]["score"] < min(floor["score/all"] for floor in floors.values())
    assert result["best"]["score"] <= min(result["variants"].values())
    assert result["variants"]["default"] < min(floor["score/all"] for floor in floors.values())
    assert set(result["variants"]) == {point.name for point in SearchSpace.load("full").start_from}
    assert result["n_failed"] == 0
    assert result["n_trials"] == 10
    confirmed = {candidate["trial_id"]: candidate["name"] for candidate in result["confirmation"]["candidates"]}
    assert result["best"]["trial_id"] in confirmed
    assert "default" in confirmed.values()
    assert result["tracking_uri"] == f"sqlite:///{tmp_path / 'mlflow.db'}"
    assert n_bytes < 4 * 2**30 * max(1, n_cores / 2)  # measured for two workers


def resident(process: psutil.Process) -> int:
    """Bytes that only this process holds, and its share of what it shares; without Linux's figures, all it has."""
    try:
        memory = process.memory_full_info()
    except psutil.Error:
        return 0
    return int(getattr(memory, "pss", 0) or getattr(memory, "uss", 0))
