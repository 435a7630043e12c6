"""Sampling of tracklets and frames for batches: pure functions of (seed, step) and the lengths of tracklets.

A ``BatchPlan`` defines everything in a batch but the pixels; the readers (``memory``, ``pipeline``) convert plans to
batches in the same order. Plans do not depend on earlier ones, so a run can start at any step, with any number of
workers, and gets the same data.
"""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32, Int32

from rgcn_jax.data.clips.augment import Augmentation, draw, no_transform
from rgcn_jax.data.clips.keypoint_augment import KeypointChanges, draw_changes
from rgcn_jax.errors import InputError
from rgcn_jax.types import Tracklet

# Each kind of draw has its own random stream, so that adding draws to one does not change another.
_IDENTITIES, _CLIPS, _KEYPOINTS = range(3)


class BatchPlan(NamedTuple):
    """A batch of B clips of T frames before its pixels are read."""

    tracklets: tuple[Tracklet, ...]
    """Tracklet of each clip; a clip with ``index`` -1 repeats a tracklet and is ignored."""
    frames: Int32[np.ndarray, "b t"]
    """Indices in the tracklet's ``frames``."""
    frame_mask: Bool[np.ndarray, "b t"]
    label: Int32[np.ndarray, "b"]
    index: Int32[np.ndarray, "b"]  # pyright: ignore[reportIncompatibleMethodOverride]  # hides tuple.index intentionally
    box: Float32[np.ndarray, "b 4"]
    """Crop of the frame: left, top, right, bottom in normalised coordinates of the frame."""
    flip: Bool[np.ndarray, "b"]
    """Whether to mirror left and right, after cropping."""
    erase: Float32[np.ndarray, "b 4"]
    """Erased rectangle, in normalised coordinates of the crop; none if its area is 0."""
    keypoint_changes: KeypointChanges | None = None
    """Changes of the keypoints only, before crop and flip; None: no changes."""


class IdentitySampler:
    """P x K sampling: each batch has P distinct identities with K clips each (section IV-A: 8 and 4).

    An epoch is one pass over the identities in random order; the last ones that do not fill a batch are skipped until
    the next epoch, which has a new order. For a person with at least K tracklets, K different ones are sampled; for
    others, tracklets are repeated only after each was sampled (their clips still differ in frames).

    ``crop_aspect``: width of a crop over its height, for the jitter of keypoints.

    Raises:
      InputError: there are fewer than P identities.
    """

    def __init__(
        self,
        tracklets: Sequence[Tracklet],
        *,
        identities: int,
        clips_per_identity: int,
        frames_per_clip: int,
        max_frame_stride: int,
        augmentation: Augmentation,
        seed: int,
        crop_aspect: float = 0.5,
    ):
        self.tracklets = tuple(tracklets)
        self.person_ids = tuple(sorted({t.person_id for t in tracklets}))
        if len(self.person_ids) < identities:
            raise InputError(
                f"batch.identities is {identities}, but the training set has {len(self.person_ids)} identities: "
                f"set batch.identities to at most {len(self.person_ids)}."
            )
        of_person: dict[int, list[int]] = {pid: [] for pid in self.person_ids}
        for i, tracklet in enumerate(self.tracklets):
            of_person[tracklet.person_id].append(i)
        self._of_person = list(of_person.values())
        self._identities, self._clips, self._length = identities, clips_per_identity, frames_per_clip
        self._max_stride, self._augmentation, self._seed = max_frame_stride, augmentation, seed
        self._crop_aspect = crop_aspect

    @property
    def steps_per_epoch(self) -> int:
        """Number of batches in a pass over the identities: floor(identities / P)."""
        return len(self.person_ids) // self._identities

    def plan(self, step: int) -> BatchPlan:
        """The plan of a step (counted from 0): a pure function of (seed, step)."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = np.random.default_rng([self._seed, _IDENTITIES, epoch]).permutation(len(self.person_ids))
        labels = order[position * self._identities : (position + 1) * self._identities]
        rng = np.random.default_rng([self._seed, _CLIPS, step])
        index = np.concatenate([choose_tracklets(rng, self._of_person[label], self._clips) for label in labels])
        clips = [training_clip(rng, len(self.tracklets[i].frames), self._length, self._max_stride) for i in index]
        box, flip, erase = draw(rng, len(index), self._augmentation)
        frame_mask = np.stack([mask for _, mask in clips])
        changes, keypoints = None, self._augmentation.keypoints
        if any(keypoints.probabilities):
            rng = np.random.default_rng([self._seed, _KEYPOINTS, step])
            changes = draw_changes(rng, frame_mask, keypoints, self._crop_aspect)
        return BatchPlan(
            tracklets=tuple(self.tracklets[i] for i in index),
            frames=np.stack([frames for frames, _ in clips]),
            frame_mask=frame_mask,
            label=np.repeat(labels, self._clips).astype(np.int32),
            index=index.astype(np.int32),
            box=box,
            flip=flip,
            erase=erase,
            keypoint_changes=changes,
        )

    def plans(self, first_step: int, last_step: int) -> Iterator[BatchPlan]:
        """Yield the plans of the steps first_step, ..., last_step - 1."""
        return (self.plan(step) for step in range(first_step, last_step))


def clips_of_process(plan: BatchPlan, process_index: int, process_count: int) -> BatchPlan:
    """The clips of a plan that one of several processes reads: consecutive and equally many for each.

    Raises:
      InputError: the clips cannot be divided equally.
    """
    clips, rest = divmod(len(plan.tracklets), process_count)
    if rest:
        raise InputError(
            f"a batch of {len(plan.tracklets)} clips cannot be divided equally among {process_count} processes: change "
            "batch.identities and batch.clips_per_identity, or evaluation.clips_per_batch."
        )
    mine = slice(process_index * clips, (process_index + 1) * clips)
    return BatchPlan._make(None if field is None else field[mine] for field in plan)


def choose_tracklets(rng: np.random.Generator, candidates: Sequence[int], count: int) -> Int32[np.ndarray, "k"]:
    """Sample ``count`` candidates in random order; none is repeated before all were sampled once."""
    rounds = [rng.permutation(candidates) for _ in range(-(-count // len(candidates)))]
    return np.concatenate(rounds)[:count].astype(np.int32)


def _padded(frames: np.ndarray, length: int) -> tuple[Int32[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
    """Pad a clip to ``length`` by repeating its last frame, and mask the repeats."""
    missing = length - len(frames)
    mask = np.arange(length) < len(frames)
    return np.concatenate([frames, np.repeat(frames[-1:], missing)]).astype(np.int32), mask


def training_clip(
    rng: np.random.Generator, num_frames: int, length: int, max_stride: int
) -> tuple[Int32[np.ndarray, "t"], Bool[np.ndarray, "t"]]:
    """T frames with random start and stride, and their mask.

    The stride is uniform over 1, ..., the smaller of ``max_stride`` and the largest that fits; the start is uniform
    over what then fits. A tracklet shorter than T is padded by its last frame, masked.
    """
    if num_frames < length:
        return _padded(np.arange(num_frames), length)
    fits = (num_frames - 1) // (length - 1) if length > 1 else 1
    stride = int(rng.integers(1, min(fits, max_stride) + 1))
    start = int(rng.integers(0, num_frames - (length - 1) * stride))
    return _padded(start + stride * np.arange(length), length)


def dense_clips(num_frames: int, length: int) -> list[tuple[Int32[np.ndarray, "t"], Bool[np.ndarray, "t"]]]:
    """Divide all frames into consecutive clips of T; the last is padded by its last frame, masked."""
    frames = np.arange(num_frames)
    return [_padded(frames[start : start + length], length) for start in range(0, num_frames, length)]


def even_clips(num_frames: int, length: int) -> list[tuple[Int32[np.ndarray, "t"], Bool[np.ndarray, "t"]]]:
    """One clip of T evenly spaced frames from first to last; if there are fewer than T, all frames, padded."""
    if num_frames < length:
        return [_padded(np.arange(num_frames), length)]
    return [_padded(np.round(np.linspace(0, num_frames - 1, length)), length)]


def interleaved_clips(num_frames: int, length: int) -> list[tuple[Int32[np.ndarray, "t"], Bool[np.ndarray, "t"]]]:
    """Divide all frames into s = ceil(F / T) clips that span the tracklet: clip k has the frames k, k + s, k + 2 s, ...

    A clip with fewer than T frames is padded by its last frame, masked.
    """
    clips = -(-num_frames // length)
    return [_padded(np.arange(first, num_frames, clips), length) for first in range(clips)]


EVALUATION_CLIPS = {"dense": dense_clips, "even": even_clips, "interleaved": interleaved_clips, "full": dense_clips}
"""Functions by ``evaluation.clips``. "full" applies to the pose only (``whole_plans``); the appearance is as "dense".
"""


def whole_length(longest: int, length: int) -> int:
    """Padded length of a batch of whole tracklets: T times the smallest power of two that holds the longest.

    At most 1 + log2(F / T) shapes are compiled for tracklets of up to F frames.
    """
    while length < longest:
        length *= 2
    return length


def whole_plans(tracklets: Sequence[Tracklet], *, frames_per_clip: int, clips_per_batch: int) -> Iterator[BatchPlan]:
    """Yield every tracklet as one clip of all its frames, in order, in equal batches padded to ``whole_length``."""
    for start in range(0, len(tracklets), clips_per_batch):
        lengths = [len(tracklet.frames) for tracklet in tracklets[start : start + clips_per_batch]]
        padded = whole_length(max(lengths), frames_per_clip)
        rows = [(start + i, *_padded(np.arange(length), padded)) for i, length in enumerate(lengths)]
        yield _evaluation_plan(tracklets, rows, clips_per_batch)


def evaluation_plans(
    tracklets: Sequence[Tracklet], *, clips: str, frames_per_clip: int, clips_per_batch: int
) -> Iterator[BatchPlan]:
    """Yield every clip of every tracklet once, in order, in equal batches; the last is padded (``index`` -1).

    Labels are -1, so that they cannot leak into the model.
    """
    cut = EVALUATION_CLIPS[clips]
    every = ((i, *clip) for i, t in enumerate(tracklets) for clip in cut(len(t.frames), frames_per_clip))
    while rows := list(islice(every, clips_per_batch)):
        yield _evaluation_plan(tracklets, rows, clips_per_batch)


def num_evaluation_batches(
    tracklets: Sequence[Tracklet], *, clips: str, frames_per_clip: int, clips_per_batch: int
) -> int:
    """The number of plans of ``evaluation_plans``."""
    cut = EVALUATION_CLIPS[clips]
    total = sum(len(cut(len(t.frames), frames_per_clip)) for t in tracklets)
    return -(-total // clips_per_batch)


def _evaluation_plan(tracklets: Sequence[Tracklet], rows: list, size: int) -> BatchPlan:
    filler = [(-1, rows[-1][1], np.zeros_like(rows[-1][2]))] * (size - len(rows))
    box, flip, erase = no_transform(size)
    return BatchPlan(
        tracklets=tuple(tracklets[i] for i, _, _ in rows) + (tracklets[rows[-1][0]],) * len(filler),
        frames=np.stack([frames for _, frames, _ in rows + filler]),
        frame_mask=np.stack([mask for _, _, mask in rows + filler]),
        label=np.full(size, -1, np.int32),
        index=np.array([i for i, _, _ in rows + filler], np.int32),
        box=box,
        flip=flip,
        erase=erase,
    )
