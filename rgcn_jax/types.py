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
"""Person id of a junk tracklet (MARS ``00-1``), a bad detection that is ignored in the evaluation."""

DISTRACTOR_ID = 0
"""Person id of a distractor tracklet: part of the gallery, never a match."""


UNKNOWN_ID = -2
"""Person id of an unlabelled tracklet: embedded, never a match, never a valid query."""


@dataclass(frozen=True, slots=True)
class Tracklet:
    """A tracklet: the frames of one person in one camera.

    ``frames``: image paths relative to the data set's root, with forward slashes, in temporal order. ``person_id``: raw
    id of the data set (``JUNK_ID``, ``DISTRACTOR_ID``, ``UNKNOWN_ID`` or positive), never a class label. ``camera_id``:
    counted from 1; 0 if unknown. ``clothes_id``: distinguishes the outfits of one person, positive; 0 if unknown.
    """

    frames: tuple[str, ...]
    person_id: int
    camera_id: int
    clothes_id: int = 0


def unique_frames(tracklets: Iterable[Tracklet]) -> tuple[str, ...]:
    """The distinct frames of the tracklets, in their order."""
    return tuple(dict.fromkeys(frame for tracklet in tracklets for frame in tracklet.frames))


@dataclass(frozen=True)
class Split:
    """A data set as one protocol uses it: training, query and gallery tracklets.

    ``root``: folder that frame paths are relative to. ``gallery`` may contain the queries (the official MARS protocol);
    the ranking drops pairs of the same person and camera, hence a query itself too. ``junk``: tracklets of ``JUNK_ID``,
    embedded only for the protocol that keeps them. ``frame_size``: (height, width) in pixels if all crops share it,
    else None. ``split_description``: which of several published splits this is, with a hash, such as "split 3 of 10
    (1a2b3c4d)"; empty if there is only one. ``look_alikes``: groups of person ids that share their outfits, if known.
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
        """Sorted raw ids of the training identities; the position of an id is its class label."""
        return tuple(sorted({t.person_id for t in self.train}))


class Batch(TypedDict):
    """A batch of B clips of T frames, as NumPy arrays. A padded clip (``index`` -1) or frame is masked; its values are
    zeros or repeats.
    """

    frames: UInt8[np.ndarray, "b t h w 3"] | Float32[np.ndarray, "b d"]
    """RGB, not normalised; f_a of each clip if the appearance is precomputed."""
    keypoints: Float32[np.ndarray, "b t 14 3"]
    """x and y in normalised coordinates of the crop, and confidence; (0, 0, 0) where not detected."""
    frame_mask: Bool[np.ndarray, "b t"]
    """False for frames that pad a clip."""
    label: Int32[np.ndarray, "b"]
    """Class label in training; -1 in evaluation, so that labels cannot leak into the model."""
    index: Int32[np.ndarray, "b"]
    """Index of the tracklet in the sequence being read; -1 for a clip that pads the batch."""


DeviceBatch = Mapping[str, Any]
"""A ``Batch`` with arrays on the devices (``parallel.shard``)."""


class _Embeddings(NamedTuple):
    appearance: Float32[np.ndarray, "n d_a"]
    pose: Float32[np.ndarray, "n d_p"]
    person_ids: Int32[np.ndarray, "n"]
    camera_ids: Int32[np.ndarray, "n"]
    clothes_ids: Int32[np.ndarray, "n"]


class Embeddings(_Embeddings):
    """Features of N tracklets, with the ids that the ranking needs.

    ``pose`` has zero columns without a pose branch; ``clothes_ids`` default to 0.
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
        """Create it from its columns."""
        clothes = np.zeros(len(person_ids), np.int32) if clothes_ids is None else clothes_ids
        return super().__new__(cls, appearance, pose, person_ids, camera_ids, clothes)
