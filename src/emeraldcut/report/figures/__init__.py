"""Figures: plots of tables, pictures of galaxies, and their common colours."""
