"""Padding and resizing of crops to a detector's input size, and the inverse transformation of keypoints."""

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, Float32, UInt8


class Framed(NamedTuple):
    """A detector's input. A point p of ``image`` is at ``p * scale - border`` in pixels of the crop."""

    image: UInt8[np.ndarray, "h w 3"]
    scale: Float[np.ndarray, "2"]
    border: Float[np.ndarray, "2"]


def frame(crop: UInt8[np.ndarray, "_ _ 3"], height: int, width: int, margin: float, replicate: bool) -> Framed:
    """Centre a crop in a box with the aspect ratio of the input, and resize the box to the input.

    Args:
      crop: the image, with any order of colours.
      height: height of the input, in pixels.
      width: width of the input, in pixels.
      margin: size of the box; 1: the smallest that contains the crop, 1.25: a quarter larger.
      replicate: whether to pad with the border pixels of the crop; otherwise black.

    Returns:
      The input (bilinear when enlarged, area mean when reduced) and the inverse transformation.
    """
    crop_height, crop_width = crop.shape[:2]
    box_height = max(crop_height, crop_width * height / width) * margin
    rows, columns = (max(round(box), 1) for box in (box_height, box_height * width / height))
    rows, columns = max(rows, crop_height), max(columns, crop_width)  # rounding may lose a pixel
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    box = cv2.copyMakeBorder(crop, top, rows - crop_height - top, left, columns - crop_width - left, border)
    interpolation = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
    image = cv2.resize(box, (width, height), interpolation=interpolation)
    return Framed(image, np.array([columns / width, rows / height]), np.array([left, top], np.float64))


def unframe(keypoints: Float[np.ndarray, "n v 3"], framed: Sequence[Framed]) -> Float32[np.ndarray, "n v 3"]:
    """Convert x and y of keypoints from pixels of the inputs to pixels of the crops; confidences are kept."""
    scale = np.stack([f.scale for f in framed])[:, None]
    border = np.stack([f.border for f in framed])[:, None]
    points = keypoints[..., :2] * scale - border
    return np.concatenate([points, keypoints[..., 2:]], axis=-1).astype(np.float32)
