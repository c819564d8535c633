"""A study, or several side by side, as one HTML page that opens anywhere, also offline."""
