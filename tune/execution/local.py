"""The debug twin: the same search in this process, one trial after the other, no Ray."""

from trainable.storage.place import place_of
from trainable.training.trial_data import TrialData
from trainable.trial import Trial, TrialTask
from tune.execution.conductor import Conductor


def run_local(conductor: Conductor) -> None:
    """Run what the conductor hands out to its end in this process; set a breakpoint anywhere."""
    data: TrialData | None = None
    folder = ""
    while isinstance(task := conductor.next_task(), TrialTask):
        if data is None or task.data_folder != folder:
            data, folder = TrialData.load(place_of(task.data_folder), copy_features=True), task.data_folder
        trial = Trial(task, data)
        while conductor.take(trial.step()) == "continue":
            pass
        if (unwritten := trial.close()) is not None:
            conductor.take(unwritten)
