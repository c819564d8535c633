"""Exported models: trained on all data, exported, registered, found again in folders and in MLflow."""
