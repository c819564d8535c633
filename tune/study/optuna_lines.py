"""Lines of Optuna's journal file for trials that have ended, as Optuna writes them, and reading them back.

Optuna takes most of a millisecond to write or read a trial, mostly for the ranges of its parameters, of which a line
says all. They are the same for all trials with the same parameters: Optuna writes the first trial of each such set, and
the others are filled in. Other programs may have put attributes of the study between the lines, as a note in
optuna-dashboard is one.
"""

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import optuna
from optuna.distributions import BaseDistribution
from optuna.storages import JournalStorage
from optuna.storages.journal import BaseJournalBackend
from optuna.trial import create_trial

from trainable.plain_values import JsonObject, parse_json
from trainable.scoring.metrics import SCORE
from tune.decisions.sampler import STATES, Ranges, Space, without_notices
from tune.decisions.trial_record import TrialRecord

_WRITER = "worker_id"
_RANGES = b'"distributions":'


@dataclass(frozen=True, slots=True)
class _Form:
    """What trials with the same parameters share.

    log: of one of them. said: what is alike in what their lines say, but for the ranges. ranges_text: as on a line.
    """

    log: JsonObject
    said: JsonObject
    ranges: dict[str, BaseDistribution]
    ranges_text: bytes


class OptunaLines:
    """The logs of one study's trials. begun: those that come first."""

    def __init__(self, space: Space, study_id: str) -> None:
        self._ranges = Ranges(space)
        self._gathered = _Gathered()
        self._forms: dict[tuple[str, ...], _Form] = {}
        with without_notices():
            self._study = optuna.create_study(storage=JournalStorage(self._gathered), study_name=study_id)
            self._study.set_metric_names([SCORE])
        self.begun = tuple(self._gathered.logs)

    def log(self, record: TrialRecord) -> JsonObject:
        """What Optuna would write of a trial that has ended and that the sampler knows.

        Raises: UserError if its values do not lie in the space.
        """
        form = self._form(record)
        return form.log | _filled(record, form.ranges)

    def n_said(self, content: bytes, ended: Sequence[TrialRecord]) -> int | None:
        """How many of these trials a file says, from the first on; None where it says anything else of trials."""
        *lines, rest = content.split(b"\n")
        n_begun = len(self.begun)
        try:
            if rest or [_said(line) for line in lines[:n_begun]] != [_anybodys(log) for log in self.begun]:
                return None
            n = 0
            for line in lines[n_begun:]:
                if n < len(ended) and self._says(line, ended[n]):
                    n += 1
                elif not self._is_attribute(_said(line)):
                    return None
        except ValueError:  # no JSON, or no object
            return None
        return n

    def _says(self, line: bytes, record: TrialRecord) -> bool:
        form = self._form(record)
        at = line.find(_RANGES)
        if line.startswith(form.ranges_text, at):  # most of the line
            line = line[:at] + _RANGES + b"{}" + line[at + len(form.ranges_text) :]
        return _said(line) == form.said | _filled(record, form.ranges)

    def _is_attribute(self, said: JsonObject) -> bool:
        """Whether it is an attribute of the study, and not one that is told here."""
        ours, attribute = self.begun[-1], said.get("system_attr")
        return (
            isinstance(attribute, dict)
            and (said.get("op_code"), said.get("study_id")) == (ours["op_code"], ours["study_id"])
            and not attribute.keys() & ours["system_attr"].keys()
        )

    def _form(self, record: TrialRecord) -> _Form:
        values = record.values or {}
        names = tuple(values)
        if names not in self._forms:
            ranges = self._ranges.of(values)
            self._study.add_trial(create_trial(state=STATES["failed"], params=values, distributions=ranges))
            log = self._gathered.logs[-1]
            text = json.dumps(log["distributions"], separators=(",", ":")).encode()  # as Optuna's file backend has it
            self._forms[names] = _Form(log, _anybodys(log) | {"distributions": {}}, ranges, _RANGES + text)
        return self._forms[names]


def _filled(record: TrialRecord, ranges: dict[str, BaseDistribution]) -> JsonObject:
    """What one trial's log says, and no other's."""
    assert record.values is not None
    assert record.ended is not None
    return {
        "datetime_start": _time(record.started),
        "datetime_complete": _time(record.ended),
        "state": STATES[record.state],
        "value": None if record.state == "failed" else record.best_score,
        "params": {name: ranges[name].to_internal_repr(value) for name, value in record.values.items()},
        "user_attrs": {
            "trial": record.trial_id,
            "origin": record.origin,
            "reason": record.reason,
            "best_epoch": record.best_epoch,
            "attempts": record.attempts,
        },
        "intermediate_values": {str(epoch): score for epoch, score in record.scores.items() if math.isfinite(score)},
    }


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")


def _said(line: bytes) -> JsonObject:
    """Raises: ValueError if it is no log."""
    said = parse_json(line)
    if not isinstance(said, dict):
        raise ValueError("not a log")
    return _anybodys(said)


def _anybodys(log: JsonObject) -> JsonObject:
    """A log, whoever wrote it."""
    return {name: value for name, value in log.items() if name != _WRITER}


class _Gathered(BaseJournalBackend):
    """Optuna's logs in memory."""

    def __init__(self) -> None:
        self.logs: list[JsonObject] = []

    def read_logs(self, log_number_from: int) -> Iterator[JsonObject]:
        """As any backend."""
        return iter(self.logs[log_number_from:])

    def append_logs(self, logs: list[JsonObject]) -> None:
        """As any backend."""
        self.logs.extend(logs)
