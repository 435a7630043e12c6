"""Coverage of keypoints: counts of detected keypoints by camera, in total, and for each of the 14."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int64

from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.types import Tracklet

KINDS = ("0", "1-7", "8-13", "14")
"""Kinds of frames by the number of detected keypoints."""


class Coverage(NamedTuple):
    """Numbers of frames by their detected keypoints.

    ``frames``: number of frames of each kind. ``cameras``: the same by camera. ``keypoints``: number of frames in which
    each keypoint is detected.
    """

    frames: Int64[np.ndarray, "4"]
    cameras: Mapping[int, Int64[np.ndarray, "4"]]
    keypoints: Int64[np.ndarray, "14"]


def measure(
    detected: Bool[np.ndarray, "n 14"], rows: Mapping[str, int] | None = None, tracklets: Iterable[Tracklet] = ()
) -> Coverage:
    """Measure the coverage of N frames, and by camera of the tracklets' distinct frames.

    Args:
      detected: mask of the 14 keypoints detected in each frame.
      rows: path of a frame -> its row in ``detected``.
      tracklets: tracklets whose cameras are counted; none if unknown.
    """
    kind = np.digitize(np.count_nonzero(detected, axis=1), [1, 8, 14])
    cameras: dict[int, set[int]] = {}
    for tracklet in tracklets:
        cameras.setdefault(tracklet.camera_id, set()).update((rows or {})[frame] for frame in tracklet.frames)
    by_camera = {camera: np.bincount(kind[sorted(of)], minlength=4) for camera, of in sorted(cameras.items())}
    return Coverage(np.bincount(kind, minlength=4), by_camera, np.count_nonzero(detected, axis=0).astype(np.int64))


def report(coverage: Coverage) -> list[str]:
    """Format the coverage as lines for the terminal."""
    total = max(int(coverage.frames.sum()), 1)
    rows = [*coverage.cameras.items(), ("all", coverage.frames)]
    cells = [f"{name:15}{count / total:6.1%}" for name, count in zip(KEYPOINTS, coverage.keypoints, strict=True)]
    return [
        "camera " + " ".join(f"{kind:>6}" for kind in KINDS),
        *(
            f"{name!s:>6} " + " ".join(f"{share:6.1%}" for share in counts / max(counts.sum(), 1))
            for name, counts in rows
        ),
        "Share of the frames in which each keypoint was detected:",
        *(f"{left}    {right}" for left, right in zip(cells[:7], cells[7:], strict=True)),
    ]


def to_json(coverage: Coverage) -> dict[str, Any]:
    """Convert the coverage to JSON values, as in a keypoint store's header."""
    counts = {str(camera): dict(zip(KINDS, c.tolist(), strict=True)) for camera, c in coverage.cameras.items()}
    return {
        "frames": dict(zip(KINDS, coverage.frames.tolist(), strict=True)),
        "cameras": counts,
        "keypoints": dict(zip(KEYPOINTS, coverage.keypoints.tolist(), strict=True)),
    }
