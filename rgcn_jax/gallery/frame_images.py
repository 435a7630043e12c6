"""Small images of an entry's frames as JPEG, with or without skeletons, and the keypoints stored with the entry."""

import base64
import binascii
from collections.abc import Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.datasets.images import read_image
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.gallery.gallery import Gallery
from rgcn_jax.walkers.contact_sheet import draw_skeleton

HEIGHT = 96
"""Height of a frame on a page, in pixels."""
_GAP = 2
_KEYPOINT = np.dtype("<f2")


def small_frames(
    gallery: Gallery, entry: Entry, skeletons: bool = False
) -> tuple[list[UInt8[np.ndarray, "_ _ 3"]], int]:
    """Read an entry's frames as small images. Also returns the number of unreadable frames.

    Raises:
      InputError: a name leads out of the entry's folder.
    """
    found, missing = [], 0
    paths = gallery.frame_paths(entry)  # none if the root is unknown
    for path, points in zip(paths, unpack(entry.keypoints if paths else "", len(paths)), strict=True):
        try:
            found.append(small(read_image(path), points if skeletons else None))
        except InputError:
            missing += 1
    return found, missing


def small(
    frame: UInt8[np.ndarray, "h w 3"], keypoints: Float32[np.ndarray, "14 3"] | None = None, height: int = HEIGHT
) -> UInt8[np.ndarray, "_ _ 3"]:
    """Resize an RGB frame to a height and draw the skeleton of keypoints in normalised coordinates."""
    width = max(round(frame.shape[1] * height / frame.shape[0]), 1)
    shrinks = height < frame.shape[0]
    image = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    if keypoints is not None:
        draw_skeleton(image, keypoints)
    return image


def side_by_side(frames: Sequence[UInt8[np.ndarray, "_ _ 3"]]) -> UInt8[np.ndarray, "_ _ 3"]:
    """Concatenate frames of equal height, at least one, horizontally."""
    gap = np.full((frames[0].shape[0], _GAP, 3), 128, np.uint8)
    return np.concatenate([part for frame in frames for part in (frame, gap)][:-1], axis=1)


def jpeg(image: UInt8[np.ndarray, "_ _ 3"]) -> bytes:
    """Encode the image as JPEG."""
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 80])[1].tobytes()


def pack(keypoints: Float32[np.ndarray, "f 14 3"]) -> str:
    """Encode x and y of keypoints as base64 of float16 [F, 14, 2], in normalised coordinates of the crop.

    A frame takes 75 bytes. Undetected keypoints are NaN. The confidence is not stored. The text is empty if no keypoint
    was detected.
    """
    seen = keypoints[..., 2:] > 0
    if not seen.any():
        return ""
    return base64.b64encode(np.where(seen, keypoints[..., :2], np.nan).astype(_KEYPOINT).tobytes()).decode()


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
            found = np.frombuffer(base64.b64decode(text, validate=True), _KEYPOINT).reshape(frames, 14, 2)
    seen = np.isfinite(found).all(axis=-1, keepdims=True)
    return np.concatenate([np.where(seen, found, 0), seen], axis=-1).astype(np.float32)
