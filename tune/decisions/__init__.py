"""What is tried next and stopped, and the state of every trial: Optuna and ASHA as a function of the journal."""
