"""What a search will take and whether it can work, before it is run."""
