"""Augmentation of keypoints independently of the frames: dropout, jitter, aspect, swapped sides, stretched time.

Drawn with the plan of a batch, from a separate random stream; applied before the crop and flip that frames and
keypoints share. Not used in evaluation.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.skeleton import FLIP_ORDER

LIMBS = ((2, 3, 4, 5, 6, 7), (8, 9, 10, 11, 12, 13))
"""Keypoints of the arms and of the legs, which are swapped together."""


@dataclass(frozen=True)
class KeypointAugmentation:
    """Probabilities per clip, and magnitudes; the fields of ``augment.keypoints``, see docs/config.md."""

    drop_probability: float = 0.0
    drop_share: float = 0.2
    jitter_probability: float = 0.0
    jitter: float = 0.01
    aspect_probability: float = 0.0
    aspect: float = 0.1
    swap_probability: float = 0.0
    stretch_probability: float = 0.0
    stretch: float = 1.25

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Probabilities of dropout, jitter, another aspect, swapped sides and stretched time."""
        return tuple(getattr(self, f"{kind}_probability") for kind in ("drop", "jitter", "aspect", "swap", "stretch"))


@dataclass(frozen=True)
class KeypointChanges:
    """Changes of the keypoints of B clips.

    ``time``: position in the clip that each frame shows, in frames from 0. ``swapped``: whether the sides of arms and
    legs are swapped in a frame. ``shift``: offset in normalised coordinates. ``width``: factor of x about the middle of
    the crop. ``dropped``: keypoints to mark as not detected.
    """

    time: Float32[np.ndarray, "b t"]
    swapped: Bool[np.ndarray, "b t 2"]
    shift: Float32[np.ndarray, "b t 14 2"]
    width: Float32[np.ndarray, "b"]
    dropped: Bool[np.ndarray, "b t 14"]

    def __getitem__(self, clips: slice) -> "KeypointChanges":
        """The changes of a range of clips."""
        return KeypointChanges(
            self.time[clips], self.swapped[clips], self.shift[clips], self.width[clips], self.dropped[clips]
        )


def draw_changes(
    rng: np.random.Generator,
    frame_mask: Bool[np.ndarray, "b t"],
    augmentation: KeypointAugmentation,
    crop_aspect: float,
) -> KeypointChanges:
    """Draw the changes of a batch.

    The number of random values does not depend on the probabilities, so that disabling one change does not affect the
    others.

    Args:
      rng: random generator.
      frame_mask: False for frames that pad a clip, which continue to show its last frame.
      augmentation: probabilities and magnitudes.
      crop_aspect: width of a crop over its height, since jitter is in crop heights in both directions.
    """
    clips, frames = frame_mask.shape
    drop, jitter, aspect, swap, stretch = (rng.random((clips, 5)) < augmentation.probabilities).T
    lost = (rng.random((clips, 14)) < augmentation.drop_share) & drop[:, None]
    dropped = _runs(rng.random((clips, 14, 2)), frames) & lost[..., None]
    shift = augmentation.jitter * rng.standard_normal((clips, frames, 14, 2)) / [crop_aspect, 1.0]
    width = np.exp(rng.uniform(-1.0, 1.0, clips) * augmentation.aspect)
    sides = rng.random((clips, 2)) < 0.5
    swapped = _runs(rng.random((clips, 2, 2)), frames) & (sides & swap[:, None])[..., None]
    last = frame_mask.sum(axis=1, keepdims=True) - 1.0
    part = augmentation.stretch ** -rng.random((clips, 1))
    part = np.where(stretch[:, None], part, 1.0)
    start = rng.random((clips, 1)) * (1.0 - part) * last
    time = np.minimum(start + part * np.arange(frames), last)
    return KeypointChanges(
        time=time.astype(np.float32),
        swapped=np.moveaxis(swapped, 1, 2),
        shift=np.where(jitter[:, None, None, None], shift, 0.0).astype(np.float32),
        width=np.where(aspect, width, 1.0).astype(np.float32),
        dropped=np.moveaxis(dropped, 1, 2),
    )


def _runs(u: np.ndarray, frames: int) -> np.ndarray:
    """Runs of frames [..., frames] between two uniform draws [..., 2], at least one frame long."""
    ends = np.sort(u, axis=-1) * frames
    first, last = np.floor(ends[..., :1]), np.floor(ends[..., 1:])
    index = np.arange(frames)
    return (index >= first) & (index <= last)


def change_keypoints(
    keypoints: Float32[np.ndarray, "b t 14 3"], changes: KeypointChanges
) -> Float32[np.ndarray, "b t 14 3"]:
    """Apply changes to the keypoints of clips: time, sides, shift, width, dropout, in this order.

    Positions and confidences between two frames are interpolated linearly. If only the nearer frame shows the keypoint,
    its position is used; if it does not, the keypoint is not detected. Undetected keypoints stay (0, 0, 0).
    """
    moved = _at(keypoints, changes.time)
    for part, limbs in enumerate(LIMBS):
        order = np.arange(14)
        order[list(limbs)] = np.array(FLIP_ORDER)[list(limbs)]
        moved = np.where(changes.swapped[:, :, part, None, None], moved[:, :, order], moved)
    place = moved[..., :2] + changes.shift
    x = 0.5 + changes.width[:, None, None] * (place[..., 0] - 0.5)
    seen = (moved[..., 2] > 0) & ~changes.dropped
    changed = np.stack([x, place[..., 1], moved[..., 2]], axis=-1)
    return np.where(seen[..., None], changed, 0.0).astype(np.float32)


def _at(keypoints: np.ndarray, time: np.ndarray) -> np.ndarray:
    """Keypoints at these positions in time."""
    before = np.floor(time).astype(int)
    after = np.minimum(before + 1, keypoints.shape[1] - 1)
    share = (time - before)[:, :, None, None]
    clip = np.arange(len(keypoints))[:, None]
    first, second = keypoints[clip, before], keypoints[clip, after]
    both = (first[..., 2:] > 0) & (second[..., 2:] > 0)
    nearest = np.where(share < 0.5, first, second)
    return np.where(both & (share > 0), (1 - share) * first + share * second, nearest).astype(np.float32)
