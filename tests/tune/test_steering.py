"""`enqueue` and `stop`: what users ask of a study from elsewhere, with real decisions and a real journal."""

import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search_spaces.space import SearchSpace
from tests.conftest import Cli
from tests.tune.plain_entries import read_plain
from trainable.errors import UserError
from trainable.failure import Failure, FailureKind
from trainable.storage.place import Place
from trainable.trial import StepResult, TrialTask
from tune.api.loaded_study import load_study
from tune.decisions.decisions import Decisions
from tune.decisions.differences import differences
from tune.decisions.proposals import starting_queue
from tune.decisions.standings import Standings
from tune.execution.conductor import Conductor, TrialResources
from tune.execution.steering import STOPPED, Steering
from tune.journal.entries import SessionBegun, study_of
from tune.journal.journal import FILE_NAME, Journal, read_entries
from tune.journal.requests import FOLDER_NAME, leave_request, new_request, waiting_requests
from tune.study.study import Study

EPOCHS = 4
MINE = {"tail.n_blocks": 1, "adapter.kind": "lora", "adapter.rank": 5, "optim.lr": 2e-4, "augment.feature_noise": 0.0}


class Driver:
    """The one process that works on a study, without training."""

    def __init__(self, folder: Place, n_trials: int = 3, **header: object) -> None:
        self.folder, self.told, self.now = folder, [], 0.0
        self.space = SearchSpace.load("smoke")
        header |= {
            "seed": 0, "n_trials": n_trials, "max_epochs": EPOCHS, "grace_epochs": 1, "reduction_factor": 3,
            "space": self.space.to_dict(),
        }  # fmt: skip
        self.begin(Journal.create(folder, header, study_id="by-hand"))

    def begin(self, journal: Journal) -> None:
        self.journal = journal
        past = tuple(journal.entries())
        decisions = Decisions.replay(self.space, past, on_entry=journal.append)
        decisions.begin_session(SessionBegun(n_trials=study_of(past).header["n_trials"]))
        self.study = Study(folder=self.folder, journal=journal, decisions=decisions, past=past)
        resources = TrialResources(data_folder=self.folder, study_folder=self.folder, seed=0, device="cpu", n_threads=1)
        self.conductor = Conductor(decisions, resources, say=self.told.append, heed=self.steering().heed)

    def steering(self, *, searches: bool = True) -> Steering:
        return Steering(self.study, searches=searches, say=self.told.append, clock=lambda: self.now)

    def resume(self) -> None:
        self.journal.close()
        self.begin(Journal.open(self.folder, say=self.told.append))

    def start(self) -> TrialTask:
        task = self.conductor.next_task()
        assert isinstance(task, TrialTask)
        return task

    def report(self, trial_id: str, epoch: int, score: float = 0.5) -> str:
        return self.conductor.take(StepResult(trial_id=trial_id, epoch=epoch, metrics={"score/all": score}))

    def to_the_end(self) -> list[str]:
        """Run all that is left; the trials in order of their beginning."""
        ran = []
        while isinstance(task := self.conductor.next_task(), TrialTask):
            ran.append(task.trial_id)
            for epoch in range(task.reported_epochs + 1, EPOCHS + 1):
                if self.report(task.trial_id, epoch, score(task.trial_id, epoch)) == "stop":
                    break
        return ran

    def enqueue(self, **changed: object) -> None:
        leave_request(self.folder, new_request("enqueue", values={**MINE, **changed}))

    def stop(self, trial: str | None = None) -> None:
        session = max(entry.seq for entry in read_entries(self.folder) if isinstance(entry, SessionBegun))
        leave_request(self.folder, new_request("stop", trial=trial, session=None if trial else session))

    def kinds(self, *kinds: str) -> list[tuple[str, str | None]]:
        return [(e["event"], e.get("trial")) for e in read_plain(self.folder) if e["event"] in kinds]

    def trial(self, trial_id: str):
        return self.study.decisions.standings.trials[trial_id]

    def check_replays(self) -> None:
        entries = read_entries(self.folder)
        assert differences(self.space, entries) == []
        assert Decisions.replay(self.space, entries).trials() == self.study.decisions.trials()


def score(trial_id: str, epoch: int) -> float:
    return 0.9 + 0.01 * int(trial_id[1:]) - 0.1 * epoch


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    return Driver(tmp_path / "study")


def test_what_was_enqueued_runs_next_as_one_trial_more_and_replays(driver):
    first = driver.start()
    driver.enqueue()
    ran = [first.trial_id, *driver.to_the_end()]

    assert ran == ["t0000", "t0001", "t0002", "t0003"]  # of three
    mine = driver.trial("t0001")
    assert (mine.origin, mine.values, mine.exempt) == ("enqueued", MINE, False)
    assert waiting_requests(driver.folder) == []
    driver.check_replays()


def test_what_was_enqueued_runs_ahead_of_starting_points_in_the_order_of_asking(tmp_path):
    driver = Driver(tmp_path / "study", queue=starting_queue(SearchSpace.load("smoke"), EPOCHS))
    driver.start()
    for rank in (5, 6):
        driver.enqueue(**{"adapter.rank": rank})
    driver.start()
    driver.enqueue(**{"adapter.rank": 7})
    driver.to_the_end()

    trials = driver.study.decisions.trials()
    assert [t.origin for t in trials] == [
        "start:default", "enqueued", "enqueued", "enqueued", "compare:ft_did", "sampler",
    ]  # fmt: skip
    assert [t.values["adapter.rank"] for t in trials[1:4]] == [5, 6, 7]
    driver.check_replays()


def test_what_was_enqueued_while_the_last_trial_ran_still_runs(tmp_path):
    driver = Driver(tmp_path / "study", n_trials=1)
    driver.start()
    driver.enqueue()

    assert driver.start().trial_id == "t0001"


def test_what_was_enqueued_runs_although_no_more_is_to_be_proposed(driver):
    driver.start()
    driver.study.decisions.request_stop("no improvement")
    driver.enqueue()

    assert driver.to_the_end() == ["t0001"]


@pytest.mark.parametrize("died_before", ["the entry", "the removal"])
def test_a_driver_that_dies_over_a_request_leaves_it_to_the_next_one_once(tmp_path, died_before):
    whole, killed = Driver(tmp_path / "whole"), Driver(tmp_path / "killed")
    for driver in (whole, killed):
        driver.start()
        driver.enqueue()
    if died_before == "the removal":
        left = next((killed.folder / FOLDER_NAME).iterdir())
        content = left.read_bytes()
        killed.conductor.next_task()
        left.write_bytes(content)
    killed.resume()
    for epoch in range(1, EPOCHS + 1):
        whole.report("t0000", epoch, score("t0000", epoch))
    whole.to_the_end()
    killed.to_the_end()

    assert killed.kinds("enqueue") == whole.kinds("enqueue") == [("enqueue", None)]
    found, wanted = ([(t.values, t.scores, t.state) for t in d.study.decisions.trials()] for d in (killed, whole))
    assert found == wanted
    assert waiting_requests(killed.folder) == []
    killed.check_replays()


def test_what_cannot_be_enqueued_any_more_is_said_and_leaves_nothing(driver):
    driver.enqueue()
    driver.enqueue()
    driver.enqueue(**{"optim.lr": 7.0})
    driver.to_the_end()

    left_out = [line for line in driver.told if "left out" in line]
    assert len(left_out) == 2
    assert "an equal one is queued" in left_out[0]
    assert "`optim.lr` must be in the space" in left_out[1]
    assert driver.kinds("enqueue") == [("enqueue", None)]


def test_a_file_that_is_no_request_stays_and_stops_nothing(driver):
    folder = driver.folder / FOLDER_NAME
    folder.mkdir()
    for number, text in enumerate(("", "[1]", '{"request": "x"}', '{"kind": "stop", "request": 3}')):
        (folder / f"{number:020d}-00000000.json").write_text(text)
    (folder / "notes.txt").write_text("mine")

    assert len(driver.to_the_end()) == 3
    assert len(list(folder.iterdir())) == 5


def test_a_stopped_trial_ends_after_its_epoch_and_the_others_go_on(driver):
    task, other = driver.start(), driver.start()
    assert driver.report(task.trial_id, 1) == "continue"
    driver.stop(task.trial_id)

    assert driver.report(task.trial_id, 2, 0.4) == "stop"
    assert driver.kinds("stop_trial", "tell") == [("stop_trial", "t0000"), ("tell", "t0000")]
    trial = driver.trial("t0000")
    assert (trial.state, trial.best_score) == ("pruned", 0.4)
    assert trial.reason == "stopped by a user after epoch 2: best 0.4 at epoch 2"
    assert driver.report(other.trial_id, 1, 0.3) == "continue"
    driver.check_replays()


def test_a_trial_that_was_stopped_over_anothers_result_may_still_report_fail_or_die(driver):
    tasks = [driver.start() for _ in range(3)]
    for task in tasks:
        driver.stop(task.trial_id)
    driver.report("t0002", 1)
    assert {driver.trial(task.trial_id).state for task in tasks} == {"pruned"}

    assert driver.report("t0000", 1) == "stop"
    failure = Failure(type="E", message="m", traceback_tail="", node="n", kind=FailureKind.MEMORY)
    assert driver.conductor.take(StepResult(trial_id="t0001", epoch=1, failure=failure)) == "stop"
    driver.conductor.lost("t0001", "its process ended")
    assert driver.conductor.error is None
    assert driver.conductor.next_task() == "finished"
    driver.check_replays()


def test_a_trial_that_was_interrupted_and_stopped_meanwhile_does_not_go_on(driver):
    driver.start()
    driver.report("t0000", 1)
    driver.conductor.request_stop("interrupted")
    driver.conductor.pause_all("interrupted")
    driver.stop("t0000")
    driver.resume()

    assert driver.to_the_end() == ["t0001", "t0002"]
    assert driver.trial("t0000").state == "pruned"
    driver.check_replays()


def test_a_killed_drivers_stop_of_a_trial_is_told_by_the_next_one(driver):
    driver.start()
    driver.report("t0000", 1)
    n_before = len(read_entries(driver.folder))
    driver.stop("t0000")
    driver.conductor.next_task()
    driver.journal.close()
    file = driver.folder / FILE_NAME
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[: n_before + 1]))  # without the tell
    assert driver.kinds("stop_trial", "tell") == [("stop_trial", "t0000")]
    driver.begin(Journal.open(driver.folder, say=driver.told.append))

    assert driver.kinds("stop_trial", "tell") == [("stop_trial", "t0000"), ("tell", "t0000")]


def test_a_stopped_search_ends_as_by_a_signal_and_goes_on_at_a_resume(driver):
    driver.start()
    driver.report("t0000", 1)
    driver.stop()

    assert driver.report("t0000", 2) == "stop"
    assert (driver.conductor.end_reason, driver.conductor.state) == (STOPPED, "interrupted")
    assert driver.trial("t0000").state == "paused"
    assert driver.conductor.next_task() == "finished"
    driver.resume()
    assert driver.to_the_end() == ["t0000", "t0001", "t0002"]
    driver.check_replays()


def test_a_stop_that_came_too_late_does_not_stop_the_next_session(driver):
    driver.stop()
    driver.resume()

    assert len(driver.to_the_end()) == 3
    assert waiting_requests(driver.folder) == []


def test_while_a_confirmation_runs_only_the_whole_is_stopped_and_other_requests_wait(driver):
    driver.enqueue()
    driver.stop()

    assert driver.steering(searches=False).heed() == STOPPED
    assert [request.kind for request in waiting_requests(driver.folder)] == ["enqueue"]


# The verbs


@pytest.fixture
def study(finished_study: Path, tmp_path: Path) -> Path:
    """A copy of a finished study, free to be changed."""
    return Path(shutil.copytree(finished_study, tmp_path / "beetles"))


@pytest.fixture
def refused(cli: Cli) -> Callable[..., str]:
    def run(*argv: object) -> str:
        outcome = cli(*argv)
        assert outcome.status == 2
        assert not outcome.stdout
        return outcome.stderr

    return run


def words(**changed: object) -> list[str]:
    return [f"{key}={value}" for key, value in {**MINE, **changed}.items()]


@pytest.mark.seconds
def test_a_finished_study_tries_what_was_enqueued_at_its_next_resume(cli, study):
    kept = cli("enqueue", study, *words(), "--json").result
    assert (kept["values"], kept["is_searching"]) == (MINE, False)
    assert cli("search", "--resume", study, "--local", "--no-confirm").status == 0

    replayed = cli("replay", study)
    assert replayed.status == 0
    assert "t0005 asked for as enqueued: tail.n_blocks=1  adapter.kind=lora  adapter.rank=5" in replayed.stdout
    again = cli("search", "--resume", study, "--local", "--no-confirm")
    assert "is finished: all its 6 trials have ended" in again.stderr


def test_the_search_that_takes_what_was_enqueued_is_named_as_it_was_run(cli, study):
    said = cli("enqueue", study, *words()).stdout

    assert f"for the next `sentinel-tune search --resume {study} --local`" in said


def test_all_that_is_wrong_with_a_configuration_is_said_at_once(refused, study):
    said = refused("enqueue", study, "optim.lr=7", "optim.l=1", "adapter.kind=lor", "tail.n_blocks=2.5")

    assert [line for line in said.splitlines() if "`" in line] == [
        "error: `optim.l` is not a configuration key; did you mean `optim.lr`?",
        "error: `adapter.kind` must be one of full, lora, dora, but got 'lor'",
        "error: `tail.n_blocks` must be a whole number, but got 2.5",
        "error: `optim.lr` must be in (0, 1], but got 7.0",
    ]
    assert refused("enqueue", study, "optim.lr=0.5", "tail.n_blocks=5").count("must be in the space") == 2
    assert not (study / FOLDER_NAME).exists()


def test_what_was_tried_or_queued_is_not_enqueued_again(cli, refused, study):
    assert "but t0000 is equal (completed, best" in refused("enqueue", study, "default")
    assert cli("enqueue", study, *words()).status == 0
    assert "an equal one is queued" in refused("enqueue", study, *words())


def test_a_variants_file_is_held_against_the_space_too(refused, study, tmp_path):
    file = tmp_path / "mine.yaml"
    file.write_text("about: mine\nepochs: 9\nconfig: {loss: {kind: mse}}\n")

    assert "not vary in the space" in refused("enqueue", study, file)
    problems = refused("enqueue", study, "lora").splitlines()
    assert sum("not vary in the space" in line for line in problems) == 1
    (fixed,) = (line for line in problems if "not vary in the space" in line)
    assert fixed.count("`") > 4  # all keys in one sentence
    assert " do not vary in the space and must be " in fixed
    assert "among others" in refused("enqueue", study, file, "optim.lr=1e-3")


def test_only_what_runs_or_may_go_on_can_be_stopped(refused, study):
    assert "none works on" in refused("stop", study)
    assert "valid: none" in refused("stop", study, "t0099")
    assert "but t0000 is completed" in refused("stop", study, "t0000")


def test_a_loaded_study_enqueues_and_stops_as_the_verbs_do(study):
    loaded = load_study(study)

    assert loaded.enqueue(MINE)["values"] == MINE
    with pytest.raises(UserError, match="queued"):
        loaded.enqueue(MINE)
    with pytest.raises(UserError, match="none works on"):
        loaded.stop()


@pytest.mark.slow
def test_a_search_that_runs_takes_what_is_asked_from_elsewhere_and_a_resume_goes_on_with_it(demo_search, cli, tmp_path):
    folder = tmp_path / "study"

    def steer() -> None:
        while not (folder / FILE_NAME).exists() or b'"report"' not in (folder / FILE_NAME).read_bytes():
            time.sleep(0.05)
        study = load_study(folder)
        study.enqueue(MINE)
        study.stop()

    with ThreadPoolExecutor() as elsewhere:
        steered = elsewhere.submit(steer)
        ended = demo_search("--trials", 500, "--time-budget", "5m")
        steered.result()

    assert ended.status == 130
    asked = [entry for entry in read_plain(folder) if entry["event"] in ("enqueue", "stop", "end")]
    assert [entry["event"] for entry in asked] == ["enqueue", "stop", "end"]
    assert (asked[0]["values"], asked[2]["reason"]) == (MINE, STOPPED)
    n_trials = sum(entry["event"] == "ask" for entry in read_plain(folder))
    assert cli("search", "--resume", folder, "--local", "--no-confirm", "--trials", n_trials).status == 0
    trials = Standings.of(read_entries(folder)).trials.values()
    assert [trial.values for trial in trials if trial.origin == "enqueued"] == [MINE]
    assert all(trial.is_told for trial in trials)
    assert cli("replay", folder).status == 0
