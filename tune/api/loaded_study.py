"""A study as an object; every look reads its journal anew, so that it is also right while the study runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.parameter import in_words
from trainable.counts import counted
from trainable.plain_values import JsonObject
from trainable.storage.place import Place
from tune.api.run_verb import run_verb
from tune.command_line.options import StudyOptions
from tune.command_line.parsing import given_values
from tune.confirming.outcome import Confirmed, confirmed_of
from tune.decisions.standings import Standings
from tune.decisions.trial_label import trial_label
from tune.journal.entries import JournalEntry
from tune.journal.journal import owner_of, read_entries
from tune.report.trial_table import trial_table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class BestTrial:
    """The trial with the lowest score, and its best epoch.

    name: what it is, in a few words. metrics: of that epoch. config: nested values, as `retrain --config` reads them.
    """

    trial_id: str
    name: str
    score: float
    epoch: int
    metrics: dict[str, float]
    config: JsonObject


@dataclass(frozen=True, slots=True)
class LoadedStudy:
    """folder: in which the study lies, or its URI."""

    folder: Place

    def entries(self) -> Sequence[JournalEntry]:
        """Its journal. Raises: UserError when there is none that can be read."""
        return read_entries(self.folder)

    @property
    def is_running(self) -> bool:
        """Whether a process works on it."""
        return owner_of(self.folder) is not None

    @property
    def best(self) -> BestTrial | None:
        """None while no trial has a score."""
        return _best(Standings.of(self.entries()))

    @property
    def verdict(self) -> Confirmed | None:
        """The latest confirmation's: winner, gains with intervals, in words; None without one."""
        return confirmed_of(self.entries())

    @property
    def floors(self) -> dict[str, dict[str, float]]:
        """Name -> metrics of a forecast that looks at no image, on the same held-out events."""
        return Standings.of(self.entries()).floors

    def trials(self) -> "pd.DataFrame":
        """A row a trial: scores of its best epoch, and the parameters that vary; as `sentinel-tune trials` shows."""
        import pandas as pd  # a second, which nobody else needs

        table = trial_table(Standings.of(self.entries()), is_running=self.is_running)
        return pd.DataFrame(table.rows, columns=list(table.columns))

    def report(self, file: str | PathLike[str] | None = None) -> Path:
        """Write the page that `sentinel-tune report` writes; returns where it lies: report-STUDY.html, or `file`.

        Raises: UserError when no `file` is given, and report-STUDY.html shows a study of that name in another folder.
        """
        output = {} if file is None else {"output": file}
        return Path(run_verb("report", studies=[str(self.folder)], **output)["report"])

    def resume(self, **options: object) -> "LoadedStudy":
        """Search on, for example with `trials=48`; the options are those of `sentinel-tune search`."""
        return load_study(run_verb("search", resume=str(self.folder), **options)["study"])

    def enqueue(self, configuration: str | PathLike[str] | Mapping[str, object]) -> JsonObject:
        """Have the study try this next: values by key, such as `{"optim.lr": 3e-4}`, a variant's name or its file.

        Raises: UserError when it does not lie in the study's space, or was tried.
        """
        words: list[object] = [configuration]
        if isinstance(configuration, Mapping):
            words = [f"{key}={in_words(value)}" for key, value in configuration.items()]
        return run_verb("enqueue", study=str(self.folder), configuration=words)

    def stop(self, trial: str | None = None) -> None:
        """End what a process searches here in order, after the running epochs; or one trial alone, such as "t0007".

        Raises: UserError when there is nothing to stop.
        """
        run_verb("stop", study=str(self.folder), **({} if trial is None else {"trial": trial}))

    def confirm(self, **options: object) -> Confirmed | None:
        """Train the best trials and the default on other folds and seeds; the options are those of the verb."""
        run_verb("confirm", study=str(self.folder), **options)
        return self.verdict

    def retrain(self, **options: object) -> JsonObject:
        """Train what the confirmation decided for on all data, and export it; the options are those of the verb.

        Returns where the model lies (`model`), its scores, and its place in MLflow's registry.
        """
        return run_verb("retrain", study=str(self.folder), **options)

    def __str__(self) -> str:
        standings = Standings.of(self.entries())
        best, trials = _best(standings), counted(len(standings.trials), "trial")
        told = f"best {best.trial_id} ({best.name}) {best.score:.4f}" if best else "no score yet"
        return f"study {self.folder}: {trials}, {told}"


def load_study(study: str | PathLike[str]) -> LoadedStudy:
    """A study by its folder or URI, also one that a process works on.

    Raises: UserError when there is none.
    """
    options: StudyOptions = given_values(StudyOptions, {"study": study}).options()
    loaded = LoadedStudy(options.study)
    loaded.entries()
    return loaded


def _best(standings: Standings) -> BestTrial | None:
    trial = standings.best()
    if trial is None or trial.best_score is None or trial.best_epoch is None:
        return None
    return BestTrial(
        trial_id=trial.trial_id,
        name=trial_label(trial),
        score=trial.best_score,
        epoch=trial.best_epoch,
        metrics=dict(trial.best_metrics),
        config=trial.trial_config().to_dict(),
    )
