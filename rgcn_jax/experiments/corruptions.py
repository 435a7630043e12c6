"""Corruptions of test tracklets: missed, noisy, swapped and hidden keypoints, occlusion, fewer frames. NumPy alone.

Every draw is a function of (seed, corruption, first frame of the tracklet) and not of the level: what a low level takes
away, a higher one takes away too, so a curve over the levels is not blurred by other draws.
"""

import zlib
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int64

from rgcn_jax.data.clips.augment import ERASED_RGB
from rgcn_jax.skeleton import FLIP_ORDER
from rgcn_jax.types import Tracklet

NECK, HIPS = 1, (8, 11)

TYPICAL_TORSO = 0.3
"""Torso in crop heights where a clip shows none."""


class Corruption(NamedTuple):
    """A kind of corruption. ``levels``: from mild to severe; ``unit``: what a level is; ``undisturbed``: the level that
    changes nothing (None: all frames); ``of_frames``: whether the appearance branch sees it too.
    """

    levels: tuple[int | float, ...]
    unit: str
    undisturbed: int | float | None = 0.0
    of_frames: bool = False


CORRUPTIONS = {
    "joint_dropout": Corruption((0.1, 0.2, 0.3, 0.4, 0.5), "probability that a keypoint is missed"),
    "jitter": Corruption((0.01, 0.02, 0.04, 0.08), "standard deviation of a keypoint, in torso lengths"),
    "swaps": Corruption((0.1, 0.25, 0.5), "probability that a frame has left and right swapped"),
    "missing_span": Corruption((0.2, 0.4, 0.6, 0.8), "share of consecutive frames without any keypoint"),
    "occlusion": Corruption((0.1, 0.2, 0.3, 0.4, 0.5), "share of the crop that is covered", of_frames=True),
    "fewer_frames": Corruption((20, 10, 5, 2, 1), "frames of a tracklet, from its middle", None, True),
    "frame_rate": Corruption((2, 4, 8), "every n-th frame of a tracklet", 1, True),
}


class Disturbance(NamedTuple):
    """What happens to a tracklet of F frames. ``positions``: the frames that are left; the others are by frame, of
    which ``shift`` is in torso lengths and ``box`` (left, top, right, bottom in normalised coordinates; of no area:
    nothing) covers all frames.
    """

    positions: Int64[np.ndarray, "k"]
    missed: Bool[np.ndarray, "f 14"]
    shift: Float32[np.ndarray, "f 14 2"]
    swapped: Bool[np.ndarray, "f"]
    box: Float64[np.ndarray, "4"]


def disturb(name: str, level: int | float, tracklet: Tracklet, seed: int) -> Disturbance:
    """Draws a corruption of one tracklet.

    Args:
      name: a key of ``CORRUPTIONS``.
      level: in the unit of the corruption.
      tracklet: its number of frames, and the name of the first, are used.
      seed: of the draws.
    """
    frames = len(tracklet.frames)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode()), zlib.crc32(tracklet.frames[0].encode())])
    positions = np.arange(frames)
    missed, swapped = np.zeros((frames, 14), bool), np.zeros(frames, bool)
    shift, box = np.zeros((frames, 14, 2), np.float32), np.zeros(4)
    match name:
        case "joint_dropout":
            missed = rng.random((frames, 14)) < level
        case "jitter":
            shift = (level * rng.standard_normal((frames, 14, 2))).astype(np.float32)
        case "swaps":
            swapped = rng.random(frames) < level
        case "missing_span":
            length = round(level * frames)
            start = int(rng.random() * (frames - length + 1))
            missed[start : start + length] = True
        case "occlusion":
            side = level**0.5
            corner = rng.random(2) * (1 - side)
            box = np.concatenate([corner, corner + side])
        case "fewer_frames":
            count = min(int(level), frames)
            positions = positions[(frames - count) // 2 :][:count]
        case "frame_rate":
            positions = positions[:: int(level)]
        case _:
            raise ValueError(f"unknown corruption {name!r}: expected one of {', '.join(CORRUPTIONS)}")
    return Disturbance(positions, missed, shift, swapped, box)


def disturbed_keypoints(
    keypoints: Float32[np.ndarray, "t 14 3"], found: Disturbance, positions: np.ndarray, aspect: float
) -> Float32[np.ndarray, "t 14 3"]:
    """The keypoints of a clip after swapping, shifting and missing; positions stay within the crop.

    Args:
      keypoints: x, y in normalised coordinates, and confidence, 0 where not detected.
      found: of the tracklet.
      positions: of the clip's frames in the tracklet.
      aspect: width of the crop over its height.
    """
    swapped = found.swapped[positions]
    result = np.where(swapped[:, None, None], keypoints[:, FLIP_ORDER], keypoints)
    detected = result[..., 2] > 0
    scale = torso_length(keypoints, aspect) / np.array([aspect, 1.0], np.float32)
    result[..., :2] = np.clip(result[..., :2] + found.shift[positions] * scale, 0, 1)
    left, top, right, bottom = found.box
    x, y = result[..., 0], result[..., 1]
    covered = (x >= left) & (x < right) & (y >= top) & (y < bottom)
    kept = detected & ~found.missed[positions] & ~covered
    return np.where(kept[..., None], result, np.float32(0)).astype(np.float32)


def occluded_frames(frames: np.ndarray, box: Float64[np.ndarray, "4"]) -> np.ndarray:
    """Frames [T, H, W, 3] of which the pixels whose centres lie in the box are painted with ``ERASED_RGB``."""
    height, width = frames.shape[1:3]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    inside = ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))
    return np.where(inside[..., None], np.array(ERASED_RGB, frames.dtype), frames)


def torso_length(keypoints: Float32[np.ndarray, "t 14 3"], aspect: float) -> float:
    """Median distance from the neck to the middle of the hips over the frames that show them, in crop heights."""
    shown = keypoints[(keypoints[:, (NECK, *HIPS), 2] > 0).all(axis=1), :, :2]
    if not len(shown):
        return TYPICAL_TORSO
    bones = (shown[:, NECK] - shown[:, HIPS].mean(axis=1)) * (aspect, 1.0)
    return float(np.median(np.linalg.norm(bones, axis=1)))
