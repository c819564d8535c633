"""What configurations cost on a machine: estimated from their shape, and measured by a few steps."""
