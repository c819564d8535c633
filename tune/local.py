"""The debug twin: the same search in this process, one trial after the other, no Ray."""

from pathlib import Path

from trainable.training.trial_data import TrialData
from trainable.trial import Trial, TrialTask
from tune.conductor import Conductor


def run_local(conductor: Conductor, *, data_folder: Path) -> None:
    """Run the search to its end in this process; set a breakpoint anywhere."""
    data = TrialData.load(data_folder)
    while isinstance(task := conductor.next_task(), TrialTask):
        trial = Trial(task, data)
        while conductor.take(trial.step()) == "continue":
            pass
