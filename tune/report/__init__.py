"""What a user sees: progress, tables, one JSON object."""
