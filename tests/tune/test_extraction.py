"""`extract`: features once, told as it goes; what goes wrong there is told in clear words."""

import shutil
import time
from pathlib import Path
from subprocess import Popen

import pytest

from trainable.data.specimens import load_specimens

DEMO, LARGE = "demo:120", "demo:1200"


@pytest.fixture
def extract(cli, tmp_path):
    """`extract --local` of the small demo into a cache of the test's own, unless told else."""

    def run(*argv):
        options = {"--data": DEMO, "--space": "smoke", "--workers": 1, "--cache": tmp_path / "cache"}
        words = [word for name, value in options.items() if name not in argv for word in (name, value)]
        return cli("extract", "--local", *words, *argv)

    return run


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    """A cache with `LARGE` drawn in it, which takes seconds, and nothing extracted; copy it."""
    folder = tmp_path_factory.mktemp("drawn")
    load_specimens(LARGE, cache_dir=folder, n_processes=1)
    return folder


@pytest.fixture
def large(drawn, tmp_path) -> list[object]:
    """Options for an extraction that takes a while, into `tmp_path / "cache"`."""
    return ["--data", LARGE, "--space", "smoke", "--workers", 1, "--cache", shutil.copytree(drawn, tmp_path / "cache")]


def wait_for_a_shard(cache: Path, process: Popen) -> None:
    while not list((cache / "features").glob("*/tap-*/shard-00001.json")):
        assert process.poll() is None, "the process ended before"
        time.sleep(0.01)


@pytest.mark.seconds
def test_features_are_extracted_once_for_every_depth_of_the_space(extract, tmp_path):
    first, second = extract("--json"), extract("--json")

    assert (first.status, second.status) == (0, 0)
    assert list(first.result) == ["store", "taps", "n_extracted"]
    assert (first.result["taps"], first.result["n_extracted"]) == ([4, 5], 120)
    assert second.result == {**first.result, "n_extracted": 0}
    assert Path(first.result["store"]).is_relative_to(tmp_path / "cache")
    assert "120/120 images" in first.stderr
    assert "nothing to extract" in second.stderr


@pytest.mark.seconds
def test_a_deeper_space_adds_its_depths_to_the_same_store(extract):
    shallow = extract("--json").result
    deep = extract("--space", "lora", "--json").result

    assert deep["store"] == shallow["store"]
    assert set(deep["taps"]) > set(shallow["taps"])


@pytest.mark.slow
def test_extraction_goes_on_where_it_was_killed(cli, processes, large, tmp_path):
    killed = processes.start("extract", "--local", *large)
    wait_for_a_shard(tmp_path / "cache", killed)
    killed.kill()
    killed.wait()
    again = cli("extract", "--local", *large, "--json")

    assert again.status == 0
    assert 0 < again.result["n_extracted"] < 1200


MISMATCH = "raise RuntimeError('operator torchvision::nms does not exist')\n"


@pytest.mark.slow
@pytest.mark.parametrize("executor", [["--local"], []], ids=["local", "ray"])
def test_builds_of_torch_and_torchvision_that_do_not_fit_are_one_clear_line(processes, tmp_path, executor):
    (tmp_path / "torchvision").mkdir()
    (tmp_path / "torchvision" / "__init__.py").write_text(MISMATCH)
    root = Path(__file__).parents[2]
    path, cache = f"{tmp_path}:{root}", tmp_path / "cache"  # with nothing in it, so that the backbone is loaded
    argv = ["--data", DEMO, "--space", "smoke", "--workers", 1, "--cache", cache]
    ended = processes.run("extract", *executor, *argv, PYTHONPATH=path)

    assert ended.status == 2
    assert "builds of the same release" in ended.stderr
    assert "pip install" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.slow
@pytest.mark.parametrize("executor", [["--local"], []], ids=["local", "ray"])
def test_ctrl_c_during_extraction_ends_it_in_one_line_and_the_next_one_goes_on(
    processes, cli, large, tmp_path, executor
):
    process = processes.start("extract", *executor, *large)
    wait_for_a_shard(tmp_path / "cache", process)
    processes.press_ctrl_c(process)
    ended = processes.wait(process, seconds=60)

    assert ended.status == 130, ended.stderr
    assert ended.stderr.splitlines()[-1] == "interrupted"
    assert "Traceback" not in ended.stderr
    assert cli("extract", "--local", *large, "--json").result["n_extracted"] < 1200
