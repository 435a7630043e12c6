"""The result of every reader of keypoint files."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.data.keypoints.anatomy import Sample


class Detections(NamedTuple):
    """The subject's keypoints of N frames as a source gave them.

    ``pixels``: x and y in pixels of the crop, confidence; (0, 0, 0) where not detected. ``has_entry``: whether the
    source says anything of the frame; zeros where it does not. ``skeleton``: of the source, as ``skeletons.py`` names
    it; "" where nobody was found at all. ``unused``: names of entries that are of no frame that was asked for.
    ``detector``: as the source names it, else "unknown". ``threshold``: below it keypoints are left out already.
    ``sample``: some of the subjects as the source has them, for ``anatomy.check``; None where nobody was found.
    ``remarks``: what was doubtful. ``units``: of the source's coordinates, one of ``coordinates.UNITS``.
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
    """A name from a file as a message shows it: on one line, never long, never a control character."""
    text = str(name)
    text = text if len(text) <= 100 else text[:97] + "..."
    return text if text.isprintable() else ascii(text)


def others(names: Iterable[str], wanted: Iterable[str]) -> list[str]:
    """Those of a file's names that are not among the wanted ones, in their order."""
    known = set(wanted)
    return [name for name in names if name not in known]
