"""docs/tutorial.md: a reader who types what stands there gets from photographs to a model, a forecast and a program."""

import re
import shlex
from pathlib import Path

import pytest

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "tutorial.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(bash|python)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
SMALLER = {"--specimens": "120", "--trials": "3", "--epochs": "2"}
QUICKLY = {"search": ["--local", "--workers", "1", "--confirm-top", "1", "--confirm-folds", "1"], "plan": ["--local"]}
ELSEWHERE = ("ui", "champion/model")
"""What serves until it is stopped, and what is of the challenge's data."""


def smaller(words: list[str]) -> list[str]:
    """The same command on fewer photographs, with few and short trials."""
    fewer = [SMALLER.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    return fewer + QUICKLY.get(words[0], [])


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_commands_of_the_tutorial_run_one_after_the_other(processes, cli, demo_cache, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SENTINEL_TUNE_CACHE", str(demo_cache))
    done = []
    for language, block in BLOCKS:
        if language == "python":
            exec(compile(block, "tutorial.md", "exec"), {})
            continue
        for line in block.splitlines():
            words = shlex.split(line)[1:]
            if any(word in ELSEWHERE for word in words):
                continue
            run = processes.run if words[0] == "plan" else cli  # it measures in fresh processes
            ended = run(*smaller(words))
            assert ended.status == 0, (words, ended.stderr)
            done.append(words[0])
    assert done == ["demo-data", "inspect", "plan", "search", "report", "retrain", "evaluate", "predict", "export"]
    for name in ("beetles/task.yaml", "report-drought.html", "evaluation/report.html", "forecasts.csv", "drought.pt2"):
        assert (tmp_path / name).is_file(), name
