"""Interfaces of the readers that turn batch plans into batches, and the keypoints of a plan."""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.augment import transform_keypoints
from rgcn_jax.data.clips.keypoint_augment import change_keypoints
from rgcn_jax.data.clips.sampling import BatchPlan, clips_of_process
from rgcn_jax.types import Batch, Split, Tracklet


@runtime_checkable
class Reader(Protocol):
    """Turns plans into batches, in their order, reading ahead of the consumer."""

    def __call__(self, plans: Iterable[BatchPlan]) -> Generator[Batch, None, None]:
        """Yield the batches of the plans."""
        ...


@runtime_checkable
class KeypointSource(Protocol):
    """Source of the keypoints of tracklets: walkers, or a table read from files."""

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """x, y (normalised coordinates) and confidence of all frames; (0, 0, 0) where not detected."""
        ...


class ProcessReader:
    """A ``Reader`` of one of several processes, which reads only its clips of each plan
    (``sampling.clips_of_process``).
    """

    def __init__(self, read: Reader, process_index: int, process_count: int):
        self._read = read
        self._mine = partial(clips_of_process, process_index=process_index, process_count=process_count)

    def __call__(self, plans: Iterable[BatchPlan]) -> Generator[Batch, None, None]:
        """Yield the batches of this process. Raises InputError if the clips of a plan cannot be divided equally."""
        return self._read(map(self._mine, plans))


class NoKeypoints:
    """A ``KeypointSource`` without any detections, for appearance-only models."""

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """Zeros."""
        return np.zeros((len(tracklet.frames), 14, 3), np.float32)


@dataclass(frozen=True)
class Data:
    """An opened data set: tracklets, reader of clips, and shape of a clip's frames.

    The shape is height and width in pixels, or the dimension of f_a if it is precomputed (0 without frames).
    """

    split: Split
    read: Reader
    shape: tuple[int, ...]
    read_keypoints: Reader | None = None
    """Reader of keypoints without frames (``read_without_frames``)."""
    keypoints: KeypointSource | None = None
    """All keypoints of a tracklet; None if the model takes none."""
    hashes: Mapping[str, str] = field(default_factory=dict)
    """SHA-256 by name of data read from files: ``keypoints``, ``features``, and ``frames`` (the shards of prepared
    data). Loose frames are not hashed, since all files would have to be read.
    """


def planned_keypoints(plan: BatchPlan, source: KeypointSource) -> Float32[np.ndarray, "b t 14 3"]:
    """Keypoints of a plan's clips, after the keypoint changes and then the crop and flip of the plan."""
    chosen = np.stack([source.of(t)[frames] for t, frames in zip(plan.tracklets, plan.frames, strict=True)])
    if plan.keypoint_changes is not None:
        chosen = change_keypoints(chosen, plan.keypoint_changes)
    return transform_keypoints(chosen, plan.box, plan.flip)


def planned_batch(plan: BatchPlan, frames: np.ndarray, keypoints: Float32[np.ndarray, "b t 14 3"]) -> Batch:
    """The batch of a plan with these frames and keypoints."""
    return Batch(frames=frames, keypoints=keypoints, frame_mask=plan.frame_mask, label=plan.label, index=plan.index)


def read_without_frames(plan: BatchPlan, source: KeypointSource) -> Batch:
    """Read the batch of a plan for a model without an appearance branch: ``frames`` [B, 0]."""
    return planned_batch(plan, np.zeros((len(plan.index), 0), np.float32), planned_keypoints(plan, source))
