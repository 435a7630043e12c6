"""From pixels of a crop to normalised coordinates: the sizes of the crops, and checks that the pixels are theirs."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Int
from tqdm import tqdm

from rgcn_jax.data.datasets.image_size import image_size
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet


def normalised_coordinates(
    path: str | os.PathLike[str], pixels: Float32[np.ndarray, "n 14 3"], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Keypoints in pixels as normalised coordinates in [0, 1]: x divided by the crop's width, y by its height.

    A keypoint outside of its crop, or with a confidence not above 0, counts as not detected and becomes (0, 0, 0); the
    border is inside. All checks on the distribution of a source's coordinates are made here.

    Args:
      path: the files, for messages.
      pixels: x and y in pixels of the crop, confidence.
      sizes: height and width of the crop in pixels, of each frame or one for all.

    Raises:
      InputError: the coordinates cannot be pixels of the crops.
    """
    values = pixels.copy()
    values[..., :2] /= sizes[:, None, ::-1]
    detected = values[..., 2] > 0
    inside = detected & np.all((values[..., :2] >= 0) & (values[..., :2] <= 1), axis=-1)
    if detected.any():
        if pixels[detected, :2].max() <= 1:
            raise InputError(
                f"{path}: no coordinate is above 1, so these are not pixels of the crops: multiply by each "
                "crop's width and height, or run OpenPose with --keypoint_scale 0."
            )
        if 2 * np.count_nonzero(inside) < np.count_nonzero(detected):
            raise InputError(
                f"{path}: {1 - np.count_nonzero(inside) / np.count_nonzero(detected):.0%} of the keypoints lie outside "
                "of their crops, so they are pixels of other images (the whole video, or crops of another size): "
                "detect them on the crops themselves."
            )
    return np.where(inside[..., None], values, np.float32(0))


def frame_sizes(
    split: Split, tracklets: Sequence[Tracklet], frames: Sequence[str], lenient: bool = False
) -> Int[np.ndarray, "#n 2"]:
    """Height and width of the frames in pixels: one row for all if the data set has one size, else a row a frame.

    Args:
      split: the data set. Its ``frame_size`` is verified on the first frame of each tracklet whose image is there.
      tracklets: those of the frames.
      frames: paths relative to the root, each once. Sizes are read from the images' headers (JPEG or PNG).
      lenient: for callers that check the images themselves: an image that cannot be read is as large as the one before
        it, and the first frames are not compared with the data set's size.

    Raises:
      InputError: an image has another size than the data set, or its size is needed and cannot be read.
    """
    if split.frame_size is None:
        sizes = [(256, 128)]
        for frame in tqdm(frames, "image sizes", disable=None, leave=False):
            try:
                sizes.append(image_size(split.root / frame))
            except InputError:
                if not lenient:
                    raise
                sizes.append(sizes[-1])
        return np.array(sizes[1:], np.int64).reshape(-1, 2)
    if lenient:
        return np.array([split.frame_size], np.int64)
    for tracklet in tracklets:
        image = split.root / tracklet.frames[0]
        if image.is_file() and (size := image_size(image)) != split.frame_size:
            raise InputError(
                f"{image} is {size[0]} x {size[1]} pixels (height x width), but every crop of {split.name} must be "
                f"{split.frame_size[0]} x {split.frame_size[1]}: use the images as they were distributed, "
                "and keypoints in pixels of these."
            )
    return np.array([split.frame_size], np.int64)
