"""One small finished study, for the tests that read studies."""

from pathlib import Path

import pytest

from tune.cli import main


@pytest.fixture(scope="session")
def finished_study(demo_cache: Path, tracking_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of five trials that has ended, tracked in `tracking_uri`; not to be changed, copy it."""
    assert demo_cache.is_dir()
    folder = tmp_path_factory.mktemp("finished") / "beetles"
    options = {
        "--data": "demo:120", "--space": "smoke", "--trials": 5, "--epochs": 3, "--workers": 1,
        "--tracking-uri": tracking_uri, "--study": folder,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    assert main(["search", "--local", "--no-confirm", "--variants-in-full", *words]) == 0
    return folder


@pytest.fixture(scope="session")
def confirmed_study(demo_cache: Path, tracking_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search of four trials by one fold, whose two best were confirmed on two others; not to be changed, copy it."""
    assert demo_cache.is_dir()
    folder = tmp_path_factory.mktemp("confirmed") / "ground-beetles"
    options = {
        "--data": "demo:120", "--space": "smoke", "--trials": 4, "--epochs": 3, "--workers": 1,
        "--confirm-top": 2, "--confirm-folds": 2, "--tracking-uri": tracking_uri, "--study": folder,
    }  # fmt: skip
    words = [str(word) for pair in options.items() for word in pair]
    assert main(["search", "--local", "--variants-in-full", "--search-folds", "1", *words]) == 0
    return folder


REGISTERED_NAME = "beetles-of-tests"


@pytest.fixture(scope="session")
def retrained(confirmed_study: Path, tracking_uri: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The winner of `confirmed_study`, retrained, exported and registered as `REGISTERED_NAME`; not to be changed."""
    folder = tmp_path_factory.mktemp("retrained") / "out"
    words = ["--workers", "1", "--out", str(folder), "--name", REGISTERED_NAME, "--tracking-uri", tracking_uri]
    assert main(["retrain", str(confirmed_study), *words]) == 0
    return folder


@pytest.fixture(scope="session")
def trained_model(demo_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported folder of a training of two epochs; not to be changed, copy it."""
    assert demo_cache.is_dir()
    folder = tmp_path_factory.mktemp("trained") / "default"
    options = {"--data": "demo:120", "--epochs": 2, "--workers": 1, "--out": folder}
    assert main(["train", *(str(word) for pair in options.items() for word in pair)]) == 0
    return folder / "model"
