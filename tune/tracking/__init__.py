"""MLflow as a projection of journals, and the model registry: every call of MLflow."""
