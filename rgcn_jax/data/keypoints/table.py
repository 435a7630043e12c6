"""Keypoint files in, one table of the 14 keypoints of every frame out. Needs no TensorFlow.

``formats.py`` lists the forms that are read: what OpenPose, AlphaPose, MMPose and others write, arrays,
and the keypoint store, one ``.npz`` file for a whole data set (``store.py``). Reading a store takes
seconds, reading a million small files does not, so turn a folder into a store once::

    python -m rgcn_jax.data.keypoints --dataset=mars --root=MARS --keypoints=openpose --out=mars_keypoints.npz
"""

import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from jaxtyping import Float, Float32, Int
from tqdm import tqdm

from rgcn_jax.data.datasets.image_size import image_size
from rgcn_jax.data.keypoints.coverage import Coverage, measure
from rgcn_jax.data.keypoints.formats import read
from rgcn_jax.data.keypoints.store import save
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

__all__ = [
    "KeypointTable",
    "count_coverage",
    "coverage",
    "frame_sizes",
    "image_size",
    "load",
    "read_pixels",
    "save",
    "shares_of_crop",
    "unique_frames",
]


@dataclass(frozen=True)
class KeypointTable:
    """The keypoints of every frame of some tracklets, complete: a frame without a detected person has a row of zeros.

    ``values``: x and y as shares of the crop's width and height, in [0, 1], and the confidence as the detector gave it
    (OpenPose's is at times slightly above 1); (0, 0, 0) where not detected. ``rows``: path of a frame -> its row.
    """

    values: Float32[np.ndarray, "n 14 3"]
    rows: Mapping[str, int]

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """A copy of the rows of a tracklet's frames, in their order. KeyError: the table was not loaded for a frame."""
        rows = self._rows_of.get(tracklet)
        if rows is None:
            try:
                rows = np.array([self.rows[frame] for frame in tracklet.frames], np.int64)
            except KeyError as error:
                raise KeyError(f"no keypoints for frame {error}: the table holds other tracklets") from None
            self._rows_of[tracklet] = rows
        return self.values[rows]

    @cached_property
    def _rows_of(self) -> dict[Tracklet, Int[np.ndarray, "f"]]:
        """Those that were asked for: a tracklet is again and again, and has hundreds of frames."""
        return {}


def load(path: str | os.PathLike[str], split: Split, tracklets: Iterable[Tracklet] | None = None) -> KeypointTable:
    """Read the keypoints of a data set from files.

    A keypoint outside of its crop, or with a confidence not above 0, counts as not detected; the border is inside.
    Of several people in a frame the one of ``choose_subject`` is taken. Where the form of the files leaves out frames
    in which nobody was found, a warning says how many these are.

    Args:
      path: a folder or file in one of the forms of ``formats.py``, which is told by the path.
      split: the data set. Pixels become shares by its ``frame_size``, which is verified on the first frame of each
        tracklet where the image is there, else by the size in each image's header (JPEG or PNG).
      tracklets: whose keypoints are read; None: training, query and gallery, but not the junk.

    Raises:
      InputError: the path, a file, or what it holds is not as it must be, a frame has no keypoints, or the coordinates
        cannot be pixels of the crops. All files are read before bad ones are reported.
    """
    tracklets = [*split.train, *split.query, *split.gallery] if tracklets is None else list(tracklets)
    frames = unique_frames(tracklets)
    sizes = frame_sizes(split, tracklets, frames)
    pixels = read_pixels(path, frames, sizes)
    return KeypointTable(shares_of_crop(path, pixels, sizes), {frame: row for row, frame in enumerate(frames)})


def read_pixels(
    path: str | os.PathLike[str], frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Read what the files say of these frames: x and y in pixels of the crop, confidence.

    Args:
      path: as in ``load``.
      frames: paths relative to the root, each once.
      sizes: height and width in pixels, of each frame or one for all.

    Raises:
      InputError: as in ``load``, but for coordinates that cannot be pixels of the crops.
    """
    found = read(path, frames, sizes)
    absent = np.count_nonzero(~found.has_entry)
    if absent:
        warnings.warn(
            f"{path} has no entry for {absent:,} of the {len(frames):,} frames: nobody was found in them.", stacklevel=3
        )
    return found.pixels


def coverage(table: KeypointTable, tracklets: Iterable[Tracklet]) -> dict[int, Float[np.ndarray, "4"]]:
    """By camera the shares of frames with 0, 1 to 7, 8 to 13 and all 14 keypoints detected; a frame counts once."""
    return {camera: counts / counts.sum() for camera, counts in count_coverage(table, tracklets).cameras.items()}


def count_coverage(table: KeypointTable, tracklets: Iterable[Tracklet]) -> Coverage:
    """The coverage of a whole table, and by camera of the tracklets' frames; a frame counts once."""
    rows: dict[int, set[int]] = {}
    for tracklet in tracklets:
        rows.setdefault(tracklet.camera_id, set()).update(table.rows[frame] for frame in tracklet.frames)
    return measure(table.values[..., 2] > 0, {camera: np.array(sorted(r), int) for camera, r in rows.items()})


def unique_frames(tracklets: Iterable[Tracklet]) -> tuple[str, ...]:
    """All frames of the tracklets, each once, in their order."""
    return tuple(dict.fromkeys(frame for tracklet in tracklets for frame in tracklet.frames))


def frame_sizes(
    split: Split, tracklets: Sequence[Tracklet], frames: Sequence[str], lenient: bool = False
) -> Int[np.ndarray, "#n 2"]:
    """Height and width in pixels: one row for all frames if the data set has one size, else a row a frame.

    ``lenient`` is for who tells of images by themselves: one that cannot be read is as large as the one before it, and
    the first ones are not compared with the data set's size.

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


def shares_of_crop(
    path: str | os.PathLike[str], pixels: Float32[np.ndarray, "n 14 3"], sizes: Int[np.ndarray, "#n 2"]
) -> Float32[np.ndarray, "n 14 3"]:
    """Pixels as shares of width and height; zeros for what is outside of the crop or has no confidence.

    Raises:
      InputError: these cannot be pixels of the crops; ``path`` is only named.
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
                "of their crops, so they are pixels of other pictures (the whole video, or crops of another size): "
                "detect them on the crops themselves."
            )
    return np.where(inside[..., None], values, np.float32(0))
