"""Compact keypoints of an entry's frames, stored with the entry to draw its skeletons."""

import base64
import binascii

import numpy as np
from jaxtyping import Float32

from rgcn_jax.errors import as_input_error

_TYPE = np.dtype("<f2")


def pack(keypoints: Float32[np.ndarray, "f 14 3"]) -> str:
    """Encode x and y of keypoints as base64 of float16 [F, 14, 2], in normalised coordinates of the crop.

    A frame takes 75 bytes. Undetected keypoints are NaN. The confidence is not stored. The text is empty if no keypoint
    was detected.
    """
    seen = keypoints[..., 2:] > 0
    if not seen.any():
        return ""
    return base64.b64encode(np.where(seen, keypoints[..., :2], np.nan).astype(_TYPE).tobytes()).decode()


def unpack(text: str, frames: int) -> Float32[np.ndarray, "f 14 3"]:
    """Return x, y and a detection flag (1 or 0) of each keypoint; zeros if undetected.

    Args:
      text: result of ``pack``; empty if nothing was detected.
      frames: number of frames of the entry.

    Raises:
      InputError: the text does not have this number of frames.
    """
    found = np.full((frames, 14, 2), np.nan, np.float32)
    if text:
        with as_input_error(
            f"the keypoints of an entry are not those of {frames} frames", kinds=(binascii.Error, ValueError)
        ):
            found = np.frombuffer(base64.b64decode(text, validate=True), _TYPE).reshape(frames, 14, 2)
    seen = np.isfinite(found).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(seen, found, 0), seen], axis=-1).astype(np.float32)
