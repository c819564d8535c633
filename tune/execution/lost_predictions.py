"""Runs of a confirmation whose predictions are gone, trained anew: to the same, and nothing of it is journaled."""

from trainable.storage.place import Place, delete_file, file_names
from trainable.training.held_out_predictions import predictions_name
from tune.confirming.runs import Confirmation, Run
from tune.decisions.ends import Ends
from tune.execution.conductor import Conductor
from tune.execution.workplace import Workplace
from tune.journal.entries import Confirming, PlanMade, TrialAsked, TrialRetried


def runs_without_predictions(folder: Place, confirmation: Confirmation) -> list[Run]:
    """Completed runs of the plan that lack the predictions of an epoch, as when a damaged file was deleted.

    Raises: OSError.
    """
    assert confirmation.plan is not None
    completed = [run for run in confirmation.runs() if run.record.state == "completed"]
    return [run for run in completed if not _predicted(run) <= set(file_names(_folder_of(folder, run)))]


def train_anew(place: Workplace, runs: list[Run], ends: Ends) -> Conductor:
    """Train these runs once more, so that all their predictions are there; how it ended is known to the conductor."""
    for run in runs:
        place.console.say(
            f"{run.record.trial_id} ({run.name}, fold {run.fold}, seed {run.seed}) is trained anew: not all of its "
            "predictions for the held-out events are there"
        )
        folder = _folder_of(place.study.folder, run)
        for name in file_names(folder):  # from its first epoch on: a checkpoint holds no predictions
            delete_file(folder, name)
    conductor = place.conductor(_as_asked(place, runs), ends)
    place.run(conductor, prepare=lambda: None)
    return conductor


def _as_asked(place: Workplace, runs: list[Run]) -> Confirmation:
    """The runs as they were when they were asked for, and no others; what is reported of them is kept nowhere."""
    wanted, again = {run.record.trial_id for run in runs}, Confirmation()
    for entry in place.study.entries():
        match entry:
            case Confirming(of=PlanMade()):
                again.apply(entry)
            case Confirming(of=TrialAsked() | TrialRetried() as of) if of.trial in wanted:
                again.apply(entry)
    again.request_stop("all that was to be trained anew has been")
    return again


def _predicted(run: Run) -> set[str]:
    return {predictions_name(epoch) for epoch in range(1, run.record.epoch + 1)}


def _folder_of(folder: Place, run: Run) -> Place:
    return folder / "checkpoints" / run.record.trial_id
