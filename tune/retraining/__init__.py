"""The confirmed configuration on all data: its recipe, its folder, its training."""
