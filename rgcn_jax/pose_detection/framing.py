"""Padding and resizing of a crop to a detector's fixed input size, and the way back for its keypoints."""

from typing import NamedTuple

import cv2
import numpy as np
from jaxtyping import Float, UInt8


class Framed(NamedTuple):
    """A crop as a detector sees it. A point p of ``image`` is ``p * scale - border`` in pixels of the crop."""

    image: UInt8[np.ndarray, "h w 3"]
    scale: Float[np.ndarray, "2"]
    border: Float[np.ndarray, "2"]


def frame(crop: UInt8[np.ndarray, "_ _ 3"], height: int, width: int, margin: float, replicate: bool) -> Framed:
    """Put a crop in the middle of a box of the input's shape and scale that to the input.

    Args:
      crop: the image, its colours in any order.
      height: of the input, in pixels.
      width: of the input, in pixels.
      margin: 1: the box just holds the crop; 1.25: a crop a quarter larger.
      replicate: what lies around the crop repeats its border pixels; False: it is black.

    Returns:
      The input (bilinear where the box is enlarged, the mean of areas where it shrinks) and the way back.
    """
    crop_height, crop_width = crop.shape[:2]
    box_height = max(crop_height, crop_width * height / width) * margin
    rows, columns = (max(round(box), 1) for box in (box_height, box_height * width / height))
    rows, columns = max(rows, crop_height), max(columns, crop_width)  # rounding may have cut a pixel off
    top, left = (rows - crop_height) // 2, (columns - crop_width) // 2
    border = cv2.BORDER_REPLICATE if replicate else cv2.BORDER_CONSTANT
    box = cv2.copyMakeBorder(crop, top, rows - crop_height - top, left, columns - crop_width - left, border)
    interpolation = cv2.INTER_AREA if rows > height else cv2.INTER_LINEAR
    image = cv2.resize(box, (width, height), interpolation=interpolation)
    return Framed(image, np.array([columns / width, rows / height]), np.array([left, top], np.float64))
