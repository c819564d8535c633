"""What is tried next, stopped and confirmed: Optuna and ASHA as a function of events, without Ray."""
