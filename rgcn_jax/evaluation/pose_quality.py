"""Pose quality of tracklets: fraction of keypoints detected, and their mean confidence."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from rgcn_jax.types import Tracklet


class PoseQuality(NamedTuple):
    """Pose quality of N tracklets.

    ``share``: fraction of the 14 keypoints of all frames that were detected, in [0, 1]. ``confidence``: their mean
    confidence, 0 if there are none. Both are NaN if unknown.
    """

    share: Float32[np.ndarray, "n"]
    confidence: Float32[np.ndarray, "n"]


def pose_quality(
    keypoints_of: Callable[[Tracklet], Float32[np.ndarray, "f 14 3"]], tracklets: Sequence[Tracklet]
) -> PoseQuality:
    """Measure the quality of each tracklet's keypoints.

    ``keypoints_of`` returns x, y and confidence in all frames of a tracklet; (0, 0, 0) where not detected.
    """
    found = np.zeros((2, len(tracklets)), np.float32)
    for i, tracklet in enumerate(tracklets):
        confidence = keypoints_of(tracklet)[..., 2]
        detected = confidence > 0
        found[:, i] = detected.mean(), confidence[detected].mean() if detected.any() else 0
    return PoseQuality(*found)
