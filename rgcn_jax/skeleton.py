"""The 14-keypoint skeleton of the paper (section III-C1, figure 4), its graph, and conversion from other skeletons.

Nodes are counted from 0, in the paper from 1. The paper's "head" is OpenPose's nose.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

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
"""Parent of each keypoint in the tree rooted at the neck; the neck is its own parent."""

FLIP_ORDER = (0, 1, 5, 6, 7, 2, 3, 4, 11, 12, 13, 8, 9, 10)
"""``keypoints[..., FLIP_ORDER, :]`` swaps left and right; a mirrored image also needs x mirrored."""

_SHOULDERS, _HIPS = (2, 5), (8, 11)  # right and left


class _Source(NamedTuple):
    """A skeleton of V keypoints. ``order``: for each of the 14, its index, or the two whose midpoint it is."""

    size: int
    order: tuple[int | tuple[int, int], ...]


_COCO17 = (0, (6, 5), 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15)
_HALPE = (0, 18, *_COCO17[2:])

_SOURCES = MappingProxyType(
    {
        "openpose_body25": _Source(25, (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)),
        "openpose_coco18": _Source(18, (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13)),
        "coco17": _Source(17, _COCO17),
        "blazepose33": _Source(33, (0, (12, 11), 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27)),
        "halpe26": _Source(26, _HALPE),
        "halpe136": _Source(136, _HALPE),
        "coco_wholebody133": _Source(133, _COCO17),
        "posetrack17": _Source(17, _COCO17),
        "openpose_body25b": _Source(25, (0, 17, *_COCO17[2:])),
        "openpose_mpi15": _Source(15, ((0, 1), *range(1, 14))),
        "mpii16": _Source(16, ((9, 8), 7, 12, 11, 10, 13, 14, 15, 2, 1, 0, 3, 4, 5)),
        "h36m17": _Source(17, (9, 8, 14, 15, 16, 11, 12, 13, 1, 2, 3, 4, 5, 6)),
        "crowdpose14": _Source(14, ((12, 13), 13, 1, 3, 5, 0, 2, 4, 7, 9, 11, 6, 8, 10)),
        "aic14": _Source(14, ((12, 13), 13, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11)),
        "lsp14": _Source(14, ((13, 12), 12, 8, 7, 6, 9, 10, 11, 2, 1, 0, 3, 4, 5)),
        "rgcn_jax14": _Source(14, tuple(range(14))),
    }
)

SKELETONS: Mapping[str, int] = MappingProxyType({name: source.size for name, source in _SOURCES.items()})
"""Skeletons that ``to_14`` converts: name -> number of keypoints."""


def adjacency() -> Float32[np.ndarray, "14 14"]:
    """Adjacency matrix A of the 13 edges of figure 4: symmetric, binary, zero diagonal."""
    a = np.zeros((14, 14), np.float32)
    for i, j in EDGES:
        a[i, j] = a[j, i] = 1.0
    return a


def normalized_adjacency() -> Float32[np.ndarray, "14 14"]:
    """A_hat = D^-1/2 (A + I) D^-1/2, where D is the degree matrix of A + I (section III-C1, after Kipf and Welling)."""
    a = adjacency().astype(np.float64) + np.eye(14)
    scale = 1.0 / np.sqrt(a.sum(axis=1))
    return (scale[:, None] * a * scale[None, :]).astype(np.float32)


def detected(keypoints: Float[np.ndarray, "*batch 3"]) -> Bool[np.ndarray, "*batch"]:
    """Mask of detected keypoints (x, y, confidence): confidence above 0, and not exactly at (0, 0).

    Both conditions are needed: below its threshold Ultralytics zeroes the coordinates but keeps the confidence.
    """
    return (keypoints[..., 2] > 0) & ((keypoints[..., 0] != 0) | (keypoints[..., 1] != 0))


def to_14(keypoints: Float[np.ndarray, "*batch v 3"], source: str) -> Float32[np.ndarray, "*batch 14 3"]:
    """Convert keypoints of another skeleton to the 14 keypoints.

    Args:
      keypoints: x, y and confidence, in any unit; V is that of the source skeleton. Keypoints that are not ``detected``
        are ignored.
      source: one of ``SKELETONS``: "openpose_body25", "openpose_coco18", "coco17" (AlphaPose, RTMPose, ViTPose,
        YOLO-pose), "blazepose33", "halpe26", "h36m17", "mpii16", ...

    Returns:
      The 14 keypoints in the order of ``KEYPOINTS``; (0, 0, 0) where not detected. A skeleton without a neck gets the
      midpoint of the shoulders, one without a nose the midpoint of neck and top of the head. A midpoint has the lower
      confidence of its two ends and is missing if either is. Halpe's neck is used unless it is far from the shoulders
      (``_without_stray_necks``).

    Raises:
      ValueError: the source is unknown, or V is not that of the source.
    """
    if source not in _SOURCES:
        raise ValueError(f"unknown skeleton {source!r}: expected one of {', '.join(_SOURCES)}.")
    size, order = _SOURCES[source]
    if keypoints.shape[-2] != size:
        raise ValueError(
            f"{source} has {size} keypoints, but the array of shape {keypoints.shape} has {keypoints.shape[-2]}."
        )
    found = np.where(detected(keypoints)[..., None], keypoints, 0.0)
    out = np.empty((*keypoints.shape[:-2], 14, 3), np.float32)
    for node, index in enumerate(order):
        out[..., node, :] = found[..., index, :] if isinstance(index, int) else midpoint(found, *index)
    return _without_stray_necks(out) if order is _HALPE else out


def in_crops(
    keypoints: Float[np.ndarray, "t 14 3"], aspect: float = 0.5, margin: float = 1.25
) -> Float32[np.ndarray, "t 14 3"]:
    """Normalise keypoints given in pixels of a whole frame: x and y as fractions of an estimated person crop.

    The crop approximates a person detector's: centred on the detected keypoints of each frame, with ``margin`` times
    their vertical extent as its height. The log-height is a least-squares line over the frames, so that a missing ankle
    does not shrink a crop, and a person who approaches the camera keeps the same size in the crop.

    Args:
      keypoints: x and y in pixels, and confidence. Keypoints that are not ``detected`` are (0, 0, 0) in the result.
      aspect: width of a crop over its height, as the model expects it (``config.aspect``).
      margin: height of a crop over the vertical extent of the keypoints.

    Raises:
      ValueError: no frame has two keypoints at different heights.
    """
    seen = detected(keypoints)
    low, high = (np.where(seen[..., None], keypoints[..., :2], empty) for empty in (np.inf, -np.inf))
    low, high = low.min(axis=1), high.max(axis=1)
    any_detected = np.asarray(seen.any(axis=1))
    middle = np.where(any_detected[:, None], low, 0.0) / 2 + np.where(any_detected[:, None], high, 0.0) / 2
    extent = np.where(any_detected, high[:, 1], 0.0) - np.where(any_detected, low[:, 1], 0.0)
    there = np.flatnonzero(extent > 0)
    if not len(there):
        raise ValueError("expected at least one frame with two keypoints at different heights, found none.")
    line = np.polynomial.Polynomial.fit(there, np.log(extent[there]), min(1, len(there) - 1), domain=[])
    height = margin * np.exp(line(np.arange(len(keypoints))))
    size = height[:, None] * [aspect, 1.0]
    corner = middle - size / 2
    share = (keypoints[..., :2] - corner[:, None]) / size[:, None]
    return np.where(seen[..., None], np.concatenate([share, keypoints[..., 2:]], -1), 0.0).astype(np.float32)


def midpoint(keypoints: Float[np.ndarray, "*batch v 3"], first: int, second: int) -> Float[np.ndarray, "*batch 3"]:
    """The midpoint of two keypoints, missing if either is."""
    a, b = keypoints[..., first, :], keypoints[..., second, :]
    middle = (a + b) / 2
    middle[..., 2] = np.minimum(a[..., 2], b[..., 2])
    return np.where(middle[..., 2:] > 0, middle, 0.0)


def _without_stray_necks(bodies: Float32[np.ndarray, "*batch 14 3"]) -> Float32[np.ndarray, "*batch 14 3"]:
    """Replace a neck that is farther than half the torso length from the midpoint of the shoulders by that midpoint.

    The torso length is the longest of: midpoint of the shoulders to midpoint of the hips, the same to the head, and the
    distance between the shoulders, as far as these were detected. A missing neck or shoulder changes nothing.
    """
    middle, hips = midpoint(bodies, *_SHOULDERS), midpoint(bodies, *_HIPS)
    right, left = (bodies[..., i, :] for i in _SHOULDERS)
    lengths = [_distance(middle, hips), _distance(middle, bodies[..., 0, :]), _distance(right, left)]
    stray = _distance(middle, bodies[..., 1, :]) > np.maximum.reduce(lengths) / 2
    out = bodies.copy()
    out[..., 1, :] = np.where(stray[..., None], middle, bodies[..., 1, :])
    return out


def _distance(a: Float[np.ndarray, "*batch 3"], b: Float[np.ndarray, "*batch 3"]) -> Float[np.ndarray, "*batch"]:
    """Distance between two keypoints; 0 if either was not detected."""
    there = (a[..., 2] > 0) & (b[..., 2] > 0)
    return np.where(there, np.linalg.norm(a[..., :2] - b[..., :2], axis=-1), 0.0)
