"""What configurations cost on a machine: reckoned from their shape, and measured by a few steps."""
