"""What libraries say while a study is worked on."""

import logging
import warnings

import pytest

from trainable.storage.remote_folder import RemoteFolder
from tune.execution.library_log import FILE_NAME, FOLDER_NAME, libraries_logged


@pytest.fixture
def optuna_logger():
    """As the library sets it up."""
    import optuna  # noqa: F401

    logger = logging.getLogger("optuna")
    assert logger.handlers
    before = logger.level
    logger.setLevel(logging.INFO)  # benchmarks that ran in this process want no word of it
    yield logger
    logger.setLevel(before)


def test_libraries_write_to_the_studys_log_and_our_own_warnings_are_said(tmp_path, optuna_logger, capfd):
    import torch  # noqa: F401  # which sets up its logger, too

    handlers, said = list(optuna_logger.handlers), []
    with libraries_logged(said.append) as log, warnings.catch_warnings():
        log.write_to(tmp_path)
        warnings.simplefilter("always")
        optuna_logger.warning("of optuna")
        logging.getLogger("ray.tune").error("of ray")
        logging.getLogger("torch").warning("of torch")
        logging.getLogger("tune.journal.journal").warning("of %s", "ours")
        warnings.warn("of Python", UserWarning, stacklevel=1)

    text = (tmp_path / FOLDER_NAME / FILE_NAME).read_text(encoding="utf-8")
    for words in ("of optuna", "of ray", "of torch", "of ours", "of Python"):
        assert words in text
    assert said == ["of ours"]
    assert "of " not in capfd.readouterr().err
    assert optuna_logger.handlers == handlers


@pytest.fixture
def ray_at_its_import():
    """As it makes its handler, and then speaks through it."""
    ray = logging.getLogger("ray")
    before = ray.handlers, ray.propagate, ray.level
    ray.propagate, ray.handlers = False, []
    yield lambda: (
        ray.addHandler(logging.StreamHandler()),
        ray.setLevel(logging.INFO),
        logging.getLogger("ray.widgets.util").info("Missing packages: ['ipywidgets']"),
    )
    ray.handlers, ray.propagate, level = before
    ray.setLevel(level)


def test_what_was_said_before_the_study_was_open_is_in_its_log(tmp_path, ray_at_its_import, capfd):
    with libraries_logged(pytest.fail) as log:
        ray_at_its_import()
        logging.getLogger("open_clip").warning("while features were extracted")
        assert list(tmp_path.iterdir()) == []
        log.write_to(tmp_path)
        logging.getLogger("torch").warning("while it trained")

    lines = (tmp_path / FOLDER_NAME / FILE_NAME).read_text(encoding="utf-8").splitlines()
    assert [line.rpartition(": ")[2] for line in lines] == [
        "['ipywidgets']",
        "while features were extracted",
        "while it trained",
    ]
    assert capfd.readouterr().err == ""


def test_where_no_study_was_opened_warnings_are_still_seen(ray_at_its_import, capfd):
    said = []
    with libraries_logged(said.append):
        ray_at_its_import()
        logging.getLogger("torch.cuda").warning("the driver is too old")
        logging.getLogger("trainable.data").warning("ours")

    assert said == ["ours"]
    assert capfd.readouterr().err == "the driver is too old\n"


def test_where_nothing_is_said_nothing_is_written(tmp_path):
    with libraries_logged(pytest.fail) as log:
        log.write_to(tmp_path)
        logging.getLogger("torch").debug("unheard")

    assert list(tmp_path.iterdir()) == []


def test_a_study_that_has_gone_is_not_begun_anew_by_its_log(tmp_path, capfd):
    with libraries_logged(pytest.fail) as log:
        log.write_to(tmp_path / "gone")
        logging.getLogger("torch").warning("of torch")

    assert not (tmp_path / "gone").exists()
    assert "Logging error" not in capfd.readouterr().err


def test_a_study_on_object_storage_has_no_such_file(optuna_logger):
    handlers = list(optuna_logger.handlers)
    with libraries_logged(pytest.fail) as log:
        log.write_to(RemoteFolder.parse("s3://bucket/study"))
        assert optuna_logger.handlers == handlers
