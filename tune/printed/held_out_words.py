"""Which events score a study's trials, in words."""

from trainable.counts import counted
from trainable.plain_values import JsonObject


def held_out_words(options: JsonObject) -> str:
    """What a study's options say of the events that score its trials: "both, fold 0", "both, 2 folds from 0 on"."""
    fold, n_folds = options.get("fold"), options.get("search_folds") or 1
    which = f"fold {fold}" if n_folds == 1 else f"{counted(n_folds, 'fold')} from {fold} on"
    return f"{options.get('holdout')}, {which}"
