"""Corruptions of test tracklets: missing, noisy and swapped keypoints, occlusion, fewer frames. NumPy only.

Random numbers depend on (seed, corruption, first frame of the tracklet) but not on the level: a higher level removes
all that a lower one does, which reduces the variance along a curve.
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
"""Torso length in crop heights, for a clip in which no torso was detected."""


class Corruption(NamedTuple):
    """A kind of corruption.

    ``levels``: from mild to severe. ``unit``: meaning of a level. ``undisturbed``: the level without effect (None: all
    frames). ``of_frames``: whether it also affects the appearance branch.
    """

    levels: tuple[int | float, ...]
    unit: str
    undisturbed: int | float | None = 0.0
    of_frames: bool = False


CORRUPTIONS = {
    "joint_dropout": Corruption((0.1, 0.2, 0.3, 0.4, 0.5), "probability that a keypoint is missing"),
    "jitter": Corruption((0.01, 0.02, 0.04, 0.08), "standard deviation of a keypoint, in torso lengths"),
    "swaps": Corruption((0.1, 0.25, 0.5), "probability that a frame has left and right swapped"),
    "missing_span": Corruption((0.2, 0.4, 0.6, 0.8), "fraction of consecutive frames without any keypoint"),
    "occlusion": Corruption((0.1, 0.2, 0.3, 0.4, 0.5), "fraction of the crop that is occluded", of_frames=True),
    "fewer_frames": Corruption((20, 10, 5, 2, 1), "frames of a tracklet, from its middle", None, True),
    "frame_rate": Corruption((2, 4, 8), "every n-th frame of a tracklet", 1, True),
}


class Disturbance(NamedTuple):
    """The corruption drawn for a tracklet of F frames.

    ``positions``: remaining frames. The other fields are per frame. ``shift`` is in torso lengths. ``box``: (left, top,
    right, bottom) in normalised coordinates, covered in all frames; nothing if its area is 0.
    """

    positions: Int64[np.ndarray, "k"]
    missed: Bool[np.ndarray, "f 14"]
    shift: Float32[np.ndarray, "f 14 2"]
    swapped: Bool[np.ndarray, "f"]
    box: Float64[np.ndarray, "4"]


def disturb(name: str, level: int | float, tracklet: Tracklet, seed: int) -> Disturbance:
    """Draw the corruption ``CORRUPTIONS[name]`` of one tracklet at a level in its unit."""
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
    """Swap, shift and drop the keypoints of a clip; they are clipped to the crop.

    ``keypoints``: x, y in normalised coordinates, and confidence, 0 where not detected. ``positions``: indices of the
    clip's frames in the tracklet. ``aspect``: width of the crop over its height.
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
    """Fill the pixels of frames [T, H, W, 3] whose centres are in the box with ``ERASED_RGB``."""
    height, width = frames.shape[1:3]
    x, y = (np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height
    inside = ((y >= box[1]) & (y < box[3]))[:, None] & ((x >= box[0]) & (x < box[2]))
    return np.where(inside[..., None], np.array(ERASED_RGB, frames.dtype), frames)


def torso_length(keypoints: Float32[np.ndarray, "t 14 3"], aspect: float) -> float:
    """Median distance from the neck to the midpoint of the hips over frames that show both, in crop heights."""
    shown = keypoints[(keypoints[:, (NECK, *HIPS), 2] > 0).all(axis=1), :, :2]
    if not len(shown):
        return TYPICAL_TORSO
    bones = (shown[:, NECK] - shown[:, HIPS].mean(axis=1)) * (aspect, 1.0)
    return float(np.median(np.linalg.norm(bones, axis=1)))
