"""What pose detectors write, read into the 14 keypoints of each frame. ``formats.py`` lists all of it and chooses."""
