"""Contact sheet: an image of a group of look-alikes, one row per person, as seen by every camera."""

import cv2
import numpy as np
from jaxtyping import UInt8

from rgcn_jax.skeleton import EDGES
from rgcn_jax.types import Tracklet
from rgcn_jax.walkers.generation import Walkers

_GAP = 4
_RIGHT = (2, 3, 4, 8, 9, 10)


def draw_skeleton(image: UInt8[np.ndarray, "h w 3"], keypoints: np.ndarray) -> None:
    """Draw the detected ones of 14 keypoints [14, 3] (normalised coordinates) and their bones into an RGB image, in
    place.

    The right side is orange, the left side blue, the torso white.
    """
    height, width = image.shape[:2]
    places = np.rint((keypoints[:, :2] * (width, height) - 0.5) * 16).astype(int).tolist()
    thick = max(1, height // 100)
    for a, b in EDGES:
        if keypoints[a, 2] > 0 and keypoints[b, 2] > 0:
            colour = (255, 255, 255) if b in (0, 1) else (255, 150, 40) if b in _RIGHT else (60, 170, 255)
            cv2.line(image, places[a], places[b], colour, thick, cv2.LINE_AA, 4)
    for joint, place in enumerate(places):
        if keypoints[joint, 2] > 0:
            cv2.circle(image, place, 16 * (thick + 1), (255, 230, 90), -1, cv2.LINE_AA, 4)


def most_varied_group(walkers: Walkers) -> tuple[int, ...]:
    """The test group of look-alikes with the most different postures (the first in case of a tie)."""
    test = {t.person_id for t in walkers.split.query}
    groups = [group for group in walkers.look_alikes if test.issuperset(group)]
    return max(groups, key=lambda group: len({walkers.people[person_id].posture for person_id in group}))


def contact_sheet(
    walkers: Walkers,
    group: tuple[int, ...] | None = None,
    height: int = 256,
    frames_per_camera: int = 3,
    skeleton: bool = True,
) -> UInt8[np.ndarray, "h w 3"]:
    """Draw look-alikes in rows, as an RGB image: the same clothes, different gaits.

    Args:
      walkers: the data.
      group: person ids, one per row; None: ``most_varied_group``. Raises ValueError for one that is not in the data.
      height: height of a crop, in pixels; its width is half of it.
      frames_per_camera: number of evenly spaced frames of the person's first tracklet in each camera.
      skeleton: whether to draw the detected keypoints on the last frame of each camera.
    """
    tracklets = (*walkers.split.train, *walkers.split.gallery)
    rows = []
    for person_id in most_varied_group(walkers) if group is None else group:
        first: dict[int, Tracklet] = {}
        for tracklet in tracklets:
            if tracklet.person_id == person_id:
                first.setdefault(tracklet.camera_id, tracklet)
        if not first:
            raise ValueError(f"person {person_id} is not in the data (seed {walkers.spec.seed}).")
        cells = []
        for _, tracklet in sorted(first.items()):
            crops, keypoints = walkers.frames(tracklet, height, height // 2), walkers.keypoints(tracklet)
            # About half a stride shows the gait while the crops stay similar in position and size.
            chosen = np.linspace(0, min(len(crops) - 1, 8), frames_per_camera).round().astype(int)
            for f in chosen:
                cells.append(crops[f].copy())
            if skeleton:
                draw_skeleton(cells[-1], keypoints[chosen[-1]])
            cells.append(np.full((height, _GAP, 3), 255, np.uint8))
        rows += [np.concatenate(cells[:-1], axis=1), None]
    width = rows[0].shape[1]
    return np.concatenate([np.full((_GAP, width, 3), 255, np.uint8) if row is None else row for row in rows[:-1]])
