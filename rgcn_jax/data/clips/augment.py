"""Augmentation of a clip: one random draw for all its frames, with the same geometry for frames and keypoints.

Draws and keypoints are in NumPy; readers transform pixels (OpenCV in ``memory``, TensorFlow in ``pipeline``) according
to the same box, flip and erased rectangle.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.data.clips.keypoint_augment import KeypointAugmentation
from rgcn_jax.skeleton import FLIP_ORDER

ERASED_RGB = (124, 116, 104)
"""Colour of erased rectangles: ImageNet's mean colour, which is 0 after normalisation."""


@dataclass(frozen=True)
class Augmentation:
    """Random crop (scale the frame by ``crop_scale``, then crop to the original size), flip and erasing.

    Probabilities are per clip. The paper does not mention augmentation; crop and flip are from the recipe it builds on,
    which has no erasing. Erasing covers 2 to 40 % of the area with an aspect ratio of 0.3 to 3.3 (Zhong et al., 2020)
    and does not change keypoints.
    """

    crop_probability: float = 0.5
    crop_scale: float = 1.125
    flip_probability: float = 0.5
    erase_probability: float = 0.0
    keypoints: KeypointAugmentation = field(default_factory=KeypointAugmentation)
    """Augmentation of the keypoints only."""


def no_transform(clips: int) -> tuple[Float32[np.ndarray, "b 4"], Bool[np.ndarray, "b"], Float32[np.ndarray, "b 4"]]:
    """Box, flip and erased rectangle of clips without augmentation."""
    return (
        np.tile(np.array([0, 0, 1, 1], np.float32), (clips, 1)),
        np.zeros(clips, bool),
        np.zeros((clips, 4), np.float32),
    )


def draw(
    rng: np.random.Generator, clips: int, augmentation: Augmentation
) -> tuple[Float32[np.ndarray, "b 4"], Bool[np.ndarray, "b"], Float32[np.ndarray, "b 4"]]:
    """Draw (box, flip, erase) for each clip, as in ``BatchPlan``.

    The number of random values does not depend on the probabilities, so that disabling one transformation does not
    change the others.
    """
    box, flip, erase = no_transform(clips)
    u = rng.random((clips, 8))
    size = 1.0 / augmentation.crop_scale
    cropped = u[:, 0] < augmentation.crop_probability
    corner = u[:, 1:3] * (1.0 - size)
    box[cropped, :2] = corner[cropped]
    box[cropped, 2:] = corner[cropped] + size
    flip[:] = u[:, 3] < augmentation.flip_probability
    area, aspect = 0.02 + 0.38 * u[:, 5], np.exp(np.log(0.3) + u[:, 6] * np.log(3.3 / 0.3))
    extent = np.minimum(np.sqrt(np.stack([area / aspect, area * aspect], axis=1)), 1.0)  # width, height
    start = rng.random((clips, 2)) * (1.0 - extent)
    erased = u[:, 4] < augmentation.erase_probability
    erase[erased] = np.concatenate([start, start + extent], axis=1)[erased]
    return box, flip, erase


def transform_keypoints(
    keypoints: Float32[np.ndarray, "b t 14 3"], box: Float32[np.ndarray, "b 4"], flip: Bool[np.ndarray, "b"]
) -> Float32[np.ndarray, "b t 14 3"]:
    """Transform keypoints with the frame: by the box, and mirrored with left and right swapped by the flip.

    From normalised coordinates of the frame to those of the box. Keypoints outside of the box have coordinates outside
    of [0, 1]; undetected ones stay (0, 0, 0).
    """
    left, top, right, bottom = (box[:, i, None, None] for i in range(4))
    x = (keypoints[..., 0] - left) / (right - left)
    y = (keypoints[..., 1] - top) / (bottom - top)
    moved = np.stack([x, y, keypoints[..., 2]], axis=-1)
    mirrored = moved[..., FLIP_ORDER, :]
    mirrored[..., 0] = 1.0 - mirrored[..., 0]
    moved = np.where(flip[:, None, None, None], mirrored, moved)
    return np.where(moved[..., 2:] > 0, moved, 0.0).astype(np.float32)
