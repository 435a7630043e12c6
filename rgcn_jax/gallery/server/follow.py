"""Tracking of one person through a video from a box in its first frame, by normalised cross-correlation of a patch.

Intended for the few seconds of a query whose crops the user inspects before the ranking. The box moves, and its size
changes by at most a twentieth per frame. There is no person model: tracking stops when the patch no longer matches. A
real tracker gives better tracks.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

from rgcn_jax.data.mot_tracks import Box

SIDE = 64
"""Height in pixels at which the patch is compared."""
SEARCH = 0.35
"""Maximum movement of the box per frame, relative to its height."""
SCALES = (1.0, 0.95, 1.05)
LEAST = 0.5
"""Correlation below which the person is considered lost."""
RENEWAL = 0.1
"""Weight of the current frame in the patch, to adapt to turning clothes and changing light."""


def follow(frames: Iterable[UInt8[np.ndarray, "h w 3"]], first: Box) -> Iterator[tuple[np.ndarray, Box]]:
    """Yield each frame and its box, from the first frame until the person is lost.

    Args:
      frames: frames of the video.
      first: box in the first frame.
    """
    patch, box = None, first
    for number, frame in enumerate(frames, 1):
        if patch is None:
            patch = _patch(frame, box)
        else:
            found = _nearest(frame, patch, box, number)
            if found is None:
                return
            box = found
            patch = (1 - RENEWAL) * patch + RENEWAL * _patch(frame, box)
        yield frame, box


def _patch(frame: np.ndarray, box: Box) -> np.ndarray:
    """Crop the box to float32 [64, w, 3]. The frame's border is replicated outside of it."""
    width = max(round(SIDE * box.width / box.height), 4)
    centre = box.left + box.width / 2, box.top + box.height / 2
    return _view(frame, centre, box.height / SIDE, (width, SIDE))


def _view(frame: np.ndarray, centre: tuple[float, float], pixel: float, size: tuple[int, int]) -> np.ndarray:
    """Crop the frame around ``centre`` and resize it to ``size`` (width, height).

    An output pixel spans ``pixel`` pixels of the frame.
    """
    matrix = np.array(
        [[pixel, 0, centre[0] - pixel * size[0] / 2], [0, pixel, centre[1] - pixel * size[1] / 2]], np.float64
    )
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def _nearest(frame: np.ndarray, patch: np.ndarray, box: Box, number: int) -> Box | None:
    """Return the box that correlates most with the patch; None if that is below ``LEAST`` or outside the frame."""
    best, found = LEAST, None
    reach = round(SEARCH * SIDE)
    height, width = patch.shape[:2]
    for scale in SCALES:
        pixel = scale * box.height / SIDE
        centre = box.left + box.width / 2, box.top + box.height / 2
        around = _view(frame, centre, pixel, (width + 2 * reach, height + 2 * reach))
        scores = cv2.matchTemplate(around, patch.astype(np.float32), cv2.TM_CCOEFF_NORMED)
        _, score, _, (x, y) = cv2.minMaxLoc(scores)
        if np.isfinite(score) and score > best:
            left = centre[0] + (x - reach - width / 2) * pixel
            top = centre[1] + (y - reach - height / 2) * pixel
            best, found = score, Box(0, number, box.track, left, top, width * pixel, height * pixel)
    if found is None:
        return None
    x, y = found.left + found.width / 2, found.top + found.height / 2
    return found if 0 <= x < frame.shape[1] and 0 <= y < frame.shape[0] else None
