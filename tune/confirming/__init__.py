"""The best few and the default on equal folds and seeds: the runs, their plan, and the verdict on them."""
