"""Messages between the preparation and its workers; assignment of tracklets to shards."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32

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

    @property
    def names(self) -> list[str]:
        """The paths of its frames in the data set."""
        return [frame for _, tracklet in self.tracklets for frame in tracklet.frames]

    def rows(self) -> Iterator[tuple[int, int, Tracklet]]:
        """Of each frame its tracklet's number, its position in the tracklet, and the tracklet."""
        return ((number, i, tracklet) for number, tracklet in self.tracklets for i in range(len(tracklet.frames)))


@dataclass(frozen=True)
class BadFrame:
    """A frame that cannot be used: its path in the data set and why, as the end of a sentence."""

    name: str
    reason: str


@dataclass(frozen=True)
class ShardResult:
    """Of a task: its bad frames, and how many others had another size."""

    bad: tuple[BadFrame, ...]
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
