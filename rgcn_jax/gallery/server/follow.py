"""Follows one person through a video from a box on its first frame: normalised cross-correlation of a patch.

Meant for the few seconds of a query, whose crops a person looks at before the ranking. It moves a box and changes its
size by a twentieth a frame at most; it does not know people, and stops where the patch is no longer recognised. Tracks
of a real tracker are better.
"""

from collections.abc import Iterable, Iterator

import cv2
import numpy as np
from jaxtyping import UInt8

from rgcn_jax.data.mot_tracks import Box

SIDE = 64
"""Height in pixels at which the patch is compared."""
SEARCH = 0.35
"""How far the box may move in a frame, in its heights."""
SCALES = (1.0, 0.95, 1.05)
LEAST = 0.5
"""Correlation below which the person counts as lost."""
RENEWAL = 0.1
"""Weight of the present frame in the patch: clothes turn, light changes."""


def follow(frames: Iterable[UInt8[np.ndarray, "h w 3"]], first: Box) -> Iterator[tuple[np.ndarray, Box]]:
    """Each frame with the box in it, from the first on, until the person is lost.

    Args:
      frames: of the video.
      first: the box in the first of them.
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
    """What is in the box, float32 [64, w, 3]; the border of the frame is repeated outside of it."""
    width = max(round(SIDE * box.width / box.height), 4)
    centre = box.left + box.width / 2, box.top + box.height / 2
    return _view(frame, centre, box.height / SIDE, (width, SIDE))


def _view(frame: np.ndarray, centre: tuple[float, float], pixel: float, size: tuple[int, int]) -> np.ndarray:
    """A part of the frame about a centre, of a size in pixels that are ``pixel`` pixels of the frame."""
    matrix = np.array(
        [[pixel, 0, centre[0] - pixel * size[0] / 2], [0, pixel, centre[1] - pixel * size[1] / 2]], np.float64
    )
    flags = cv2.INTER_AREA | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(frame, matrix, size, flags=flags, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def _nearest(frame: np.ndarray, patch: np.ndarray, box: Box, number: int) -> Box | None:
    """The box in this frame that correlates most with the patch, near the last one; None where nothing does."""
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
    if found is None or _outside(frame, found):
        return None
    return found


def _outside(frame: np.ndarray, box: Box) -> bool:
    """Whether the middle of the box has left the frame."""
    x, y = box.left + box.width / 2, box.top + box.height / 2
    return not (0 <= x < frame.shape[1] and 0 <= y < frame.shape[0])
