"""Simulated pose estimator: noisy detections with missing and occluded keypoints."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64

_NOISE = 0.010  # standard deviation in crop heights
_OUTLIERS = 0.05  # fraction of joints with three times the noise
MISSES = 0.03
"""Fraction of keypoints that are missing at random."""
JUNK_MISSES = 0.5
"""The same for a junk tracklet."""
_FAR_MISSES = 0.25  # in a full side view, for far elbow, wrist, knee and ankle; a third for shoulder and hip
_BURSTS = 0.25  # fraction of tracklets with an occluder
_KINDS = ("pole", "car", "bush")

_RIGHT = np.isin(np.arange(14), [2, 3, 4, 8, 9, 10])
_LEFT = np.isin(np.arange(14), [5, 6, 7, 11, 12, 13])
_WEIGHT = np.array([0, 0] + [1 / 3, 1, 1] * 4)  # of a keypoint on the far side


@dataclass(frozen=True)
class Occluder:
    """An object between camera and walker during ``frames``. ``box``: left, top, right, bottom edges in crop heights.

    A "pole" or "car" covers its box, a "bush" the ellipse in it. In other frames the box is empty (all zero).
    """

    kind: str
    box: Float64[np.ndarray, "f 4"]

    def covers(self, xy: Float64[np.ndarray, "f n 2"]) -> Bool[np.ndarray, "f n"]:
        """Mask of the points (in crop heights) that are occluded."""
        low, high = self.box[:, None, :2], self.box[:, None, 2:]
        if self.kind == "bush":
            half = np.maximum((high - low) / 2, 1e-9)
            return (((xy - (low + high) / 2) / half) ** 2).sum(-1) < 1.0
        return np.all((xy > low) & (xy < high), axis=-1)


def draw_occluder(rng: np.random.Generator, frames: int) -> Occluder | None:
    """Draw an occluder for a quarter of the tracklets: an object that crosses the crop for 5 to 14 frames."""
    if rng.random() >= _BURSTS:
        return None
    kind = _KINDS[rng.integers(len(_KINDS))]
    length = min(frames, int(rng.integers(5, 15)))
    start = int(rng.integers(0, frames - length + 1))
    width, top, bottom = {
        "pole": (rng.uniform(0.14, 0.24), -0.1, 1.1),
        "car": (rng.uniform(0.6, 0.9), rng.uniform(0.5, 0.68), 1.1),
        "bush": (rng.uniform(0.4, 0.6), rng.uniform(0.4, 0.6), rng.uniform(1.1, 1.3)),
    }[kind]
    centre = 0.25 + rng.choice((-1.0, 1.0)) * np.linspace(-1, 1, length) * (0.2 + 0.35 * width)
    box = np.zeros((frames, 4))
    box[start : start + length] = np.stack(
        [centre - width / 2, np.full(length, top), centre + width / 2, np.full(length, bottom)], axis=-1
    )
    return Occluder(kind, box)


def detect(
    xy: Float64[np.ndarray, "f 14 2"],
    yaw_sine: float | Float64[np.ndarray, "f"],
    occluder: Occluder | None,
    rng: np.random.Generator,
    misses: float | Float64[np.ndarray, "f 14"] = MISSES,
) -> Float32[np.ndarray, "f 14 3"]:
    """Simulate detections of the 14 keypoints.

    Args:
      xy: true positions in crop heights from the top left corner.
      yaw_sine: sine of the angle between the walker's front and the camera, positive if the left side is nearer; one
        per tracklet or per frame.
      occluder: object that occludes keypoints.
      rng: random generator.
      misses: fraction of keypoints missing in any view; for all, or for each.

    Returns:
      x and y in normalised coordinates and a confidence in (0, 1]; (0, 0, 0) where occluded, outside of the crop, or
        missed.
    """
    shape = xy.shape[:2]
    spread = np.where(rng.random(shape) < _OUTLIERS, 3.0, 1.0)
    error = rng.standard_normal(xy.shape) * _NOISE * spread[..., None]
    found = xy + error
    sine = np.broadcast_to(yaw_sine, shape[:1])[:, None]
    far = np.where(sine > 0, _RIGHT, _LEFT)
    missed = np.full(shape, misses)
    missed += np.where(far, _FAR_MISSES * np.abs(sine) * _WEIGHT, 0.0)
    detected = rng.random(shape) >= missed
    if occluder is not None:
        detected &= ~occluder.covers(xy)
    share = found * np.array([2.0, 1.0])
    detected &= ((share > 0) & (share < 1)).all(-1)
    # Confidence is lower for large errors and on the far side.
    doubt = np.linalg.norm(error, axis=-1) / 0.06 + 0.25 * rng.random(shape)
    doubt += np.where(far, 0.3 * np.abs(sine) * _WEIGHT, 0.0)
    confidence = np.clip(0.97 - doubt, 0.05, 1.0)
    return np.where(detected[..., None], np.concatenate([share, confidence[..., None]], -1), 0.0).astype(np.float32)
