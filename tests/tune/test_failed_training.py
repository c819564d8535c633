"""What the user reads when a training without a search fails: real errors, as a real trial makes failures of them."""

from copy import deepcopy

import pytest

import trainable.frozen.extract
import trainable.frozen.verification
import tune.journal.errors
from search_spaces.variant import load_variant
from trainable.errors import UserError
from trainable.failure import DataNotRead, Failure, FailureKind
from trainable.trial import Trial, TrialTask
from tune.report.console import Console
from tune.report.failed_training import tell_failure

USER_ERRORS = [
    UserError,
    DataNotRead,
    trainable.frozen.extract.StoreTooLarge,
    trainable.frozen.verification.DamagedFeatures,
    tune.journal.errors.StudyWriteError,
    tune.journal.errors.StudyMovedError,
]


def tell(failure: Failure, folder) -> None:
    tell_failure(deepcopy(failure), "failed at epoch 1", folder, Console(json=False))


@pytest.mark.parametrize("kind", USER_ERRORS)
def test_every_kind_of_users_mistake_ends_in_its_own_lines(tmp_path, capsys, kind):
    problems = ("`a >= 1` must hold, but got 0; choose more", "`b` must be there,\nbut is not")
    with pytest.raises(UserError) as raised:
        tell(Failure.of(kind(problems)), tmp_path)

    assert raised.value.problems == problems
    assert capsys.readouterr().err == ""


def test_no_kind_of_users_mistake_is_left_out_here():
    def below(kind):
        return {kind}.union(*map(below, kind.__subclasses__()))

    assert {kind for kind in below(UserError) if kind.__module__.startswith(("trainable", "tune"))} == set(USER_ERRORS)


@pytest.mark.seconds
def test_data_that_a_trial_cannot_read_are_the_users_affair(tmp_path):
    config = load_variant("default", epochs=1).to_dict()
    gone = tmp_path / "gone"
    trial = Trial(
        TrialTask(trial_id="x", config=config, seed=0, data_folder=str(gone), checkpoint_folder=str(tmp_path / "c"))
    )
    failure = trial.step().failure

    assert (failure.type, failure.kind) == ("DataNotRead", FailureKind.DATA)
    assert "\n" not in failure.line
    assert failure.line.startswith(failure.problems[0][:20])
    with pytest.raises(UserError, match=str(gone)):
        tell(failure, tmp_path)


def test_a_bug_is_one_line_and_a_file_with_its_traceback(tmp_path, capsys):
    tell(Failure.of(RuntimeError("shapes\ndiffer")), tmp_path)
    said = capsys.readouterr().err.splitlines()

    assert said[0].startswith("the traceback is in ")
    assert said[1:] == ["error: failed at epoch 1: shapes differ"]
