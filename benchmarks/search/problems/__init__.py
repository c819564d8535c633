"""The problems that searches are tried on, each a family of numbered instances."""
