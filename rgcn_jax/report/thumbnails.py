"""Thumbnails of tracklets: a strip of frames as a small WebP image, with or without the skeleton."""

import base64
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import evaluation_plans
from rgcn_jax.gallery.frame_images import small
from rgcn_jax.types import Tracklet

HEIGHT = 72
"""Height of a frame, in pixels."""

CLIPS_PER_BATCH = 32


def strips(data: Data, tracklets: Sequence[Tracklet], frames: int, skeleton: bool = False) -> Iterator[str]:
    """Yield a data URI for each tracklet, with a strip of evenly spaced frames; a shorter tracklet's are repeated.

    ``data``: opened with frames. ``skeleton``: whether to draw the keypoints, on frames of twice the height.

    Raises:
      InputError: a frame cannot be read.
    """
    for clip, keypoints in clips(data, tracklets, frames):
        if skeleton:
            yield data_uri([small(f, points, 2 * HEIGHT) for f, points in zip(clip, keypoints, strict=True)])
        else:
            yield data_uri([small(frame, None, HEIGHT) for frame in clip])


def clips(
    data: Data, tracklets: Sequence[Tracklet], frames: int
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Float32[np.ndarray, "t 14 3"]]]:
    """Yield evenly spaced frames and keypoints of each tracklet, in order."""
    if not tracklets:
        return
    count = min(CLIPS_PER_BATCH, len(tracklets))
    plans = list(evaluation_plans(tracklets, clips="even", frames_per_clip=frames, clips_per_batch=count))
    for plan, batch in zip(plans, data.read(plans), strict=True):
        for i in np.flatnonzero(plan.index >= 0):
            yield np.asarray(batch["frames"][i]), np.asarray(batch["keypoints"][i])


def data_uri(frames: Sequence[UInt8[np.ndarray, "h _ 3"]]) -> str:
    """Data URI of a WebP image with frames of one height in a row."""
    strip = np.concatenate(frames, axis=1)
    encoded = cv2.imencode(".webp", strip[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 70])[1].tobytes()
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()
