"""Errors of a simulated pose estimator: self-occlusion, swapped limbs and temporally correlated noise per keypoint."""

import numpy as np
from jaxtyping import Bool, Float32, Float64

from rgcn_jax.skeleton import FLIP_ORDER, midpoint
from rgcn_jax.walkers.camera import View
from rgcn_jax.walkers.gait import POINTS, Motion

HIDDEN_MISSES = np.array([0.9, 0.0, 0.1, 0.3, 0.5, 0.1, 0.3, 0.5, 0.05, 0.15, 0.2, 0.05, 0.15, 0.2])
"""Probability that a self-occluded keypoint is missing, in the order of ``KEYPOINTS``. Estimators infer most hidden
hips and shoulders from the context, but not wrists, nor a nose seen from behind.
"""

NOISE = 0.01 * np.array([0.8, 0.5, 0.7, 1.0, 1.6, 0.7, 1.0, 1.6, 1.0, 0.8, 1.2, 1.0, 0.8, 1.2])
"""Standard deviation in crop heights at ``keypoint_noise`` 1: largest for wrists and ankles, smallest on the torso."""

_GUESS = 3.0  # factor of the noise of a hidden keypoint that is reported
_LASTING = 0.6  # fraction of the variance that is constant in a tracklet
_MEMORY = 0.7  # correlation of the rest between consecutive frames
_SWAP_LENGTH = 3.0  # mean length of a swap, in frames
_ARMS, _LEGS = (2, 3, 4, 5, 6, 7), (8, 9, 10, 11, 12, 13)
_NEAR_LEG = ((8, 9), (9, 10)), ((11, 12), (12, 13))


def hidden_by_body(view: View, motion: Motion) -> Bool[np.ndarray, "f 14"]:
    """Mask of keypoints that the walker's own body hides from the camera.

    The torso is a capsule around the line from neck to pelvis, as wide as the shoulders appear; it hides what is inside
    it and behind it, such as hands behind the back and the far arm. A leg hides parts of the other leg within 0.035
    crop heights of it and behind it. The nose is hidden if the face is turned away by more than 20 degrees beyond the
    profile.
    """
    xy, depth, _ = view.project(motion.points)
    pelvis = POINTS["pelvis"]
    width = np.linalg.norm(xy[:, 2] - xy[:, 5], axis=-1)
    radius = np.maximum(0.45 * width, 0.055)
    hidden = np.zeros((len(xy), 14), bool)
    for i in (*_ARMS, 8, 11):
        hidden[:, i] = _behind(xy, depth, i, 1, pelvis, radius)
    for leg, other in zip(_NEAR_LEG, _NEAR_LEG[::-1], strict=True):
        for i in (leg[0][1], leg[1][1]):
            for start, end in other:
                hidden[:, i] |= _behind(xy, depth, i, start, end, np.full(len(xy), 0.035))
    hidden[:, 0] = motion.head[:, 0] @ view.away > np.sin(np.radians(20.0))
    return hidden


def _behind(xy: np.ndarray, depth: np.ndarray, point: int, start: int, end: int, radius: np.ndarray) -> np.ndarray:
    """Whether a point is within ``radius`` of a line between two others, and at least 3 cm behind it."""
    line = xy[:, end] - xy[:, start]
    along = ((xy[:, point] - xy[:, start]) * line).sum(-1) / np.maximum((line**2).sum(-1), 1e-12)
    along = np.clip(along, 0.0, 1.0)
    apart = np.linalg.norm(xy[:, point] - xy[:, start] - along[:, None] * line, axis=-1)
    return (apart < radius) & (depth[:, point] > (1 - along) * depth[:, start] + along * depth[:, end] + 0.03)


def swapped_frames(rng: np.random.Generator, share: Float64[np.ndarray, "f"]) -> Bool[np.ndarray, "f"]:
    """Runs of frames in which limbs are swapped: a Markov chain with this stationary fraction and a mean run of three
    frames.
    """
    draws = rng.random(len(share) + 1)
    swapped = np.zeros(len(share), bool)
    now = draws[-1] < share[0]
    for t in range(len(share)):
        leave = 1.0 / _SWAP_LENGTH
        enter = leave * share[t] / max(1.0 - share[t], 1e-9)
        now = draws[t] >= leave if now else draws[t] < enter
        swapped[t] = now
    return swapped


def misplace(
    xy: Float64[np.ndarray, "f 14 2"],
    hidden: Bool[np.ndarray, "f 14"],
    yaw_sine: Float64[np.ndarray, "f"],
    rng: np.random.Generator,
    noise: float,
    swaps: float,
) -> Float64[np.ndarray, "f 14 2"]:
    """Positions with swaps and correlated noise, before the noise that all keypoints have.

    Args:
      xy: true positions in crop heights.
      hidden: mask of self-occluded keypoints, whose noise is threefold.
      yaw_sine: sine of the angle between the walker's front and the camera in each frame.
      rng: random generator.
      noise: factor of ``NOISE``; 60 % of the variance is constant in the tracklet, the rest has a correlation of 0.7
        between frames.
      swaps: fraction of frames with swapped arms, and independently legs, in a full side view; in a front or back view
        half.
    """
    share = np.clip(swaps * (0.5 + 0.5 * np.abs(yaw_sine)), 0.0, 0.95)
    out = xy.copy()
    for limbs in (_ARMS, _LEGS):
        swapped = swapped_frames(rng, share)
        order = np.arange(14)
        order[list(limbs)] = np.array(FLIP_ORDER)[list(limbs)]
        out[swapped] = out[swapped][:, order]
    lasting = rng.standard_normal((14, 2))
    passing = rng.standard_normal(out.shape)
    for t in range(1, len(passing)):
        passing[t] = _MEMORY * passing[t - 1] + np.sqrt(1 - _MEMORY**2) * passing[t]
    size = noise * NOISE * np.where(hidden, _GUESS, 1.0)
    return out + size[..., None] * (np.sqrt(_LASTING) * lasting + np.sqrt(1 - _LASTING) * passing)


def with_middle_neck(keypoints: Float32[np.ndarray, "f 14 3"]) -> Float32[np.ndarray, "f 14 3"]:
    """Detections with the neck at the midpoint of the shoulders, missing if either is, as from ``skeleton.to_14``."""
    out = keypoints.copy()
    out[:, 1] = midpoint(keypoints, 2, 5)
    return out
