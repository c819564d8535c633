"""What a trial is, in a few words."""

from trainable.plain_values import flattened
from tune.decisions.trial_record import TrialRecord


def trial_label(trial: TrialRecord) -> str:
    """`lora` of that variant, `default again, seed 7` of a rerun of one, `dora r14 N1` of any other trial."""
    if trial.variant is None:
        return _configuration(trial)
    return f"{trial.variant} again, seed {trial.seed}" if trial.is_noise else trial.variant


def _configuration(trial: TrialRecord) -> str:
    """The adapter's kind, its rank, how many blocks train: what tells configurations apart at first sight."""
    flat = flattened(trial.config)
    kind = flat.get("adapter.kind")
    parts = [
        kind,
        f"r{flat['adapter.rank']}" if kind != "full" and "adapter.rank" in flat else None,
        f"N{flat['tail.n_blocks']}" if "tail.n_blocks" in flat else None,
    ]
    return " ".join(str(part) for part in parts if part is not None) or trial.trial_id
