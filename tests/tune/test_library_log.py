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
    return logger


def test_libraries_write_to_the_studys_log_and_our_own_warnings_are_said(tmp_path, optuna_logger, capfd):
    import torch  # noqa: F401  # which sets up its logger, too

    handlers, said = list(optuna_logger.handlers), []
    with libraries_logged(tmp_path, said.append), warnings.catch_warnings():
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


def test_where_nothing_is_said_nothing_is_written(tmp_path):
    with libraries_logged(tmp_path, pytest.fail):
        logging.getLogger("torch").debug("unheard")

    assert list(tmp_path.iterdir()) == []


def test_a_study_that_has_gone_is_not_begun_anew_by_its_log(tmp_path, capfd):
    with libraries_logged(tmp_path / "gone", pytest.fail):
        logging.getLogger("torch").warning("of torch")

    assert not (tmp_path / "gone").exists()
    assert "Logging error" not in capfd.readouterr().err


def test_a_study_on_object_storage_has_no_such_file(optuna_logger):
    handlers = list(optuna_logger.handlers)
    with libraries_logged(RemoteFolder.parse("s3://bucket/study"), pytest.fail):
        assert optuna_logger.handlers == handlers
