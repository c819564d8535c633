"""Commands beside those that a job names as files: one a file."""
