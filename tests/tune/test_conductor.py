"""What the conductor does with results by hand: real decisions and a real journal, no training."""

from dataclasses import replace
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import read_plain
from trainable.failure import Failure, FailureKind
from trainable.trial import StepResult, TrialTask
from tune.decisions.decisions import Decisions
from tune.decisions.ends import Ends, deadline_in
from tune.decisions.proposals import starting_queue
from tune.execution.conductor import Conductor, TrialResources
from tune.journal.journal import Journal, read_entries

EPOCHS = 4


class Search:
    """A conductor on a journal in `folder`, what it told the user, and a clock that is set by hand."""

    def __init__(self, folder: Path, *, deadline: float | None = None, **header) -> None:
        self.folder, self.now, self.told = folder, 0.0, []
        self.space = SearchSpace.load("smoke")
        self.header = {
            "seed": 0,
            "n_trials": 8,
            "max_epochs": EPOCHS,
            "grace_epochs": 1,
            "reduction_factor": 3,
            "queue": starting_queue(self.space, EPOCHS),
        } | header
        self.journal = Journal.create(folder, self.header, study_id="by-hand")
        self.decisions = Decisions(self.space, self.header, on_entry=self.journal.append)
        self.conductor = self.make_conductor(deadline)

    def make_conductor(self, deadline: float | None = None) -> Conductor:
        resources = TrialResources(
            data_folder=self.folder / "data", study_folder=self.folder, seed=0, device="cpu", n_threads=1
        )
        ends = Ends(deadline=deadline)
        return Conductor(self.decisions, resources, ends=ends, say=self.told.append, clock=lambda: self.now)

    def resume(self) -> None:
        self.journal.close()
        self.journal = Journal.open(self.folder, say=self.told.append)
        self.decisions = Decisions.replay(self.space, read_entries(self.folder), on_entry=self.journal.append)
        self.conductor = self.make_conductor()

    def start(self) -> TrialTask:
        task = self.conductor.next_task()
        assert isinstance(task, TrialTask)
        return task

    def report(self, task: TrialTask, epoch: int, score: float = 0.5) -> str:
        step = StepResult(
            trial_id=task.trial_id, epoch=epoch, metrics={"score/all": score}, checkpoint=f"epoch-{epoch}"
        )
        return self.conductor.take(step)

    def fail(self, task: TrialTask, kind: str = "error", message: str = "broken", epoch: int = 1) -> str:
        failure = Failure(
            type="SomeError", message=message, traceback_tail="line 1\n", node="n", kind=FailureKind(kind)
        )
        return self.conductor.take(StepResult(trial_id=task.trial_id, epoch=epoch, failure=failure))

    def entries(self, kind: str) -> list[dict]:
        return [entry for entry in read_plain(self.folder) if entry["event"] == kind]

    def ends(self) -> dict[str, str]:
        return {entry["trial"]: entry["state"] for entry in self.entries("tell")}


@pytest.fixture
def search(tmp_path: Path) -> Search:
    return Search(tmp_path / "study")


def test_a_task_says_all_that_a_worker_needs(search, tmp_path):
    task = search.start()

    assert (task.trial_id, task.reported_epochs, task.device, task.n_threads) == ("t0000", 0, "cpu", 1)
    assert task.checkpoint_folder == str(tmp_path / "study" / "checkpoints" / "t0000")
    assert task.data_folder == str(tmp_path / "study" / "data")
    assert task.config == search.decisions.config("t0000").to_dict()


def test_a_trial_runs_to_its_last_epoch_and_the_search_to_its_last_trial(search):
    n_tasks = 0
    while isinstance(task := search.conductor.next_task(), TrialTask):
        n_tasks += 1
        epoch = 1
        while search.report(task, epoch, 0.5 - 0.01 * n_tasks) == "continue":
            epoch += 1

    assert task == "finished"
    assert n_tasks == 8
    assert set(search.ends().values()) == {"completed"}


def test_while_a_trial_runs_that_may_need_a_retry_the_end_is_waited_for(tmp_path):
    search = Search(tmp_path / "study", n_trials=1)
    task = search.start()
    assert search.conductor.next_task() == "wait"
    search.conductor.lost(task.trial_id, "killed")
    again = search.start()
    for epoch in range(1, EPOCHS + 1):
        search.report(again, epoch)

    assert search.conductor.next_task() == "finished"


def test_a_dead_worker_is_retried_once_from_the_last_reported_epoch(search):
    task = search.start()
    search.report(task, 1)
    search.report(task, 2)
    search.conductor.lost(task.trial_id, "its process ended")
    again = search.start()

    assert again == replace(task, reported_epochs=2)
    (retry,) = search.entries("retry")
    assert (retry["trial"], retry["attempt"]) == ("t0000", 2)
    assert "its process ended" in retry["reason"]
    assert any("t0000 is tried again" in line for line in search.told)
    search.conductor.lost(task.trial_id, "its process ended")
    assert search.ends() == {"t0000": "failed"}
    assert search.start().trial_id == "t0001"


def test_the_death_of_a_node_is_never_counted_against_a_trial_and_that_of_a_process_is(search):
    task = search.start()
    for _ in range(5):
        search.conductor.lost(task.trial_id, "node 10.0.0.3 died: health check failed", blameless=True)
        assert search.start().trial_id == task.trial_id
    assert [(entry["attempt"], entry["blameless"]) for entry in search.entries("retry")] == [
        (attempt, True) for attempt in range(2, 7)
    ]
    assert "10.0.0.3" in search.entries("retry")[0]["reason"]

    search.conductor.lost(task.trial_id, "its process ended")
    search.resume()
    assert search.start().trial_id == task.trial_id
    search.conductor.lost(task.trial_id, "its process ended")
    assert search.ends() == {task.trial_id: "failed"}


def test_a_trial_whose_node_died_may_still_split_its_batch(search):
    task = search.start()
    search.conductor.lost(task.trial_id, "node 10.0.0.3 died", blameless=True)
    search.fail(search.start(), "memory")

    assert search.start().config["optim"]["accumulation_steps"] == 2


def test_a_bug_and_a_divergence_are_not_retried_and_are_recorded_with_their_place(search):
    for kind in ("error", "diverged"):
        task = search.start()
        assert search.fail(task, kind) == "stop"

    assert search.entries("retry") == []
    assert search.ends() == {"t0000": "failed", "t0001": "failed"}
    (error, _) = search.entries("error")
    assert (error["type"], error["message"], error["traceback_tail"]) == ("SomeError", "broken", "line 1\n")
    assert error["node"] == "n"
    assert search.start().trial_id == "t0002"


def test_out_of_memory_is_retried_once_with_the_batch_in_parts_of_the_same_effective_size(search):
    task = search.start()
    search.report(task, 1)
    search.fail(task, "memory", epoch=2)
    again = search.start()

    assert (again.trial_id, again.reported_epochs) == (task.trial_id, 1)
    assert task.config["optim"]["accumulation_steps"] == 1
    assert again.config["optim"] == {**task.config["optim"], "accumulation_steps": 2}
    assert any("same effective batch" in line for line in search.told)
    search.fail(again, "memory", epoch=2)
    assert len(search.entries("retry")) == 1
    assert search.ends() == {"t0000": "failed"}


def test_a_score_that_is_not_finite_fails_its_trial_and_the_study_goes_on(search):
    first = search.start()
    assert search.report(first, 1) == "continue"
    assert search.report(first, 2, float("nan")) == "stop"

    assert search.ends() == {"t0000": "failed"}
    assert "nan" in search.entries("tell")[0]["reason"]
    assert search.decisions.best() is None
    assert search.start().trial_id == "t0001"


@pytest.mark.parametrize("how", ["bug", "nan"])
def test_five_first_failures_stop_the_study_with_a_message(search, how):
    for _ in range(5):
        task = search.start()
        if how == "bug":
            search.fail(task, message="no such column")
        else:
            search.report(task, 1, float("nan"))

    assert search.conductor.next_task() == "finished"
    assert "first 5 trials all failed" in search.conductor.stop_reason
    if how == "bug":
        assert "no such column" in search.conductor.stop_reason


def test_one_success_among_the_first_five_lets_the_study_go_on(search):
    for number in range(6):
        task = search.start()
        if number == 2:
            for epoch in range(1, EPOCHS + 1):
                search.report(task, epoch)
        else:
            search.fail(task)

    assert search.conductor.stop_reason is None


def test_a_spent_time_budget_lets_running_trials_report_and_pauses_them(tmp_path):
    search = Search(tmp_path / "study", deadline=10.0)
    first, second = search.start(), search.start()
    assert search.report(first, 1) == "continue"
    search.now = 10.5
    assert search.report(first, 2) == "stop"
    assert search.conductor.next_task() == "finished"
    assert search.report(second, 1) == "stop"

    assert search.conductor.stop_reason == "time budget spent"
    assert [(e["trial"], e["epoch"]) for e in search.entries("pause")] == [("t0000", 2), ("t0001", 1)]
    assert search.ends() == {}


def test_a_resume_goes_on_with_paused_trials_first_from_their_epochs(tmp_path):
    search = Search(tmp_path / "study", deadline=10.0)
    first, second = search.start(), search.start()
    search.now = 11.0
    search.report(first, 1)
    search.report(second, 1)
    search.resume()
    again = [search.start(), search.start(), search.start()]

    assert [(task.trial_id, task.reported_epochs) for task in again] == [("t0000", 1), ("t0001", 1), ("t0002", 0)]


def test_a_trial_that_ends_with_the_epoch_of_the_interrupt_is_told_and_not_paused(search):
    task = search.start()
    for epoch in range(1, EPOCHS):
        search.report(task, epoch)
    search.conductor.request_stop("interrupted")
    search.report(task, EPOCHS)

    assert search.ends() == {"t0000": "completed"}
    assert search.entries("pause") == []


def test_after_a_second_interrupt_nothing_stays_running(search):
    started = [search.start() for _ in range(3)]
    search.report(started[1], 1)
    search.conductor.pause_all("interrupted")

    assert [(e["trial"], e["epoch"]) for e in search.entries("pause")] == [("t0000", 0), ("t0001", 1), ("t0002", 0)]
    search.conductor.pause_all("interrupted")
    assert len(search.entries("pause")) == 3


def test_a_worker_that_dies_after_the_interrupt_is_paused_not_retried(search):
    task = search.start()
    search.conductor.request_stop("interrupted")
    search.conductor.lost(task.trial_id, "its process ended")

    assert search.entries("retry") == []
    assert [e["trial"] for e in search.entries("pause")] == ["t0000"]


def test_what_a_worker_notes_reaches_the_user(search):
    task = search.start()
    search.conductor.take(
        StepResult(trial_id=task.trial_id, epoch=1, metrics={"score/all": 0.5}, notes=("passed over a checkpoint",))
    )

    assert "passed over a checkpoint" in search.told


def test_a_budget_becomes_a_deadline():
    assert deadline_in(60.0, clock=lambda: 5.0) == 65.0
    assert deadline_in(None) is None
