"""Readers of pose detectors' files, the keypoint store and the table of normalised coordinates; see ``formats.py``."""
