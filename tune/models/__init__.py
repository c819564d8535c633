"""Exported models: made from trained tails, found again in folders and in MLflow."""
