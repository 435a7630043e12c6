"""Uploaded queries of the web page, kept in the server's memory: frames, keypoints and features of a tracklet."""

import secrets
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.clips.resize import fit
from rgcn_jax.errors import InputError, NotFoundError
from rgcn_jax.gallery.frame_images import jpeg, side_by_side, small
from rgcn_jax.gallery.inputs import evenly_spaced
from rgcn_jax.gallery.server.uploads import frames_hash
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.run import Options
from rgcn_jax.pose_detection.worker import accepted
from rgcn_jax.skeleton import to_14

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.embedder import Embedder, Embedding

MAX_QUERIES = 50
"""Maximum number of queries kept. The oldest is dropped."""

Detect = Callable[[Sequence[np.ndarray]], np.ndarray]
"""Function that detects keypoints [T, 14, 3] in crops, in normalised coordinates."""


@dataclass(frozen=True)
class Query:
    """An uploaded tracklet.

    ``strip`` contains JPEG images of some of its frames, without and with skeletons. ``keypoints`` is their origin,
    "file" or "detector", or None if there are none.
    """

    embedding: "Embedding"
    frames: int
    hash: str
    keypoints: str | None
    strip: tuple[bytes, bytes]
    notes: tuple[str, ...]


class Queries:
    """Uploaded queries, each with a random name.

    Args:
      embedder: the model.
      detect: detects keypoints in crops; None for no detector.
    """

    def __init__(self, embedder: "Embedder", detect: Detect | None):
        self._embedder, self.detect = embedder, detect
        self._lock = threading.Lock()  # one embedding at a time, to bound memory
        self._queries: dict[str, Query] = {}

    def add(
        self,
        frames: Sequence[UInt8[np.ndarray, "_ _ 3"]],
        keypoints: Float32[np.ndarray, "t 14 3"] | None,
        notes: Sequence[str] = (),
    ) -> str:
        """Embed a tracklet and return its name.

        Args:
          frames: crops of the tracklet.
          keypoints: in normalised coordinates; None to use the detector, if there is one.
          notes: notes for the user.

        Raises:
          InputError: the keypoints are not normalised, or the model requires precomputed features.
        """
        if self._embedder.config.model.appearance == "precomputed":
            raise InputError("the model takes precomputed appearance features: it cannot embed frames.")
        with self._lock:
            source = "file" if keypoints is not None else "detector" if self.detect else None
            if not self._embedder.config.with_pose:
                source, keypoints = None, None
            elif source == "detector" and self.detect:
                keypoints = self.detect(frames)
            given = np.zeros((len(frames), 14, 3), np.float32) if keypoints is None else keypoints
            size = self._embedder.config.frame_size
            fitted = np.stack([fit(frame, *size) for frame in frames])
            embedding = self._embedder(fitted, given if self._embedder.config.with_pose else None)
            chosen = evenly_spaced(len(frames))
            strips = [
                jpeg(side_by_side([small(frames[i], given[i] if drawn else None) for i in chosen]))
                for drawn in (False, True)
            ]
            query = Query(embedding, len(frames), frames_hash(frames), source, (strips[0], strips[1]), tuple(notes))
            name = secrets.token_urlsafe(16)
            self._queries[name] = query
            while len(self._queries) > MAX_QUERIES:
                self.remove(next(iter(self._queries)))
        return name

    def get(self, name: str) -> Query:
        """Return the query with a name. Raises NotFoundError if it is no longer kept."""
        if (found := self._queries.get(name)) is None:
            raise NotFoundError("the upload is not kept any more: upload it again.")
        return found

    def remove(self, name: str) -> None:
        """Drop a query."""
        self._queries.pop(name, None)


def open_detector(backend: str, weights: Path) -> Detect:
    """Load a detector of keypoints. Raises InputError if its weights or its library are missing."""
    kind = BACK_ENDS[backend]
    kind.weights(weights)
    detector = kind.open(weights, kind.margin, 1)

    def detect(frames: Sequence[np.ndarray]) -> Float32[np.ndarray, "t 14 3"]:
        found = []
        for first in range(0, len(frames), Options.batch):
            crops = frames[first : first + Options.batch]
            for keypoints, crop in zip(to_14(detector(crops), kind.skeleton), crops, strict=True):
                height, width = crop.shape[:2]
                kept = accepted(keypoints, (height, width), Options.threshold)
                found.append(kept / np.array([width, height, 1], np.float32))
        return np.stack(found).astype(np.float32)

    return detect
