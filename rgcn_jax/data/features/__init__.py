"""Appearance features that other programs dumped, converted to the file that ``data.features`` takes."""
