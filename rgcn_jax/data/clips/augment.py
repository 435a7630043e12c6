"""Augmentation of a clip: one draw for all its frames, and the same geometry for frames and keypoints.

The draws and the keypoints are NumPy; the pixels are transformed by the readers (OpenCV in ``memory``, TensorFlow in
``pipeline``), both from the same box, flip and erased rectangle.
"""

from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float32

from rgcn_jax.data.clips.keypoint_augment import KeypointAugmentation
from rgcn_jax.skeleton import FLIP_ORDER

ERASED_RGB = (124, 116, 104)
"""What an erased rectangle is painted with: ImageNet's mean colour, which is 0 after normalisation."""


@dataclass(frozen=True)
class Augmentation:
    """Random crop (the frame scaled by ``crop_scale``, then a part of the original size cut out), flip and erasing.

    Probabilities are per clip. The paper says nothing of augmentation; crop and flip are its ancestors' recipe,
    erasing is off there. Erasing takes 2 to 40 % of the area at an aspect of 0.3 to 3.3 (Zhong et al., 2020) and
    leaves keypoints alone.
    """

    crop_probability: float = 0.5
    crop_scale: float = 1.125
    flip_probability: float = 0.5
    erase_probability: float = 0.0
    keypoints: KeypointAugmentation = field(default_factory=KeypointAugmentation)
    """Of the keypoints alone."""


def no_transform(clips: int) -> tuple[Float32[np.ndarray, "b 4"], Bool[np.ndarray, "b"], Float32[np.ndarray, "b 4"]]:
    """Box, flip and erased rectangle of clips that are not augmented."""
    return (
        np.tile(np.array([0, 0, 1, 1], np.float32), (clips, 1)),
        np.zeros(clips, bool),
        np.zeros((clips, 4), np.float32),
    )


def draw(
    rng: np.random.Generator, clips: int, augmentation: Augmentation
) -> tuple[Float32[np.ndarray, "b 4"], Bool[np.ndarray, "b"], Float32[np.ndarray, "b 4"]]:
    """One draw a clip: (box, flip, erase) as ``BatchPlan`` describes them.

    The number of random values drawn does not depend on the probabilities, so that switching one kind off does not
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
    """Keypoints as they lie in what is shown: moved and scaled by the box; mirrored with left and right swapped by
    the flip.

    Normalised coordinates of the frame come in, those of what is shown go out. A keypoint that the crop pushes out
    keeps its place outside [0, 1]; one that was not detected stays (0, 0, 0).
    """
    left, top, right, bottom = (box[:, i, None, None] for i in range(4))
    x = (keypoints[..., 0] - left) / (right - left)
    y = (keypoints[..., 1] - top) / (bottom - top)
    moved = np.stack([x, y, keypoints[..., 2]], axis=-1)
    mirrored = moved[..., FLIP_ORDER, :]
    mirrored[..., 0] = 1.0 - mirrored[..., 0]
    moved = np.where(flip[:, None, None, None], mirrored, moved)
    return np.where(moved[..., 2:] > 0, moved, 0.0).astype(np.float32)
