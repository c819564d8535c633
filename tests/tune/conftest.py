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
    assert main(["search", "--local", *(str(word) for pair in options.items() for word in pair)]) == 0
    return folder
