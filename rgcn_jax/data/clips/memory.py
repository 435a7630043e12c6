"""Reader of clips in memory, such as the walkers' frames, with NumPy and OpenCV, without TensorFlow."""

import functools
from collections.abc import Callable, Iterable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.clips.ahead import ReadAhead
from rgcn_jax.data.clips.augment import ERASED_RGB
from rgcn_jax.data.clips.reader import planned_batch, planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.types import Batch, Tracklet


class CachedSource:
    """Frames (uint8 RGB at the training size) and keypoints (a ``KeypointSource``) of tracklets as arrays.

    Each tracklet is computed once by the given functions, and cached.
    """

    def __init__(
        self,
        frames: Callable[[Tracklet], UInt8[np.ndarray, "f h w 3"]],
        keypoints: Callable[[Tracklet], Float32[np.ndarray, "f 14 3"]],
    ):
        self.frames, self.of = functools.cache(frames), functools.cache(keypoints)


def show(
    frame: UInt8[np.ndarray, "h w 3"], box: Float32[np.ndarray, "4"], flip: bool, erase: Float32[np.ndarray, "4"]
) -> UInt8[np.ndarray, "h w 3"]:
    """Crop a frame to the box (bilinear, at the frame's size), flip and erase it."""
    height, width = frame.shape[:2]
    if not (box == (0, 0, 1, 1)).all():
        left, top, right, bottom = (float(v) for v in box)
        # At pixel centres, output x + 0.5 corresponds to input (left + (x + 0.5) / width * (right - left)) * width.
        sx, sy = right - left, bottom - top
        matrix = np.array([[sx, 0, left * width + 0.5 * sx - 0.5], [0, sy, top * height + 0.5 * sy - 0.5]], np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        frame = cv2.warpAffine(frame, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    if flip:
        frame = frame[:, ::-1]
    if erase[2] > erase[0]:
        x0, y0, x1, y1 = (round(float(v) * n) for v, n in zip(erase, (width, height, width, height), strict=True))
        frame = frame.copy()
        frame[y0:y1, x0:x1] = ERASED_RGB
    return frame


def read_batch(plan: BatchPlan, source: CachedSource) -> Batch:
    """Read the batch of a plan."""
    clips = []
    for i, (tracklet, positions) in enumerate(zip(plan.tracklets, plan.frames, strict=True)):
        frames = source.frames(tracklet)
        clips.append(np.stack([show(frames[p], plan.box[i], bool(plan.flip[i]), plan.erase[i]) for p in positions]))
    return planned_batch(plan, np.stack(clips), planned_keypoints(plan, source))


class MemoryReader:
    """A ``Reader`` that computes batches from plans by a function, in a thread that is ``ahead`` batches in advance."""

    def __init__(self, read: Callable[[BatchPlan], Batch], ahead: int = 2):
        self._read, self._ahead = read, ahead

    def __call__(self, plans: Iterable[BatchPlan]) -> ReadAhead[Batch]:
        """The batches of the plans, in order."""
        return ReadAhead((self._read(plan) for plan in plans), self._ahead, "memory-reader")
