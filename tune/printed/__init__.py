"""What may be printed: commands to copy into a shell, and texts without the secrets in them."""
