"""What the events of a study add up to: standings, rungs, pace, status, verdict."""
