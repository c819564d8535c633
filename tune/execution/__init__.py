"""Trials and confirmations on an executor: the conductor between decisions and Ray Tune, or this process."""
