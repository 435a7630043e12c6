"""Readers of keypoint files, the keypoint store and the table of normalised coordinates; see ``formats.py``."""
