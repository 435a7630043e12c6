"""The interface of a pose detector, and the list of back ends.

A back end is chosen by name and opened with a path to its weights; nothing is downloaded. Its libraries are imported
only when it is opened, in the processes that run it.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.pose_detection import rtmpose, tfjs


@runtime_checkable
class Detector(Protocol):
    """Finds the keypoints of the one person whom a crop is about."""

    def __call__(self, crops: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> Float32[np.ndarray, "n v 3"]:
        """Keypoints of N crops.

        Args:
          crops: RGB, each of its own height and width.

        Returns:
          x and y in pixels of the crop (the centre of its first pixel is at 0.5, 0.5) and the confidence. No
          threshold is applied, and a keypoint may lie outside of its crop.
        """
        ...


class BackEnd(NamedTuple):
    """How to open a detector."""

    weights: Callable[[Path], tuple[Path, ...]]
    """All files that the given one needs, itself the first; ``InputError`` where one is missing."""
    skeleton: str
    """Which skeleton comes out: a source of ``rgcn_jax.skeleton.to_14``."""
    margin: float
    """The default margin: the box that the model sees, as a multiple of the crop."""
    open: Callable[[Path, float, int], Detector]
    """The detector, from the path to its weights, the margin and the number of threads it may use."""


def _movenet(path: Path, margin: float, threads: int) -> Detector:
    from rgcn_jax.pose_detection.movenet import MoveNet  # imports TensorFlow

    return MoveNet(path, margin, threads)


BACK_ENDS: Mapping[str, BackEnd] = MappingProxyType(
    {
        "movenet": BackEnd(tfjs.files, "coco17", 1.0, _movenet),
        "rtmpose": BackEnd(rtmpose.files, "coco17", 1.25, rtmpose.RTMPose),
    }
)
"""Name -> back end."""
