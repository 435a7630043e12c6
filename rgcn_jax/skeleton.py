"""The 14-keypoint skeleton of the paper (section III-C1, figure 4), its graph, and conversions from other skeletons.

The paper counts nodes from 1; here they count from 0. Its "head" is OpenPose's nose.
"""

from types import MappingProxyType

import numpy as np
from jaxtyping import Float, Float32

KEYPOINTS = (
    "head",
    "neck",
    "right_shoulder",
    "right_elbow",
    "right_wrist",
    "left_shoulder",
    "left_elbow",
    "left_wrist",
    "right_hip",
    "right_knee",
    "right_ankle",
    "left_hip",
    "left_knee",
    "left_ankle",
)

EDGES = ((0, 1), (1, 2), (2, 3), (3, 4), (1, 5), (5, 6), (6, 7), (1, 8), (8, 9), (9, 10), (1, 11), (11, 12), (12, 13))

PARENTS = (1, 1, 1, 2, 3, 1, 5, 6, 1, 8, 9, 1, 11, 12)
"""For each keypoint its neighbour on the way to the neck; the neck's is itself."""

FLIP_ORDER = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10)
"""``keypoints[..., FLIP_ORDER, :]`` swaps left and right: what a mirrored image needs besides the mirrored x."""

# For each of the 14 keypoints its index in the source skeleton; None: the neck, made from both shoulders.
_SOURCES = MappingProxyType(
    {
        "openpose_body25": (25, (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)),
        "openpose_coco18": (18, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)),
        "coco17": (17, (0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15)),
        "blazepose33": (33, (0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27)),
    }
)


def adjacency() -> Float32[np.ndarray, "14 14"]:
    """A: symmetric, binary, zero diagonal, the 13 edges of figure 4."""
    a = np.zeros((14, 14), np.float32)
    for i, j in EDGES:
        a[i, j] = a[j, i] = 1.0
    return a


def normalized_adjacency() -> Float32[np.ndarray, "14 14"]:
    """A_hat = D^-1/2 (A + I) D^-1/2 with D the degree of A + I (the paper's section III-C1, after Kipf and Welling)."""
    a = adjacency().astype(np.float64) + np.eye(14)
    scale = 1.0 / np.sqrt(a.sum(axis=1))
    return (scale[:, None] * a * scale[None, :]).astype(np.float32)


def to_14(keypoints: Float[np.ndarray, "*batch v 3"], source: str) -> Float32[np.ndarray, "*batch 14 3"]:
    """Keypoints of another skeleton as the 14 of this project.

    Args:
      keypoints: x, y and confidence, in any unit; V of the source skeleton. A keypoint whose confidence is not above
        0 counts as not detected.
      source: "openpose_body25", "openpose_coco18", "coco17" (AlphaPose, RTMPose, ViTPose, YOLO-pose) or "blazepose33".

    Returns:
      The 14 keypoints in the order of ``KEYPOINTS``; (0, 0, 0) where not detected. A skeleton without a neck gets the
      midpoint of the shoulders with the lower of their confidences, missing if either shoulder is.

    Raises:
      ValueError: the source is unknown, or V is not the source's.
    """
    if source not in _SOURCES:
        raise ValueError(f"unknown skeleton {source!r}: expected one of {', '.join(_SOURCES)}.")
    size, order = _SOURCES[source]
    if keypoints.shape[-2] != size:
        raise ValueError(
            f"{source} has {size} keypoints, but the array of shape {keypoints.shape} has {keypoints.shape[-2]}."
        )
    detected = np.where(keypoints[..., 2:] > 0, keypoints, 0.0)
    out = np.empty((*keypoints.shape[:-2], 14, 3), np.float32)
    for node, index in enumerate(order):
        if index is not None:
            out[..., node, :] = detected[..., index, :]
            continue
        right, left = detected[..., order[2], :], detected[..., order[5], :]
        neck = (right + left) / 2
        neck[..., 2] = np.minimum(right[..., 2], left[..., 2])
        out[..., node, :] = np.where(neck[..., 2:] > 0, neck, 0.0)
    return out
