"""Keypoint detection in uploaded crops. The detector is loaded once."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.gallery.server.queries import Detect
from rgcn_jax.pose_detection.detector import BACK_ENDS
from rgcn_jax.pose_detection.worker import accepted
from rgcn_jax.skeleton import to_14

BATCH = 32
THRESHOLD = 0.2
"""Default of ``rgcn-jax detect``."""


def open_detector(backend: str, weights: Path) -> Detect:
    """Load a detector. Raises InputError if its weights or its library are missing."""
    kind = BACK_ENDS[backend]
    kind.weights(weights)
    detector = kind.open(weights, kind.margin, 1)

    def detect(frames: Sequence[np.ndarray]) -> Float32[np.ndarray, "t 14 3"]:
        found = []
        for first in range(0, len(frames), BATCH):
            crops = frames[first : first + BATCH]
            for keypoints, crop in zip(to_14(detector(crops), kind.skeleton), crops, strict=True):
                height, width = crop.shape[:2]
                kept = accepted(keypoints, (height, width), THRESHOLD)
                found.append(kept / np.array([width, height, 1], np.float32))
        return np.stack(found).astype(np.float32)

    return detect
