"""Configurations: ``base.py`` states every field, the other files override."""
