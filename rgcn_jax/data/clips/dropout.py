"""Random keypoint dropout, as if the detector had missed keypoints."""

import hashlib

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.clips.reader import KeypointSource
from rgcn_jax.types import Tracklet


class KeypointDropout:
    """A ``KeypointSource`` in which each keypoint of each frame is missing with probability ``rate``.

    The missing keypoints depend only on seed and tracklet.
    """

    def __init__(self, source: KeypointSource, rate: float, seed: int = 0):
        self._source, self._rate, self._seed = source, rate, seed

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """Keypoints of a tracklet, zero where dropped."""
        keypoints = self._source.of(tracklet)
        name = int.from_bytes(hashlib.sha256(tracklet.frames[0].encode()).digest()[:8], "big")
        missing = np.random.default_rng([self._seed, name]).random(keypoints.shape[:2]) < self._rate
        return np.where(missing[..., None], np.float32(0), keypoints)
