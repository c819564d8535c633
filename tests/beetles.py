"""The challenge's targets, said once more for its tests: the built-in task must agree."""

TARGETS = ("SPEI_30d", "SPEI_1y", "SPEI_2y")
LABEL_RANGE = (-2.09, 2.09)
