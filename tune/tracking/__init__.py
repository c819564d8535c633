"""MLflow as a projection of journals."""
