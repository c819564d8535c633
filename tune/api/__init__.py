"""The command line's verbs for a Python program or a notebook."""
