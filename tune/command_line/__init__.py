"""The command line: options of every verb, their parsing, and what a value may be."""
