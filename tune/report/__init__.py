"""What a user sees: status, progress, tables, one JSON object."""
