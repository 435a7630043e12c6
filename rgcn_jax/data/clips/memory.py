"""Reader of clips in memory, such as the walkers' frames, with NumPy and OpenCV, without TensorFlow."""

from collections.abc import Callable, Iterable
from typing import Protocol, runtime_checkable

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.clips.ahead import ReadAhead
from rgcn_jax.data.clips.augment import ERASED_RGB
from rgcn_jax.data.clips.reader import planned_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.types import Batch, Tracklet


@runtime_checkable
class ArraySource(Protocol):
    """Frames and keypoints of tracklets as arrays; ``frames`` are uint8 RGB at the training size."""

    def frames(self, tracklet: Tracklet) -> UInt8[np.ndarray, "f h w 3"]:
        """All frames of a tracklet."""
        ...

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """All keypoints of a tracklet, see ``KeypointSource``."""
        ...


class CachedSource:
    """An ``ArraySource`` that computes each tracklet once by the given functions, and caches it."""

    def __init__(
        self,
        frames: Callable[[Tracklet], UInt8[np.ndarray, "f h w 3"]],
        keypoints: Callable[[Tracklet], Float32[np.ndarray, "f 14 3"]],
    ):
        self._compute_frames, self._compute_keypoints = frames, keypoints
        self._frames: dict[Tracklet, np.ndarray] = {}
        self._keypoints: dict[Tracklet, np.ndarray] = {}

    def frames(self, tracklet: Tracklet) -> UInt8[np.ndarray, "f h w 3"]:
        """All frames of a tracklet."""
        if tracklet not in self._frames:
            self._frames[tracklet] = self._compute_frames(tracklet)
        return self._frames[tracklet]

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """All keypoints of a tracklet."""
        if tracklet not in self._keypoints:
            self._keypoints[tracklet] = self._compute_keypoints(tracklet)
        return self._keypoints[tracklet]


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


def read_batch(plan: BatchPlan, source: ArraySource) -> Batch:
    """Read the batch of a plan."""
    clips = []
    for i, (tracklet, positions) in enumerate(zip(plan.tracklets, plan.frames, strict=True)):
        frames = source.frames(tracklet)
        clips.append(np.stack([show(frames[p], plan.box[i], bool(plan.flip[i]), plan.erase[i]) for p in positions]))
    return Batch(
        frames=np.stack(clips),
        keypoints=planned_keypoints(plan, source),
        frame_mask=plan.frame_mask,
        label=plan.label,
        index=plan.index,
    )


class MemoryReader:
    """A ``Reader`` that computes batches from plans by a function, in a thread that is ``ahead`` batches in advance."""

    def __init__(self, read: Callable[[BatchPlan], Batch], ahead: int = 2):
        self._read, self._ahead = read, ahead

    def __call__(self, plans: Iterable[BatchPlan]) -> ReadAhead[Batch]:
        """The batches of the plans, in order."""
        return ReadAhead((self._read(plan) for plan in plans), self._ahead, "memory-reader")
