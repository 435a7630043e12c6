"""Thumbnails: a few frames of a tracklet side by side as a small WebP image, with or without the skeleton."""

import base64
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.data.clips.reader import Data
from rgcn_jax.data.clips.sampling import evaluation_plans
from rgcn_jax.skeleton import EDGES
from rgcn_jax.types import Tracklet

HEIGHT = 72
"""Of a frame, in pixels."""

CLIPS_PER_BATCH = 32

LINE_COLOUR, JOINT_COLOUR = (255, 214, 10), (255, 69, 58)


def strips(data: Data, tracklets: Sequence[Tracklet], frames: int, skeleton: bool = False) -> Iterator[str]:
    """A data URI for each tracklet: evenly spaced frames side by side.

    Args:
      data: opened with frames.
      tracklets: of the data set.
      frames: how many of each; a shorter tracklet shows some twice.
      skeleton: whether to draw the keypoints, on frames of twice the height.

    Raises:
      InputError: a frame cannot be read.
    """
    for clip, keypoints in clips(data, tracklets, frames):
        if skeleton:
            yield data_uri([draw_skeleton(*pair) for pair in zip(clip, keypoints, strict=True)], 2 * HEIGHT)
        else:
            yield data_uri(list(clip))


def clips(
    data: Data, tracklets: Sequence[Tracklet], frames: int
) -> Iterator[tuple[UInt8[np.ndarray, "t h w 3"], Float32[np.ndarray, "t 14 3"]]]:
    """Evenly spaced frames and keypoints of each tracklet, in their order."""

    def plans() -> Iterator:
        return evaluation_plans(
            tracklets, clips="even", frames_per_clip=frames, clips_per_batch=min(CLIPS_PER_BATCH, len(tracklets))
        )

    if not tracklets:
        return
    for plan, batch in zip(plans(), data.read(plans()), strict=True):
        for i in np.flatnonzero(plan.index >= 0):
            yield np.asarray(batch["frames"][i]), np.asarray(batch["keypoints"][i])


def draw_skeleton(
    frame: UInt8[np.ndarray, "h w 3"], keypoints: Float32[np.ndarray, "14 3"], height: int = 2 * HEIGHT
) -> UInt8[np.ndarray, "_ _ 3"]:
    """The frame, enlarged to a height, with the edges of the skeleton between detected keypoints."""
    width = max(round(frame.shape[1] * height / frame.shape[0]), 1)
    image = cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    points = np.round(keypoints[:, :2] * (width, height)).astype(int).tolist()
    seen = keypoints[:, 2] > 0
    for a, b in EDGES:
        if seen[a] and seen[b]:
            cv2.line(image, points[a], points[b], LINE_COLOUR, 1, cv2.LINE_AA)
    for joint in np.flatnonzero(seen):
        cv2.circle(image, points[joint], 2, JOINT_COLOUR, -1, cv2.LINE_AA)
    return image


def data_uri(frames: Sequence[UInt8[np.ndarray, "_ _ 3"]], height: int = HEIGHT) -> str:
    """Frames side by side at a height, as a WebP image in a data URI."""
    small = [
        cv2.resize(f, (max(round(f.shape[1] * height / f.shape[0]), 1), height), interpolation=cv2.INTER_AREA)
        for f in frames
    ]
    strip = np.concatenate(small, axis=1)
    encoded = cv2.imencode(".webp", strip[..., ::-1], [cv2.IMWRITE_WEBP_QUALITY, 70])[1].tobytes()
    return "data:image/webp;base64," + base64.b64encode(encoded).decode()
