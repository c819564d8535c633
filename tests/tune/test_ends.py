"""How a search ends: target, plateau, interrupts, errors. Real decisions and journals; scores are made by hand."""

import os
import signal
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from mlflow import MlflowClient

from search_spaces.space import SearchSpace
from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from trainable.failure import Failure, FailureKind
from trainable.trial import StepResult, TrialTask
from tune.cli import main
from tune.decisions.decisions import Decisions
from tune.decisions.differences import differences
from tune.decisions.ends import Ends
from tune.decisions.plateau import noise_queue, plateau_reason, seed_noise
from tune.decisions.proposals import starting_queue
from tune.execution.conductor import Conductor, TrialResources
from tune.execution.interrupts import NEWS_OF_DEATH, STOP_SIGNALS, Interrupts, stop_signals
from tune.journal.entries import SessionBegun
from tune.journal.errors import StudyMovedError
from tune.journal.journal import Journal, StudyWriteError, read_entries

EPOCHS = 2
SPACE = SearchSpace.load("smoke")
NOISE_SCORES = {0: 0.60, 1: 0.62, 2: 0.58}
"""Of the default, by seed."""


class Search:
    """One study in `folder`, gone on with at each `session`."""

    def __init__(self, folder: Path, **header: object) -> None:
        self.folder, self.told, self.is_full = folder, [], False
        numbers = {"seed": 0, "n_trials": 40, "max_epochs": EPOCHS, "grace_epochs": EPOCHS, "reduction_factor": 3}
        header = {**numbers, "queue": starting_queue(SPACE, EPOCHS), **header}
        Journal.create(folder, header, study_id="by-hand").close()

    @contextmanager
    def session(self, *, ends: Ends | None = None, **fields: object) -> Iterator[Conductor]:
        with Journal.open(self.folder, say=self.told.append) as journal:
            past = read_entries(self.folder)

            def append(entry, **apply):
                if self.is_full:
                    raise StudyWriteError("`the study's folder must be writable`, but was not: No space left on device")
                return journal.append(entry, **apply)

            self.decisions = Decisions.replay(SPACE, past, on_entry=append)
            queue = noise_queue(past, SPACE, EPOCHS) if ends and ends.plateau else []
            self.decisions.begin_session(SessionBegun(queue=queue, **fields))
            resources = TrialResources(
                data_folder=self.folder, study_folder=self.folder, seed=0, device="cpu", n_threads=1
            )
            yield Conductor(self.decisions, resources, ends=ends, say=self.told.append)

    def of(self, kind: str) -> list[dict]:
        return [entry for entry in read_plain(self.folder) if entry["event"] == kind]


def run(conductor: Conductor, score: Callable[[TrialTask], float]) -> list[TrialTask]:
    """Run trials one after the other to the end of the search."""
    tasks = []
    while isinstance(task := conductor.next_task(), TrialTask):
        tasks.append(task)
        epoch = task.reported_epochs + 1
        while report(conductor, task, epoch, score(task)) == "continue":
            epoch += 1
    return tasks


def report(conductor: Conductor, task: TrialTask, epoch: int, score: float) -> str:
    return conductor.take(StepResult(trial_id=task.trial_id, epoch=epoch, metrics={"score/all": score}))


def always(score: float) -> Callable[[TrialTask], float]:
    return lambda _: score


def number(task: TrialTask) -> int:
    return int(task.trial_id[1:])


def flat(task: TrialTask) -> float:
    """The default and its reruns differ by their noise alone; every other trial is a little better than the default."""
    return NOISE_SCORES[task.seed] if number(task) in (0, 2, 3) else 0.599


# Target


def test_a_target_score_ends_the_search_and_leaves_nothing_running(tmp_path):
    search = Search(tmp_path)
    with search.session(ends=Ends(target_score=0.5)) as conductor:
        first, second = conductor.next_task(), conductor.next_task()
        assert report(conductor, first, 1, 0.501) == "continue"
        assert report(conductor, first, 2, 0.5) == "stop"
        assert report(conductor, second, 1, 0.7) == "stop"
        assert conductor.next_task() == "finished"

        assert conductor.end_reason == "target score 0.5 reached: 0.5 by t0000"
        assert conductor.state == "completed"
    assert [entry["trial"] for entry in search.of("pause")] == ["t0001"]


def test_a_lower_target_at_the_resume_goes_on_with_what_was_paused(tmp_path):
    search = Search(tmp_path, n_trials=3)
    with search.session(ends=Ends(target_score=0.5)) as conductor:
        run(conductor, always(0.4))
    with search.session(ends=Ends(target_score=0.5)) as conductor:
        assert run(conductor, always(0.4)) == []
    with search.session(ends=Ends(target_score=0.3)) as conductor:
        tasks = run(conductor, always(0.4))

    assert [(task.trial_id, task.reported_epochs) for task in tasks] == [("t0000", 1), ("t0001", 0), ("t0002", 0)]


# Plateau


def test_a_plateau_ends_the_asking_when_nothing_betters_the_best_by_more_than_the_noise(tmp_path):
    search = Search(tmp_path)
    with search.session(ends=Ends(plateau=5)) as conductor:
        tasks = run(conductor, flat)

        noise = statistics.stdev(NOISE_SCORES.values())
        assert conductor.state == "completed"
        assert conductor.end_reason == (
            f"no improvement by more than the noise between seeds, {noise:.2g}, in the last 5 trials"
        )
    assert [number(task) for task in tasks] == list(range(8))  # default, ft_did, two reruns, four proposals
    assert search.of("pause") == []


def test_improvements_beyond_the_noise_keep_a_search_going(tmp_path):
    search = Search(tmp_path, n_trials=20)
    with search.session(ends=Ends(plateau=2)) as conductor:
        tasks = run(conductor, lambda task: flat(task) if number(task) < 4 else 0.6 - 0.03 * number(task))

        assert conductor.end_reason == "finished"
    assert len(tasks) == 20


def test_creeping_within_the_noise_adds_up_to_an_improvement_only_once_it_exceeds_it(tmp_path):
    search = Search(tmp_path)
    with search.session(ends=Ends(plateau=4)) as conductor:
        tasks = run(conductor, lambda task: flat(task) if number(task) < 4 else 0.599 - 0.008 * (number(task) - 3))

    assert len(tasks) == 40  # every third of these steps is more than the noise below the last improvement


def test_the_default_runs_twice_more_with_other_seeds_unknown_to_the_sampler_and_never_best(tmp_path):
    search = Search(tmp_path, n_trials=6)
    with search.session(ends=Ends(plateau=30)) as conductor:
        tasks = run(conductor, lambda task: {**NOISE_SCORES, 2: 0.1}[task.seed] if number(task) < 4 else 0.7)
        best = search.decisions.best()

    assert [task.seed for task in tasks] == [0, 0, 1, 2, 0, 0]
    assert tasks[0].config == tasks[2].config == tasks[3].config
    asks = search.of("ask")
    assert [entry["origin"] for entry in asks[2:4]] == ["noise:default#1", "noise:default#2"]
    assert [(entry["values"], entry["exempt"], entry["seed"]) for entry in asks[2:4]] == [
        (None, True, 1),
        (None, True, 2),
    ]
    assert "seed" not in asks[0]
    assert best.trial_id == "t0000"
    assert differences(SPACE, read_entries(search.folder)) == []
    assert [record.seed for record in Decisions.replay(SPACE, read_entries(search.folder)).trials()] == [
        None, None, 1, 2, None, None
    ]  # fmt: skip


def test_a_plateau_asked_for_at_a_resume_queues_the_reruns_once(tmp_path):
    search = Search(tmp_path, n_trials=4)
    with search.session() as conductor:
        run(conductor, flat)
    for n_trials in (7, 8):
        with search.session(ends=Ends(plateau=30), n_trials=n_trials) as conductor:
            run(conductor, always(0.6))

    assert [entry["origin"] for entry in search.of("ask")[4:]] == [
        "noise:default#1",
        "noise:default#2",
        "sampler",
        "sampler",
    ]
    assert differences(SPACE, read_entries(search.folder)) == []


def test_without_starting_points_the_base_runs_with_three_seeds(tmp_path):
    search = Search(tmp_path, queue=[], n_trials=3)
    with search.session(ends=Ends(plateau=9)) as conductor:
        run(conductor, lambda task: NOISE_SCORES[task.seed])

    assert [entry["origin"] for entry in search.of("ask")] == [f"noise:default#{n}" for n in range(3)]
    assert seed_noise(search.decisions.trials()) == statistics.stdev(NOISE_SCORES.values())


def test_a_plateau_is_not_looked_for_before_the_noise_is_known(tmp_path):
    search = Search(tmp_path)
    with search.session(ends=Ends(plateau=1)) as conductor:
        tasks = [conductor.next_task() for _ in range(4)]
        for task in tasks[:3]:
            for epoch in (1, 2):
                report(conductor, task, epoch, 0.6)
        assert plateau_reason(search.decisions.trials(), 1) is None
        assert isinstance(conductor.next_task(), TrialTask)  # the fourth, the last rerun, has not ended
        for epoch in (1, 2):
            report(conductor, tasks[3], epoch, 0.6)
        assert conductor.next_task() == "wait"


# Interrupts


def test_the_first_signal_stops_gently_and_the_second_at_once():
    stops, lines, before = [], [], signal.getsignal(signal.SIGINT)  # ignored in a shell's background job
    with Interrupts(lines.append) as interrupts, interrupts.while_running(stops.append):
        os.kill(os.getpid(), signal.SIGTERM)
        assert (stops, len(lines)) == (["interrupted"], 1)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_what_must_be_whole_is_finished_before_the_interrupt():
    lines = []
    with Interrupts(print) as interrupts, interrupts.while_running(print), pytest.raises(KeyboardInterrupt):
        interrupted_inside_shields(interrupts, lines)
    assert lines == ["inner done", "outer done"]


def interrupted_inside_shields(interrupts: Interrupts, lines: list[str]) -> None:
    with interrupts.shield():
        with interrupts.shield():
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            lines.append("inner done")
        lines.append("outer done")
    lines.append("not reached")


def test_a_signal_before_the_first_trial_ends_the_search_as_soon_as_it_would_begin():
    stops = []
    with Interrupts(print) as interrupts:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        with interrupts.while_running(stops.append):
            pass

    assert stops == ["interrupted"]


def test_a_signal_while_nobody_listens_ends_the_next_wait_and_one_that_was_heard_does_not():
    with Interrupts(print) as interrupts:
        with interrupts.while_running(lambda _: None):
            os.kill(os.getpid(), signal.SIGINT)
        with interrupts.while_waiting():
            pass
        os.kill(os.getpid(), signal.SIGINT)  # as when the page of the study is drawn
        with pytest.raises(KeyboardInterrupt), interrupts.while_waiting():
            pytest.fail("nothing is waited for")
        with interrupts.while_waiting():
            pass


def test_a_death_stops_at_once_and_gives_its_reason():
    stops, lines, deaths = [], [], []
    with Interrupts(lines.append, death=lambda: deaths[0] if deaths else None) as interrupts:
        with interrupts.while_running(stops.append):
            os.kill(os.getpid(), NEWS_OF_DEATH)
            assert stops == []  # nothing has died
            deaths.append("the raylet was killed")
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), NEWS_OF_DEATH)
        assert (stops, lines) == (["the raylet was killed"], ["stopping: the raylet was killed"])
        os.kill(os.getpid(), NEWS_OF_DEATH)  # nothing runs that needs what has died


def test_an_error_that_came_of_a_death_is_told_as_the_death_and_another_one_is_raised():
    stops = []
    with (
        Interrupts(print) as interrupts,
        pytest.raises(ValueError, match="a fault of ours"),
        interrupts.while_running(stops.append),
    ):
        raise ValueError("a fault of ours")
    deaths = [None, "the GCS was killed"]
    with Interrupts(print, death=lambda: deaths.pop(0)) as interrupts, interrupts.while_running(stops.append):
        raise ValueError("no answer")
    assert stops == ["the GCS was killed"]


@pytest.mark.parametrize("number", STOP_SIGNALS)
def test_every_stop_signal_ends_a_command_in_the_same_way(number, monkeypatch, capsys):
    before = [signal.getsignal(each) for each in STOP_SIGNALS]
    signal.signal(number, signal.default_int_handler)  # also where the tests run under nohup
    monkeypatch.setattr("tune.verbs.spaces.run", lambda _: os.kill(os.getpid(), number))
    try:
        assert main(["spaces"]) == 130
    finally:
        for each, handler in zip(STOP_SIGNALS, before, strict=True):
            signal.signal(each, handler)
    assert capsys.readouterr().err == "interrupted\n"


def test_a_signal_that_was_ignored_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as by nohup
    try:
        with stop_signals(), Interrupts(print) as interrupts, interrupts.while_running(pytest.fail):
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_who_does_not_come_back_from_a_dead_service_is_given_up_on():
    code = (
        "import signal, time; import tune.execution.death_watch as w; w.LOOK_SECONDS = w.PATIENCE_SECONDS = 0.1\n"
        "signal.signal(signal.SIGURG, lambda *_: None)\n"  # hears, and stays where it is
        "with w.DeathWatch(lambda: 'dead').watching(lambda words: print(words, flush=True)):\n"
        "    while True: time.sleep(1)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (130, "dead\n")


@pytest.mark.seconds
@pytest.mark.parametrize("n_signals", [1, 2])
def test_ctrl_c_writes_the_end_and_the_table_and_leaves_no_trial_running(
    demo_search, cli, tracking_uri, tmp_path, n_signals
):
    folder = tmp_path / f"interrupted {n_signals}"
    presses = threading.Thread(target=press_ctrl_c, args=(folder, n_signals))
    presses.start()
    ended = demo_search("--epochs", 60, "--study", folder)
    presses.join()

    assert ended.status == 130
    assert "Best trial" in ended.stdout
    entries = read_plain(folder)
    assert (entries[-1]["event"], entries[-1]["reason"], entries[-1]["state"]) == ("end", "interrupted", "interrupted")
    assert [entry["trial"] for entry in entries if entry["event"] == "pause"] == ["t0000"]
    if n_signals == 2 and statuses(tracking_uri, folder.name) != {"KILLED"}:  # MLflow took longer than it was given
        assert "` brings" in ended.stderr
        assert cli("sync", folder).status == 0
    assert statuses(tracking_uri, folder.name) == {"KILLED"}


@pytest.mark.seconds
def test_ctrl_c_while_mlflow_keeps_silent_says_how_long_it_is_waited_for_and_what_mends_what_it_lacks(
    demo_search, tmp_path, monkeypatch
):
    monkeypatch.setattr("tune.verbs.search.IMPATIENT_GRACE_SECONDS", 0.5)
    folder = tmp_path / "study"
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes connections, and never answers
        ends = threading.Thread(target=press_ctrl_c, args=(folder, 1), kwargs={"at": "end"})
        ends.start()
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        ended = demo_search("--trials", 1, "--study", folder, "--tracking-uri", uri)
        ends.join()

    sync = f"`sentinel-tune sync {folder}`"
    assert ended.status == 0
    assert f"MLflow is told how the trials ended, for at most 0.5 s; what it lacks then, {sync} brings" in ended.stderr
    assert f"all results are in the study's journal; {sync} brings MLflow up to date" in ended.stderr
    assert read_plain(folder)[-1]["event"] == "end"


def press_ctrl_c(folder: Path, n_signals: int, *, at: str = "report") -> None:
    """Send the signals to this process once the first such entry, of an epoch, is in the journal."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if any(entry["event"] == at for entry in read_plain(folder)):
                break
        except UserError:
            pass
        time.sleep(0.02)
    for _ in range(n_signals):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.02)


def statuses(tracking_uri: str, study_id: str) -> set[str]:
    client = MlflowClient(tracking_uri=tracking_uri)
    experiment = client.get_experiment_by_name("sentinel-tune")
    runs = client.search_runs([experiment.experiment_id], f"tags.`hpo.study` = '{study_id}'")
    return {run.info.status for run in runs}


# Errors


def test_a_disk_that_is_full_ends_the_search_in_order_and_a_resume_goes_on(tmp_path):
    search = Search(tmp_path, n_trials=3)
    with search.session() as conductor:
        task = conductor.next_task()
        report(conductor, task, 1, 0.6)
        search.is_full = True
        assert report(conductor, task, 2, 0.5) == "stop"
        assert conductor.next_task() == "finished"
        assert isinstance(conductor.error, StudyWriteError)
        assert (conductor.state, conductor.stop_reason[:20]) == ("interrupted", "stopped by an error:")
        search.is_full = False
        conductor.pause_all(conductor.end_reason)
    with search.session() as conductor:
        tasks = run(conductor, always(0.6))

    assert [(task.trial_id, task.reported_epochs) for task in tasks] == [("t0000", 1), ("t0001", 0), ("t0002", 0)]
    assert differences(SPACE, read_entries(tmp_path)) == []


def test_a_checkpoint_that_cannot_be_written_is_no_fault_of_its_trial(tmp_path):
    search = Search(tmp_path, n_trials=2)
    failure = Failure(type="CheckpointNotWritten", message="No space left", node="n", kind=FailureKind.DISK)
    with search.session() as conductor:
        task = conductor.next_task()
        assert conductor.take(StepResult(trial_id=task.trial_id, epoch=1, failure=failure)) == "stop"
        assert conductor.next_task() == "finished"
        assert isinstance(conductor.error, StudyWriteError)
        assert "was not: the checkpoint of t0000: No space left" in str(conductor.error)

    assert search.of("tell") == []
    assert [entry["trial"] for entry in search.of("pause")] == ["t0000"]


def test_a_checkpoint_without_a_folder_tells_of_the_move_when_the_study_was_moved(tmp_path):
    search, moved = Search(tmp_path / "study", n_trials=2), tmp_path / "moved"
    failure = Failure(type="CheckpointNotWritten", message="No such file", node="n", kind=FailureKind.DISK)
    with search.session() as conductor:
        task = conductor.next_task()
        search.folder.rename(moved)
        conductor.take(StepResult(trial_id=task.trial_id, epoch=1, failure=failure))
        assert isinstance(conductor.error, StudyMovedError)
        assert f"was moved to {moved}" in conductor.end_reason


def test_the_last_checkpoint_of_a_trial_that_was_told_stops_the_search_when_it_cannot_be_written(tmp_path):
    search = Search(tmp_path, n_trials=2)
    failure = Failure(type="X", message="No space left", node="n", kind=FailureKind.DISK)
    with search.session() as conductor:
        task = conductor.next_task()
        epoch = 1
        while conductor.take(StepResult(trial_id=task.trial_id, epoch=epoch, metrics={"score/all": 1.0})) != "stop":
            epoch += 1
        conductor.take(StepResult(trial_id=task.trial_id, epoch=epoch, failure=failure))
        assert conductor.next_task() == "finished"
        assert isinstance(conductor.error, StudyWriteError)

    assert [entry["trial"] for entry in search.of("tell")] == ["t0000"]
    assert search.of("pause") == []


def test_a_bug_in_the_program_ends_the_search_in_order_too(tmp_path):
    search = Search(tmp_path)
    with search.session() as conductor:
        conductor.next_task()
        assert conductor.take(StepResult(trial_id="t9999", epoch=1, metrics={"score/all": 1.0})) == "stop"
        conductor.lost("t9998", "unknown")

        assert isinstance(conductor.error, KeyError)
        assert (conductor.next_task(), conductor.state) == ("finished", "failed")


@pytest.mark.seconds
def test_a_search_without_mlflow_runs_to_its_end_and_says_how_to_sync(demo_search, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    ended = demo_search("--trials", 1, "--tracking-uri", "http://127.0.0.1:9")

    assert ended.status == 0
    assert f"`sentinel-tune sync {tmp_path / 'study'}` brings MLflow up to date" in ended.stderr
    assert read_plain(tmp_path / "study")[-1]["event"] == "end"
