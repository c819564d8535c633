"""The best few and the default on equal folds and seeds, and the verdict on them."""
