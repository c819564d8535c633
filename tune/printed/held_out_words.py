"""Which events score a study's trials, in words."""

from trainable.counts import counted
from trainable.plain_values import JsonObject


def held_out_words(options: JsonObject) -> str:
    """What a study's options say of the events that score its trials: "both, fold 0"."""
    fold, n_folds = options.get("fold"), options.get("search_folds") or 1
    others = f" and the {counted(n_folds - 1, 'fold')} after it" if n_folds > 1 else ""
    return f"{options.get('holdout')}, fold {fold}{others}"
