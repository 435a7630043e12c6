"""Which detected keypoints are accepted."""

import numpy as np

from rgcn_jax.pose_detection.worker import accepted


def test_what_counts_as_detected():
    keypoints = np.tile(np.array([5, 5, 0.9], np.float32), (14, 1))
    keypoints[1] = (0, 20, 0.2)  # on the border, just sure enough
    keypoints[2] = (5, 5, 0.19)
    keypoints[3] = (10.1, 5, 0.9)
    keypoints[4] = (5, -0.1, 0.9)
    keypoints[5] = (np.nan, 5, 0.9)
    keypoints[6] = (5, 5, np.nan)
    keypoints[7] = (5, 5, np.inf)
    got = accepted(keypoints, (20, 10), np.float32(0.2).item())
    assert (got[:, 2] > 0).tolist() == [True, True, *[False] * 6, *[True] * 6]
    assert not got[2:8].any()
    keypoints[:, 2] = 0
    assert not accepted(keypoints, (20, 10), 0.0).any()
