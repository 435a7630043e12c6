"""Conversion of keypoints from pixels of a crop to normalised coordinates, with checks of the units."""

import os
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int
from tqdm import tqdm

from rgcn_jax.data.datasets.images import image_size
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

UNITS = ("pixels", "normalised")
"""Units of x and y in a source: pixels of the crop, or fractions of its width and height."""

_TINY = 2  # a body with all coordinates below this is not in pixels
_LEAST = 10  # minimum number of bodies for conclusions about the distribution
_SAMPLE = 20_000  # maximum number of bodies to check
_REACH = 0.1  # if most bodies extend beyond the border by this fraction of the crop, they belong to other images


def normalised_coordinates(
    path: str | os.PathLike[str], pixels: Float32[np.ndarray, "n 14 3"], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Convert keypoints from pixels to normalised coordinates: x divided by the crop's width, y by its height.

    A keypoint outside of its crop (border included), or with a confidence of 0 or less, counts as not detected and
    becomes (0, 0, 0).

    Args:
      path: the files, for messages.
      pixels: x and y in pixels of the crop, and confidence.
      sizes: height and width of the crop in pixels, for each frame or one for all.

    Raises:
      InputError: the coordinates cannot be pixels of the crops.
    """
    values = _relative(pixels, sizes)
    detected = values[..., 2] > 0
    inside = detected & np.all((values[..., :2] >= 0) & (values[..., :2] <= 1), axis=-1)
    if detected.any():
        _check_units(path, pixels, detected)
        outside = 1 - np.count_nonzero(inside) / np.count_nonzero(detected)
        if outside > 0.5:
            raise InputError(
                f"{path}: {outside:.0%} of the keypoints lie outside of their crops, so they are pixels of other "
                f"images{_likely(values, detected)}: detect them on the crops themselves."
            )
    return np.where(inside[..., None], values, np.float32(0))


def doubts(
    path: str | os.PathLike[str],
    pixels: Float32[np.ndarray, "n 14 3"],
    sizes: Int[np.ndarray, "#n 2"],
    units_given: bool = False,
) -> list[str]:
    """Remarks about implausible positions of a data set's joints in its crops.

    In crops of persons, joints are spread over the crop. For real persons and walkers, 98 % are between 0.19 and 0.84
    of the width and 0.11 and 0.91 of the height, and the torso is a quarter of the height.

    Arguments as for ``normalised_coordinates``. ``units_given``: whether the user chose the units, so that nothing is
    an error. Raises InputError if most bodies extend far beyond their crops, so that coordinates are pixels of images
    of another size.
    """
    every = max(len(pixels) // _SAMPLE, 1)
    values = _relative(pixels[::every], sizes if len(sizes) == 1 else sizes[::every])
    detected = values[..., 2] > 0
    bodies = np.count_nonzero(detected, axis=1) >= 6
    values, detected = values[bodies], detected[bodies]
    if len(values) < _LEAST:
        return []
    x, y = values[detected][:, 0], values[detected][:, 1]
    outside = float(np.mean((x < 0) | (x > 1) | (y < 0) | (y > 1)))
    reach = float(np.median(_reach(values, detected)))
    likely = _likely(values, detected)
    if outside >= 0.2 and reach > _REACH and not units_given:
        raise InputError(
            f"{path}: {outside:.0%} of the keypoints lie outside of their crops, of most bodies by more than "
            f"{_REACH:.0%} of its size, so they are pixels of images of another size{likely}: detect them on the crops "
            "themselves; if they are pixels of the crops all the same, pass --units=pixels."
        )
    found = []
    if outside >= 0.1:
        found.append(f"{outside:.0%} of the keypoints lie outside of their crops and count as not detected{likely}")
    (left, right), (top, bottom) = np.quantile(x, [0.01, 0.99]), np.quantile(y, [0.01, 0.99])
    if right - left < 0.25 or bottom - top < 0.5:
        found.append(
            f"nearly all joints lie between {left:.0%} and {right:.0%} of the crops' width and {top:.0%} and "
            f"{bottom:.0%} of their height"
        )
    elif not (0.3 <= np.median(x) <= 0.7 and 0.25 <= np.median(y) <= 0.7):
        found.append(
            f"the joints are not in the middle of the crops, but about {np.median(x):.0%} of the width and "
            f"{np.median(y):.0%} of the height"
        )
    torso = _torso(values, detected)
    if len(torso) >= _LEAST and not 0.15 <= (median := float(np.median(torso))) <= 0.6:
        found.append(f"the torso is {median:.0%} of the crops' height, expected about 25%")
    if (sure := float(np.mean(values[detected][:, 2] > 1.2))) >= 0.01:
        largest = float(values[detected][:, 2].max())
        found.append(f"{sure:.0%} of the confidences are above 1, up to {largest:g}: expected values from 0 to 1")
    if not found:
        return []
    return [f"{path}: {'; '.join(found)}. Look whether these are keypoints of the same crops."]


def _relative(pixels: Float32[np.ndarray, "n 14 3"], sizes: Int[np.ndarray, "#n 2"]) -> Float32[np.ndarray, "n 14 3"]:
    values = pixels.copy()
    values[..., :2] /= sizes[:, None, ::-1]
    return values


def _check_units(
    path: str | os.PathLike[str], pixels: Float32[np.ndarray, "n 14 3"], detected: Bool[np.ndarray, "n 14"]
) -> None:
    """Check by bodies, not by the largest coordinate, since a joint at 1.009 among millions does not imply pixels."""
    largest = np.where(detected, np.abs(pixels[..., :2]).max(axis=-1), 0).max(axis=1)
    several = np.count_nonzero(detected, axis=1) >= 4  # a single joint may be in the corner
    people = largest[several if several.any() else detected.any(axis=1)]
    tiny = float(np.mean(people <= _TINY))
    beyond = float(pixels[detected][:, :2].max())
    if tiny > 0.5:
        what = "no coordinate is above 1" if beyond <= 1 else f"no coordinate of {tiny:.0%} of the bodies is above 2"
        raise InputError(
            f"{path}: {what}, so these are normalised coordinates, not pixels of the crops: convert them with "
            '--units=normalised (an .npz file may say units="shares"), multiply them by each crop\'s width and height, '
            "or run OpenPose with --keypoint_scale 0."
        )
    if tiny >= 0.01 and several.any():
        raise InputError(
            f"{path}: no coordinate of {tiny:.0%} of the bodies is above 2, while the others are in pixels: "
            "normalised coordinates are mixed with pixels; write all in pixels of the crops."
        )


def _reach(values: Float32[np.ndarray, "n 14 3"], detected: Bool[np.ndarray, "n 14"]) -> Float32[np.ndarray, "n"]:
    """Extent of each body beyond its crop, as a fraction of the crop's size; 0 or less if it is inside."""
    beyond = np.maximum(values[..., :2] - 1, -values[..., :2]).max(axis=-1)
    return np.where(detected, beyond, -np.inf).max(axis=1, initial=-np.inf).astype(np.float32)


def _torso(values: Float32[np.ndarray, "n 14 3"], detected: Bool[np.ndarray, "n 14"]) -> Float32[np.ndarray, "m"]:
    """Distance from the neck to the midpoint of the hips, as a fraction of the crop's height."""
    trunk = detected[:, [1, 8, 11]].all(axis=1)
    y = values[trunk, :, 1]
    return np.abs((y[:, 8] + y[:, 11]) / 2 - y[:, 1])


def _likely(values: Float32[np.ndarray, "n 14 3"], detected: Bool[np.ndarray, "n 14"]) -> str:
    """Likely origin of keypoints outside of their crops, in brackets."""
    x, y = values[detected][:, 0], values[detected][:, 1]
    (left, right), (top, bottom) = np.quantile(x, [0.01, 0.99]), np.quantile(y, [0.01, 0.99])
    torso = _torso(values, detected)
    if min(left, top) > -0.1 and len(torso) and float(np.median(torso)) >= 0.31 and bottom <= 4:
        return (
            f" (about {bottom / 0.9:.1f} times as large: enlarged crops, or the size of OpenPose's network: run it "
            "with --keypoint_scale 0)"
        )
    if right - left > 2 or bottom - top > 2:
        return " (the whole video, or crops of another size)"
    return " (crops of another size, or boxes that were shifted)"


def frame_sizes(
    split: Split, tracklets: Sequence[Tracklet], frames: Sequence[str], lenient: bool = False
) -> Int[np.ndarray, "#n 2"]:
    """Height and width of the frames in pixels: one row if the data set has a single size, else one per frame.

    Args:
      split: the data set. Its ``frame_size`` is verified on the first frame of each tracklet, if the image exists.
      tracklets: tracklets of the frames.
      frames: distinct paths relative to the root. Sizes are read from the images' headers (JPEG or PNG).
      lenient: for callers that check the images themselves. An unreadable image gets the size of the previous one, and
        first frames are not compared with the data set's size.

    Raises:
      InputError: an image has another size than the data set, or a required size cannot be read.
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
