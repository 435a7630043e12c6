"""Coverage of keypoints: counts of detected keypoints by camera, in total, and for each of the 14."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Int, Int64

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


def measure(detected: Bool[np.ndarray, "n 14"], cameras: Mapping[int, Int[np.ndarray, "_"]] | None = None) -> Coverage:
    """Measure the coverage of N frames.

    Args:
      detected: mask of the 14 keypoints detected in each frame.
      cameras: camera -> its distinct frames, as rows of ``detected``; None if unknown.
    """
    kind = np.digitize(np.count_nonzero(detected, axis=1), [1, 8, 14])
    by_camera = {c: np.bincount(kind[rows], minlength=4) for c, rows in sorted((cameras or {}).items())}
    return Coverage(np.bincount(kind, minlength=4), by_camera, np.count_nonzero(detected, axis=0).astype(np.int64))


def measure_tracklets(
    detected: Bool[np.ndarray, "n 14"], rows: Mapping[str, int], tracklets: Iterable[Tracklet]
) -> Coverage:
    """Measure the coverage of N frames, and by camera of the tracklets' distinct frames.

    Args:
      detected: as for ``measure``.
      rows: path of a frame -> its row in ``detected``.
      tracklets: tracklets whose cameras are counted.
    """
    cameras: dict[int, set[int]] = {}
    for tracklet in tracklets:
        cameras.setdefault(tracklet.camera_id, set()).update(rows[frame] for frame in tracklet.frames)
    return measure(detected, {camera: np.array(sorted(found), int) for camera, found in cameras.items()})


def report(coverage: Coverage) -> list[str]:
    """Format the coverage as lines for the terminal."""
    total = max(int(coverage.frames.sum()), 1)
    rows = [*coverage.cameras.items(), ("all", coverage.frames)]
    return [
        "camera " + " ".join(f"{kind:>6}" for kind in KINDS),
        *(
            f"{name!s:>6} " + " ".join(f"{share:6.1%}" for share in counts / max(counts.sum(), 1))
            for name, counts in rows
        ),
        "Share of the frames in which each keypoint was detected:",
        *_columns(
            [f"{name:15}{count / total:6.1%}" for name, count in zip(KEYPOINTS, coverage.keypoints, strict=True)]
        ),
    ]


def _columns(cells: list[str]) -> list[str]:
    half = (len(cells) + 1) // 2
    return [f"{left}    {right}" for left, right in zip(cells[:half], cells[half:], strict=True)]


def to_json(coverage: Coverage) -> dict[str, Any]:
    """Convert the coverage to JSON values, as in a keypoint store's header."""
    counts = {str(camera): dict(zip(KINDS, c.tolist(), strict=True)) for camera, c in coverage.cameras.items()}
    return {
        "frames": dict(zip(KINDS, coverage.frames.tolist(), strict=True)),
        "cameras": counts,
        "keypoints": dict(zip(KEYPOINTS, coverage.keypoints.tolist(), strict=True)),
    }
