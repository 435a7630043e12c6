"""``Detections``, the result of all readers of keypoint files."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.data.keypoints.anatomy import Sample


class Detections(NamedTuple):
    """Keypoints of the subject in N frames, as given by a source.

    - ``pixels``: x and y in pixels of the crop, and confidence; (0, 0, 0) if not detected.
    - ``has_entry``: whether the source has an entry for the frame; zeros otherwise.
    - ``skeleton``: skeleton of the source, as in ``skeletons.py``; "" if no person was found at all.
    - ``unused``: names of entries for other frames.
    - ``detector``: detector as named by the source, else "unknown".
    - ``threshold``: confidence below which the source has no keypoints.
    - ``sample``: some subjects in the source's format, for ``anatomy.check``; None if no person was found.
    - ``remarks``: doubtful findings.
    - ``units``: units of the source's coordinates, one of ``coordinates.UNITS``.
    """

    pixels: Float32[np.ndarray, "n 14 3"]
    has_entry: Bool[np.ndarray, "n"]
    skeleton: str
    unused: Sequence[str] = ()
    detector: str = "unknown"
    threshold: float = 0.0
    sample: Sample | None = None
    remarks: tuple[str, ...] = ()
    units: str = "pixels"


def shown(name: object) -> str:
    """Format a name from a file for a message: one line, limited length, without control characters."""
    text = str(name)
    text = text if len(text) <= 100 else text[:97] + "..."
    return text if text.isprintable() else ascii(text)


def others(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Names in a file that are not wanted, in their order."""
    known = set(wanted)
    return [name for name in names if name not in known]
