"""Antialiased bilinear resizing of frames in NumPy, equivalent to that of TensorFlow in ``pixels``."""

from functools import lru_cache

import numpy as np
from jaxtyping import Float32, UInt8


@lru_cache(maxsize=64)
def weights(size: int, target: int) -> Float32[np.ndarray, "target size"]:
    """Resampling matrix from an axis of ``size`` pixels to ``target`` pixels.

    Pixels are sampled at their centres with a triangle as wide as the larger pixel of the two (``antialias=True`` of
    ``tf.image.resize``); each row sums to 1.
    """
    scale = size / target
    centres = (np.arange(target) + 0.5) * scale
    distance = np.abs((np.arange(size) + 0.5)[None, :] - centres[:, None]) / max(scale, 1.0)
    triangle = np.maximum(1.0 - distance, 0.0)
    return (triangle / triangle.sum(axis=1, keepdims=True)).astype(np.float32)


def fit(frame: UInt8[np.ndarray, "h w 3"], height: int, width: int) -> UInt8[np.ndarray, "{height} {width} 3"]:
    """Resize a frame (bilinear, antialiased when reduced); unchanged if it has that size.

    Equal to ``pixels.fit`` to within one grey level, since sums are in another order.
    """
    if frame.shape[:2] == (height, width):
        return frame
    rows = np.tensordot(weights(frame.shape[0], height), frame.astype(np.float32), axes=1)
    resized = np.tensordot(weights(frame.shape[1], width), rows, axes=(1, 1)).swapaxes(0, 1)
    return np.clip(np.rint(resized), 0, 255).astype(np.uint8)
