"""A task in the words of tables and figures: short names of targets, parts of the held-out events, what a score is."""

from collections.abc import Sequence

from trainable.data.task import Task

_LOSSES = {"crps": "CRPS", "log_loss": "log loss", "brier": "Brier score"}

PART_NAMES = {"all": "all", "id": "ID", "ood": "OOD"}
"""What the parts of the held-out events are called; ID is of known domains, OOD of others."""


def short_names(names: Sequence[str]) -> tuple[str, ...]:
    """The names of targets without the words, each up to a "_", that all of several begin with."""
    words = [name.split("_") for name in names]
    most = min(map(len, words)) - 1 if len(words) > 1 else 0
    n_shared = next((n for n in range(most) if len({of[n] for of in words}) > 1), most)
    return tuple("_".join(of[n_shared:]) for of in words)


def parts_of(task: Task) -> tuple[str, ...]:
    """The parts that a score is told of: of one alone where there are no domains, since all is the same then."""
    return ("all",) if task.columns.domain is None else tuple(PART_NAMES)


def score_keys(task: Task) -> dict[str, str]:
    """Metric -> what it is called beside the others, the score of all first."""
    return {f"score/{part}": PART_NAMES[part] for part in parts_of(task)}


def groups_of(task: Task) -> tuple[str, ...]:
    """What errors are told by: domains if there are any, and sites; or what stands for a site."""
    site = next((name for name in ("site", "event") if getattr(task.columns, name) is not None), "image")
    return (site,) if task.columns.domain is None else ("domain", site)


def loss_name(task: Task) -> str:
    """What a score is a mean of: "CRPS", "log loss"."""
    return _LOSSES[task.score.kind]


SHARED_OF = "the loss of a constant fitted to all labelled events (the floor constant knows only those trained on)"
"""What a score of the scale `skill` is a share of."""


def score_words(task: Task, *, parts: str = "ID and OOD") -> str:
    """What a score is: "RMS of CRPS over targets, ID and OOD"; parts: what it is also over, where there are domains."""
    loss = loss_name(task)
    if task.score.scale == "skill":
        loss += f",{'' if task.has_classes else ' each'} a share of {SHARED_OF},"
    over = [
        *(["targets"] if len(task.names) > 1 else []),
        *([parts] if parts and task.columns.domain is not None else []),
    ]
    return f"RMS of {loss} over {', '.join(over)}" if over else f"mean {loss.rstrip(',')}"


def figures_of(task: Task) -> dict[str, str]:
    """What a score is explained by -> how its metrics begin, as in `r2_id/TARGET`."""
    return {"accuracy": "accuracy", "macro F1": "macro_f1"} if task.has_classes else {"R2": "r2", "MAE": "mae"}


def figure_words(task: Task) -> str:
    """Of what these figures are told."""
    if not task.has_classes:
        return "R2 by event, MAE by image"
    return f"accuracy and macro F1 by {'image' if task.columns.event is None else 'event'}"
