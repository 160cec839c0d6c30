"""Figures: plots of tables, pictures of galaxies, and the colours that all of them share."""
