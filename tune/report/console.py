"""What a command shows: progress and remarks on stderr, its result on stdout, as text or as one JSON object."""

import json
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from trainable.counts import counted
from trainable.data.task import Task
from trainable.data.task_words import score_keys
from trainable.plain_values import JsonObject
from trainable.shown import shown
from trainable.storage.place import Place
from trainable.trial import StepResult
from tune.command_line.options import SearchOptions, TrainOptions
from tune.confirming.outcome import confirmed_of
from tune.decisions.standings import Standings
from tune.extraction.request import Features, Progress
from tune.journal.entries import JournalEntry
from tune.journal.study_task import task_of_study
from tune.report.confirmation_text import confirmation_text
from tune.report.live_view import LiveView, can_rewrite
from tune.report.next_steps import after_search, after_training, sync_command, to_look_at
from tune.report.progress import ProgressPrinter
from tune.report.results import COLUMNS, duration, json_values, metrics_table, result_json, result_table
from tune.tracking.tracker import TrackingStatus

LINES = "\n\t"
"""Control characters of what has several lines."""

_results: ContextVar[list[Mapping[str, object]] | None] = ContextVar("results", default=None)


@contextmanager
def results_taken() -> Iterator[list[Mapping[str, object]]]:
    """Within the block, what `--json` would print is put into the list, beside being shown."""
    results: list[Mapping[str, object]] = []
    token = _results.set(results)
    try:
        yield results
    finally:
        _results.reset(token)


class Console:
    """One command's output; with `json`, stdout carries exactly one JSON object."""

    def __init__(self, *, json: bool) -> None:
        self._json = json
        self._progress = ProgressPrinter(sys.stderr)
        self._live = LiveView(sys.stderr) if can_rewrite(sys.stderr) else None

    @contextmanager
    def showing(self) -> Iterator[None]:
        """Within the block progress is shown; after it nothing is rewritten any more, however it ends."""
        try:
            yield
        finally:
            self._stop_rewriting()

    def _stop_rewriting(self) -> None:
        if self._live is not None:
            self._live.stop()

    def say(self, line: str) -> None:
        """One line for the user."""
        if self._live is not None:
            self._live.say(line)
        else:
            print(shown(line, keep=LINES), file=sys.stderr, flush=True)

    def extraction(self, event: Progress | str) -> None:
        """Progress of the extraction, or a line it has to say."""
        if isinstance(event, str):
            self.say(event)
        else:
            self._progress.extraction(event.n_done, event.n_total)

    def features(self, features: Features) -> None:
        """Whether features were extracted or found."""
        if features.n_extracted:
            speed = features.n_extracted / features.seconds
            self.say(
                f"extracted {counted(features.n_extracted, 'image')} in {duration(features.seconds)} "
                f"({speed:.0f} images/s, loading the backbone included)"
            )
        else:
            self.say(f"features are there already, nothing to extract: {features.path}")

    def past(self, entry: JournalEntry) -> None:
        """A journal entry of an earlier session: counted, not shown."""
        (self._live or self._progress).study.past(entry)

    def handle(self, entry: JournalEntry) -> None:
        """A journal entry of this session."""
        (self._live or self._progress).handle(entry)

    def epoch(self, step: StepResult, n_epochs: int, task: Task) -> None:
        """An epoch of a training without a search."""
        for note in step.notes:
            self.say(note)
        if step.failure is None:
            keys = ("train/loss", *score_keys(task))
            shown = "  ".join(f"{key} {step.metrics[key]:.4f}" for key in keys if key in step.metrics)
            self.say(f"{step.trial_id}  epoch {step.epoch}/{n_epochs}  {shown}")

    def search_result(
        self,
        entries: Sequence[JournalEntry],
        folder: Place,
        tracking: TrackingStatus,
        tracking_uri: str,
        options: SearchOptions,
        *,
        since: float,
        now_in: Place | None,
    ) -> None:
        """The table or the JSON object that ends a search.

        since: `time.monotonic()` at its start. now_in: the folder to go on with; None when the study was removed.
        """
        if tracking.message:
            remedy = "" if now_in is None else f"; `{sync_command(options, now_in)}` brings MLflow up to date"
            self.say(f"{tracking.message}{remedy}")
        standings, study, seconds = Standings.of(entries), str(folder), time.monotonic() - since
        is_done = standings.n_told >= standings.n_wanted
        more = standings.n_wanted * 2 if is_done else None
        confirmed = confirmed_of(entries)
        commands = to_look_at(options, now_in or folder, tracking_uri, tracking.views)
        if now_in is not None:
            is_led = confirmed is not None and confirmed.leader != confirmed.winner
            commands += after_search(
                options, now_in, is_confirmed=confirmed is not None, n_trials=more, is_led=is_led,
                has_best=standings.best() is not None, is_mendable=confirmed is not None and bool(confirmed.mendable),
            )  # fmt: skip
        result = result_json(
            entries,
            study=study,
            tracking_uri=tracking_uri,
            experiment_id=tracking.experiment_id,
            parent_run_id=tracking.parent_run_id,
            seconds=seconds,
        )
        self.finish(
            text=result_table(
                entries,
                study=study,
                seconds=seconds,
                confirmation="" if confirmed is None else confirmation_text(confirmed, task_of_study(standings.header)),
                commands=commands,
            ),
            json=result if confirmed is None else result | {"confirmation": confirmed.to_dict()},
        )

    def train_result(
        self, result: JsonObject, file: Path, options: TrainOptions, task: Task, *, n_search_folds: int
    ) -> None:
        """The table or the JSON object that ends a training; file: where the latter is kept.

        n_search_folds: that score the trials of a search of these data, unless it is told otherwise.
        """
        text = metrics_table(
            [
                (f"best, epoch {result['best']['epoch']}", result["best"]["metrics"]),
                (f"last, epoch {result['last']['epoch']}", result["last"]["metrics"]),
                *((f"floor {name}", metrics) for name, metrics in result["floors"].items()),
            ],
            task,
        )
        model = result["model"]
        lines = ["", *_beside_searches(options.fold, n_search_folds)]
        lines += [shown(file), f"best epoch exported: {shown(model)}", "", "To go on:"]
        steps = [f"  {command}" for command in after_training(options, Path(model), task=task)]
        self.finish(text="\n".join([text, *lines, *steps]), json=result)

    def finish(self, *, text: str, json: Mapping[str, object]) -> None:
        """The command's one result, on stdout."""
        self._stop_rewriting()
        if (results := _results.get()) is not None:
            results.append(json)
        if self._json:
            _print_json(json)
        else:
            print(shown(text, keep=LINES), end="" if text.endswith("\n") else "\n")


def _beside_searches(fold: int, n_search_folds: int) -> list[str]:
    if n_search_folds == 1:
        return []
    text = (
        f"The score is of fold {fold} alone. A search's scores are of {n_search_folds} folds, unless it has "
        "--search-folds 1: do not compare the two."
    )
    return [*textwrap.wrap(text, COLUMNS), ""]


def _print_json(value: Mapping[str, object]) -> None:
    print(json.dumps(json_values(value), allow_nan=False))
