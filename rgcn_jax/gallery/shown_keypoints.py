"""Keypoints of the frames that an entry names, small enough to be kept with it, for drawing its skeletons."""

import base64
import binascii

import numpy as np
from jaxtyping import Float32

from rgcn_jax.errors import as_input_error

_TYPE = np.dtype("<f2")


def pack(keypoints: Float32[np.ndarray, "f 14 3"]) -> str:
    """Text of 75 bytes a frame: base64 of float16 [F, 14, 2], x and y in normalised coordinates of the crop.

    A keypoint that was not detected is NaN; the confidence is not kept. Empty where none was detected.
    """
    seen = keypoints[..., 2:] > 0
    if not seen.any():
        return ""
    return base64.b64encode(np.where(seen, keypoints[..., :2], np.nan).astype(_TYPE).tobytes()).decode()


def unpack(text: str, frames: int) -> Float32[np.ndarray, "f 14 3"]:
    """x, y and whether it was detected (1 or 0); zeros where not.

    Args:
      text: of ``pack``; empty: nothing was detected.
      frames: how many the entry names.

    Raises:
      InputError: the text is not of so many frames.
    """
    found = np.full((frames, 14, 2), np.nan, np.float32)
    if text:
        with as_input_error(
            f"the keypoints of an entry are not those of {frames} frames", kinds=(binascii.Error, ValueError)
        ):
            found = np.frombuffer(base64.b64decode(text, validate=True), _TYPE).reshape(frames, 14, 2)
    seen = np.isfinite(found).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(seen, found, 0), seen], axis=-1).astype(np.float32)
