"""The metric that all are told apart by: trials, models, floors."""

SCORE = "score/all"
"""Of all held-out events, lower is better; what a search minimises."""

SCORES = "score/"
"""How the names of the score and of its parts begin."""
