"""Conversion of appearance features of other programs to the file format of ``data.features``."""
