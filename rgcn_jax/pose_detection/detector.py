"""Interface of pose detectors, and the list of back ends.

A back end is selected by name and opened with the path of its weights; nothing is downloaded. Its libraries are
imported only in the processes that run it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.pose_detection import rtmpose, tfjs


@runtime_checkable
class Detector(Protocol):
    """Detects the keypoints of the single person in a crop."""

    def __call__(self, crops: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n v 3"]:
        """Keypoints of N crops.

        Args:
          crops: RGB, each of any height and width.

        Returns:
          x and y in pixels of the crop (the centre of the first pixel is 0.5, 0.5) and confidence. No threshold is
          applied, and keypoints may lie outside of the crop.
        """
        ...


class BackEnd(NamedTuple):
    """A detector's properties and constructor."""

    weights: Callable[[Path], tuple[Path, ...]]
    """All files of a model, given one of them, which comes first; raises ``InputError`` if one is missing."""
    skeleton: str
    """Skeleton of its output: a source of ``rgcn_jax.skeleton.to_14``."""
    margin: float
    """Default margin: size of the model's input box, as a multiple of the crop."""
    open: Callable[[Path, float, int], Detector]
    """Creates the detector, given the path of its weights, the margin and the number of threads."""


def _movenet(path: Path, margin: float, threads: int) -> Detector:
    from rgcn_jax.pose_detection.movenet import MoveNet  # imports TensorFlow

    return MoveNet(path, margin, threads)


BACK_ENDS: Mapping[str, BackEnd] = {
    "movenet": BackEnd(tfjs.files, "coco17", 1.0, _movenet),
    "rtmpose": BackEnd(rtmpose.files, "coco17", 1.25, rtmpose.RTMPose),
}
"""Back ends by name."""
