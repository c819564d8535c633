"""What MLflow holds of a run, as a search of its runs tells."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlflow.entities import Run as MlflowRun

TRACKED = "hpo.tracked"
"""Tag: how many metric points of the journal the run holds, in journal order, as VERSION:COUNT."""

LAYOUT, TODAYS_LAYOUT = "hpo.layout", "2"
"""Tag: how the run's names, parameters and metrics are chosen. A run of another layout is made anew, since MLflow can
take back neither parameters nor metrics.
"""

ARTIFACTS = "hpo.artifacts"
"""Tag: digest of the files that the run holds."""

VIEWS = "hpo.views"
"""Tag of the study's own run: digest of the UI's views that its experiment holds."""

TRACKED_VERSION = "1"
"""To be raised whenever the fold makes other points of the same journal: runs of another version are sent whole."""


@dataclass(slots=True, kw_only=True)
class HeldRun:
    """What MLflow is known to hold of a run."""

    run_id: str
    status: str = "RUNNING"
    end_ms: int | None = None
    n_metrics: int = 0
    params: set[str] = field(default_factory=set)
    datasets: set[tuple[str, str]] = field(default_factory=set)
    tags: dict[str, str] = field(default_factory=dict)


def is_parent(run: "MlflowRun") -> bool:
    """Whether it is the study's own."""
    return "hpo.trial" not in run.data.tags


def held_run(run: "MlflowRun") -> HeldRun:
    """What a run that was found holds."""
    version, _, count = run.data.tags.get(TRACKED, "").partition(":")
    known = int(count) if version == TRACKED_VERSION and count.isdigit() else 0
    return HeldRun(
        run_id=run.info.run_id,
        status=run.info.status,
        end_ms=run.info.end_time,
        n_metrics=known,
        params=set(run.data.params),
        datasets={
            (used.dataset.name, used.dataset.digest) for used in (run.inputs.dataset_inputs if run.inputs else ())
        },
        tags=dict(run.data.tags),
    )


def preference(run: "MlflowRun") -> tuple[bool, int, int, str]:
    """To sort doubled runs by: which of them is to be kept comes first."""
    held = held_run(run)
    return (held.tags.get(LAYOUT) != TODAYS_LAYOUT, -held.n_metrics, run.info.start_time, run.info.run_id)
