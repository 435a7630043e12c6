"""Shared data types: tracklet, split, batch, embeddings. Imports no other module of the package.

Axis alphabet of all shape annotations: ``b`` clips in a batch, ``t`` frames in a clip, ``v`` keypoints (14), ``c``
channels of a keypoint, ``h w`` pixels, ``n`` hidden width of a node, ``d`` dimensions of a feature, ``q`` query and
``g`` gallery tracklets, ``f`` frames of a tracklet.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
from jaxtyping import Bool, Float32, Int32, UInt8

JUNK_ID = -1
"""Person id of a junk tracklet (MARS ``00-1``): a bad detection, ignored everywhere."""

DISTRACTOR_ID = 0
"""Person id of a distractor tracklet: in the gallery, never a match."""


UNKNOWN_ID = -2
"""Person id of a tracklet whose person nobody has named: embedded, never a match, never a valid query."""


@dataclass(frozen=True, slots=True)
class Tracklet:
    """One person seen by one camera for a while.

    ``frames``: image paths relative to the data set's root, with forward slashes, in temporal order. ``person_id`` is
    the raw id of the data set (``JUNK_ID``, ``DISTRACTOR_ID``, ``UNKNOWN_ID`` or positive), never a class label;
    ``camera_id`` counts from 1, 0 where it is unknown. ``clothes_id`` distinguishes the outfits of one person (those of
    two persons do not compare); positive, 0 where it is unknown.
    """

    frames: tuple[str, ...]
    person_id: int
    camera_id: int
    clothes_id: int = 0


def unique_frames(tracklets: Iterable[Tracklet]) -> tuple[str, ...]:
    """All frames of the tracklets, each once, in their order."""
    return tuple(dict.fromkeys(frame for tracklet in tracklets for frame in tracklet.frames))


@dataclass(frozen=True)
class Split:
    """A data set as it is used: what is trained on, what asks, and what is searched.

    ``root`` is the folder to which the frames' paths are relative. ``gallery`` may contain the queries themselves
    (the official MARS protocol); the ranking drops same-person-same-camera pairs, hence also a query itself. ``junk``
    holds the tracklets of ``JUNK_ID``: in no gallery, embedded only for the protocol that keeps them. ``frame_size``
    is (height, width) in pixels where all crops of the data set share it, else None. ``split_description``
    says which of several published splits this is, such as "split 3 of 10 (1a2b3c4d)" with a hash of it; empty where
    the data set has only one. ``look_alikes``: groups of person ids that share their outfits, where they are known.
    """

    name: str
    root: Path
    train: Sequence[Tracklet]
    query: Sequence[Tracklet]
    gallery: Sequence[Tracklet]
    junk: Sequence[Tracklet] = ()
    frame_size: tuple[int, int] | None = None
    split_description: str = ""
    look_alikes: Sequence[Sequence[int]] = ()

    @property
    def train_person_ids(self) -> tuple[int, ...]:
        """Sorted raw ids of the training identities; the class label of a person is the position in it."""
        return tuple(sorted({t.person_id for t in self.train}))


class Batch(TypedDict):
    """What travels to the device: B clips of T frames. A padded clip (``index`` -1) or frame is masked and carries
    zeros or repeats.
    """

    frames: UInt8[np.ndarray, "b t h w 3"] | Float32[np.ndarray, "b d"]
    """RGB, not normalised; or, where the appearance is precomputed, f_a of each clip."""
    keypoints: Float32[np.ndarray, "b t 14 3"]
    """x, y as normalised coordinates of the crop, and confidence; (0, 0, 0) where not detected."""
    frame_mask: Bool[np.ndarray, "b t"]
    """False for frames that pad a clip."""
    label: Int32[np.ndarray, "b"]
    """Class label in training; -1 in evaluation, so that no identity can reach the model there."""
    index: Int32[np.ndarray, "b"]
    """Position of the tracklet in the sequence that is read; -1 for a clip that pads the batch."""


DeviceBatch = Mapping[str, Any]
"""A ``Batch`` whose arrays are on the devices (``parallel.shard``)."""


class _Embeddings(NamedTuple):
    appearance: Float32[np.ndarray, "n d_a"]
    pose: Float32[np.ndarray, "n d_p"]
    person_ids: Int32[np.ndarray, "n"]
    camera_ids: Int32[np.ndarray, "n"]
    clothes_ids: Int32[np.ndarray, "n"]


class Embeddings(_Embeddings):
    """Features of N tracklets and what the ranking needs to know of them. ``pose`` has zero columns without a pose
    branch; ``clothes_ids`` are 0 unless they are given.
    """

    __slots__ = ()

    def __new__(
        cls,
        appearance: Float32[np.ndarray, "n d_a"],
        pose: Float32[np.ndarray, "n d_p"],
        person_ids: Int32[np.ndarray, "n"],
        camera_ids: Int32[np.ndarray, "n"],
        clothes_ids: Int32[np.ndarray, "n"] | None = None,
    ) -> "Embeddings":
        """The columns, as they are."""
        clothes = np.zeros(len(person_ids), np.int32) if clothes_ids is None else clothes_ids
        return super().__new__(cls, appearance, pose, person_ids, camera_ids, clothes)
