"""Tasks of the preparation's worker processes, a shard each, and the assignment of tracklets to shards."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.prepared.format import FORMAT_VERSION
from rgcn_jax.types import Tracklet

FRAMES_PER_SHARD = 8192
"""A shard takes tracklets until it has so many frames: about 60 to 100 MB of crops of 256 x 128 pixels. What is lost
when a preparation is killed are the shards that were being written.
"""


@dataclass(frozen=True)
class ShardTask:
    """Some tracklets with their numbers in the data set, the keypoints of all their frames, and where to write them;
    without a ``path`` the frames are only checked.
    """

    path: Path | None
    root: Path
    tracklets: tuple[tuple[int, Tracklet], ...]
    keypoints: Float32[np.ndarray, "n 14 3"]
    height: int
    width: int

    @property
    def frames(self) -> int:
        """How many frames it has."""
        return len(self.keypoints)

    def key(self) -> str:
        """A hash of all that decides about the shard: settings, tracklets, keypoints, and of each image name, size and
        time of modification. Images are not read; one that was copied with a new time counts as another.
        """
        digest = hashlib.sha256(repr((FORMAT_VERSION, self.height, self.width)).encode())
        digest.update(self.keypoints.tobytes())
        for number, tracklet in self.tracklets:
            digest.update(repr((number, tracklet.person_id, tracklet.camera_id)).encode())
            for frame in tracklet.frames:
                try:
                    status = (self.root / frame).stat()
                    found = status.st_size, status.st_mtime_ns
                except OSError:  # reported when it is read
                    found = None
                digest.update(repr((frame, found)).encode())
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class ShardResult:
    """Of a task: the frames that cannot be used with the reason, the end of a sentence; how many had another size."""

    bad: dict[str, str]
    resized: int


def cut(tracklets: Sequence[Tracklet], frames_per_shard: int) -> list[range]:
    """Consecutive ranges of tracklets, each of which has just enough to reach ``frames_per_shard``."""
    ranges, start, frames = [], 0, 0
    for i, tracklet in enumerate(tracklets):
        frames += len(tracklet.frames)
        if frames >= frames_per_shard:
            ranges.append(range(start, i + 1))
            start, frames = i + 1, 0
    if start < len(tracklets):
        ranges.append(range(start, len(tracklets)))
    return ranges
