"""What a confirmation found, as the journal holds it: candidates beside the default on the same folds and seeds.

STUDY/confirmation/NAME.json holds each configuration's out-of-fold forecasts, from which all of it follows.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Self

from search_spaces.space import DEFAULT
from trainable.checksums import from_json, to_json
from trainable.errors import UserError
from trainable.plain_values import JsonObject
from trainable.storage.place import Place, read_file, write_file
from tune.journal.entries import Confirming, JournalEntry, VerdictReached
from tune.printed.next_command import next_command

if TYPE_CHECKING:
    from trainable.scoring.out_of_fold import Difference, OutOfFold

ENSEMBLE = "ensemble"
"""The name of the candidate that is the mean of others."""

FOLDER_NAME = "confirmation"

TRIED_AGAIN = "mend the cause and run `sentinel-tune confirm` on the study: it tries again what failed"
"""What a user may do about runs that failed, but for those that diverged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConfirmedConfiguration:
    """One confirmed configuration, or the ensemble of some.

    name: a variant's or the trial's id. trial_id: None when the study did not run it. config: nested values, of full
    length. epoch: the best one on the mean over all folds and seeds, to stop at when it is trained on all data.
    metrics: pooled over folds, the mean over seeds, each fold at the epoch that the *other* folds found best.
    intervals: of the scores, for other domains and trainings. difference: of `score/all` to the default's, below 0 is
    better; None for the default itself. fold_scores: fold -> mean `score/all` of all its held-out events. members: of
    an ensemble, names of the candidates whose mean it is, each at its own epoch; its config is empty, and its epoch
    that of the member that is trained longest. floor_shares: floor -> its share of an ensemble, beside that mean's.
    """

    name: str
    trial_id: str | None
    config: JsonObject
    epoch: int
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    difference: "Difference | None"
    fold_scores: dict[int, float]
    members: tuple[str, ...] = ()
    floor_shares: dict[str, float] = field(default_factory=dict)

    @property
    def mixture(self) -> str:
        """Of an ensemble, what it is: "ensemble: the mean of t0010, default; of known domains 39% floor domain_mean;
        for each event, as other events chose".
        """
        floors = ", ".join(f"{share:.0%} floor {name}" for name, share in self.floor_shares.items())
        beside = f"; of known domains {floors}" if floors else ""
        return f"{self.name}: the mean of {', '.join(self.members)}{beside}; for each event, as other events chose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """The result of a confirmation.

    holdout, folds, seeds: what all configurations were trained and scored on; scored_by_search: folds among them that
    the search chose by, if any. epochs: full length. level: of the intervals of differences, widened for the number of
    candidates; that of who is asked first is `interval_level`, as that of scores is. candidates: best
    first, the default among them. failed: names of configurations that failed in a run; diverged: those among them that
    would again. winner: the candidate to go on with; "default" when no other beats it beyond noise. is_win: whether one
    does. leader: the winner, or the one that leads without proof, which may be "default". verdict: in words.
    fresh_only: whether held-out events that the search chose by were left out, n_left_out of them; n_seen: those that
    were scored all the same, since their fold has no other. floors: name -> metrics of a forecast without images
    on the same events; empty where they were not written down.
    """

    holdout: str
    folds: tuple[int, ...]
    seeds: tuple[int, ...]
    scored_by_search: tuple[int, ...]
    epochs: int
    level: float
    interval_level: float
    data_fingerprint: str
    backbone_fingerprint: str
    candidates: tuple[ConfirmedConfiguration, ...]
    failed: tuple[str, ...]
    winner: str
    is_win: bool
    verdict: str
    leader: str
    fresh_only: bool = False
    n_left_out: int = 0
    n_seen: int = 0
    floors: dict[str, dict[str, float]] = field(default_factory=dict)
    diverged: tuple[str, ...] = ()

    @property
    def asked_first(self) -> str | None:
        """Whom the verdict asked first, before others may win; None where all were asked alike."""
        name = asked_first(self.candidates)
        found = next((c.difference for c in self.candidates if c.name == name), None)
        return name if found is not None and found.level == self.interval_level else None

    @property
    def mendable(self) -> list[str]:
        """Names of configurations that failed in a run, and may not if it is tried again."""
        return [name for name in self.failed if name not in self.diverged]

    @property
    def not_compared(self) -> list[str]:
        """A line on what failed and may be tried again, and one on what diverged."""
        mendable = ", ".join(self.mendable)
        lines = [f"failed in a run, so not compared: {mendable}; {TRIED_AGAIN}"] if mendable else []
        if self.diverged:
            lines.append(f"diverged in a run, as it would again, so not compared: {', '.join(self.diverged)}")
        return lines

    def members_of(self, candidate: ConfirmedConfiguration) -> tuple[ConfirmedConfiguration, ...]:
        """The configurations that are trained for a candidate: of an ensemble its members, else itself."""
        return tuple(c for c in self.candidates if c.name in candidate.members) or (candidate,)

    def candidate(self, name_or_trial_id: str) -> ConfirmedConfiguration | None:
        """The candidate of that name or trial; None if it was not confirmed."""
        return next((c for c in self.candidates if name_or_trial_id in (c.name, c.trial_id)), None)

    def to_dict(self) -> JsonObject:
        """Plain values for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: JsonObject) -> Self:
        """Inverse of `to_dict`, also after JSON; where no leader was written down, it is the best candidate."""
        lists = {name: tuple(values[name]) for name in ("folds", "seeds", "scored_by_search", "failed")}
        lists["diverged"] = tuple(values.get("diverged", ()))
        candidates = tuple(_candidate(entry) for entry in values["candidates"])
        leader = values["winner"] if values["is_win"] else candidates[0].name
        return cls(**{"leader": leader, **values, **lists, "candidates": candidates})


def asked_first(candidates: Sequence[ConfirmedConfiguration]) -> str | None:
    """The ensemble's name; where it is but the mean of the only candidate and the default, that candidate's.

    None without an ensemble.
    """
    ensemble = next((c.name for c in candidates if c.members), None)
    alone = [c.name for c in candidates if c.name not in (DEFAULT, ensemble)]
    return alone[0] if ensemble is not None and len(alone) == 1 else ensemble


def confirmed_of(entries: Iterable[JournalEntry]) -> Confirmed | None:
    """The latest verdict of a journal; None if there is none."""
    results = [
        entry.of.result for entry in entries if isinstance(entry, Confirming) and isinstance(entry.of, VerdictReached)
    ]
    return Confirmed.from_dict(results[-1]) if results else None


def out_of_fold_of(
    study_folder: Place, confirmed: Confirmed, candidate: ConfirmedConfiguration, *, local: bool = False
) -> "OutOfFold":
    """A candidate's forecasts of the held-out events. local: whether the study does without Ray.

    Raises: UserError when the file is missing, damaged, or of another confirmation.
    """
    from trainable.scoring.out_of_fold import OutOfFold  # loads scipy and numpy

    file = study_folder / FOLDER_NAME / f"{candidate.name}.json"
    rule = f"{file} must hold the forecasts of {candidate.name}"
    remedy = f"run `{next_command('confirm', study_folder, local=local)}` again"
    try:
        values = from_json(read_file(study_folder / FOLDER_NAME, f"{candidate.name}.json"))
        of = {
            key: values.get(key, False) if key == "fresh_only" else values[key]
            for key in _evidence_of(confirmed, candidate)
        }
        forecasts = OutOfFold.from_dict(values["forecasts"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{rule}, but reading it failed: {error}; {remedy}") from error
    if of != json.loads(json.dumps(_evidence_of(confirmed, candidate))):
        raise UserError(f"{rule} of this confirmation, but it is of another one; {remedy}")
    return forecasts


def evidence(confirmed: Confirmed, candidate: ConfirmedConfiguration, forecasts: "OutOfFold") -> JsonObject:
    """Plain values: the forecasts and what they are of, so that a later model can be compared pairwise."""
    return {**_evidence_of(confirmed, candidate), "forecasts": forecasts.to_dict()}


def write_evidence(folder: Place, values: JsonObject) -> None:
    """Write one candidate's `evidence` into a study, whole or not at all."""
    write_file(folder / FOLDER_NAME, f"{values['name']}.json", to_json(values).encode())


def _evidence_of(confirmed: Confirmed, candidate: ConfirmedConfiguration) -> JsonObject:
    names = ("holdout", "folds", "seeds", "epochs", "data_fingerprint", "backbone_fingerprint", "fresh_only")
    of = {"name": candidate.name, "config": candidate.config}
    of |= {name: value for name in ("members", "floor_shares") if (value := getattr(candidate, name))}
    return of | {name: getattr(confirmed, name) for name in names}


def _candidate(entry: JsonObject) -> ConfirmedConfiguration:
    from trainable.scoring.out_of_fold import Difference  # loads scipy and numpy

    difference = entry["difference"]
    return ConfirmedConfiguration(
        **{
            **entry,
            "intervals": {name: (float(low), float(high)) for name, (low, high) in entry["intervals"].items()},
            "difference": None if difference is None else Difference(**difference),
            "fold_scores": {int(fold): score for fold, score in entry["fold_scores"].items()},
            "members": tuple(entry.get("members", ())),
        }
    )
