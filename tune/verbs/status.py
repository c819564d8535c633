"""How a study stands, also while another process works on it.

sentinel-tune status STUDY [--json]
"""

from dataclasses import asdict

from trainable.plain_values import JsonObject
from tune.command_line.options import StudyOptions
from tune.command_line.parsing import Given
from tune.decisions.trial_record import TrialRecord
from tune.report.console import Console
from tune.report.status_text import status_text
from tune.report.study_status import SCORES, Interval, StudyStatus, read_status


def run(given: Given) -> int:
    """Run the verb; returns the exit status 0."""
    options: StudyOptions = given.options()
    status = read_status(options.study)
    Console(json=options.json).finish(text=status_text(status), json=_json(status))
    return 0


def _json(status: StudyStatus) -> JsonObject:
    standings, best = status.standings, status.standings.best()
    return {
        "study": str(status.folder),
        "study_id": standings.study_id,
        "state": status.state,
        "owner": asdict(status.owner) if status.owner else None,
        "end_reason": standings.end_reason,
        "n_trials": standings.n_wanted,
        "n_told": standings.n_told,
        "n_completed": standings.count("completed"),
        "n_pruned": standings.count("pruned"),
        "n_failed": standings.count("failed"),
        "n_running": status.n_running,
        "n_interrupted": status.n_interrupted,
        "rungs": [asdict(rung) for rung in status.rungs],
        "confirmation": {
            "n_runs": status.confirmation.n_wanted,
            "n_ended": status.confirmation.n_ended,
            "verdict": status.verdict,
            "ensembles": list(status.mixtures),
            "not_compared": list(status.not_compared),
        },
        "best": _best_json(best, status.interval) if best else None,
        "failures": [
            {"trial_id": t.trial_id, "name": t.name, "epoch": t.epoch, "reason": t.reason} for t in status.failed
        ],
        "retries": [{"trial_id": trial.trial_id, "reason": reason} for trial, reason in status.retried],
        "seconds_used": round(status.seconds_used, 1),
        "seconds_left": None if status.seconds_left is None else round(status.seconds_left, 1),
        "resume_command": status.resume_command,
    }


def _best_json(best: TrialRecord, interval: Interval) -> JsonObject:
    return {
        "trial_id": best.trial_id,
        "name": best.name,
        "epoch": best.best_epoch,
        "scores": {key: best.best_metrics[key] for key in SCORES if key in best.best_metrics},
        "interval": {"level": interval.level, **interval.scores} if interval.scores else None,
        "interval_note": interval.note or None,
    }
