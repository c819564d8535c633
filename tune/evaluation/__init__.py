"""Exported models scored on labelled data: numbers, figures, pages."""
