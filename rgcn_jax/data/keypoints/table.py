"""The table of keypoints that models are fed: normalised coordinates of the 14 keypoints of every frame.

``load`` reads it from the files of a pose detector or from a keypoint store; ``formats.py`` lists the formats. Reading
a store takes seconds, reading a million small files does not, so convert a folder into a store once::

    python -m rgcn_jax.data.keypoints --dataset=mars --root=MARS --keypoints=openpose --out=mars_keypoints.npz
"""

import os
import warnings
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from rgcn_jax.data.keypoints import anatomy, formats
from rgcn_jax.data.keypoints.coordinates import doubts, frame_sizes, normalised_coordinates
from rgcn_jax.data.keypoints.coverage import Coverage, measure_tracklets
from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet, unique_frames

_SOME = 20_000  # bodies of prepared data that are looked at


@dataclass(frozen=True)
class KeypointTable:
    """The keypoints of every frame of some tracklets, complete: a frame without a detected person has a row of zeros.

    ``values``: x and y as normalised coordinates, in [0, 1], and the confidence as the detector gave it (OpenPose's is
    at times slightly above 1); (0, 0, 0) where not detected. ``rows``: path of a frame -> its row. ``remarks``: what is
    doubtful about them, a sentence each.
    """

    values: Float32[np.ndarray, "n 14 3"]
    rows: Mapping[str, int]
    remarks: tuple[str, ...] = ()

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

    def covers(self, tracklets: Iterable[Tracklet]) -> bool:
        """Whether the table has a row for every frame of these tracklets."""
        return all(frame in self.rows for tracklet in tracklets for frame in tracklet.frames)

    def coverage(self, tracklets: Iterable[Tracklet]) -> Coverage:
        """How many keypoints were detected: in the whole table, and by camera of the tracklets' frames."""
        return measure_tracklets(self.values[..., 2] > 0, self.rows, tracklets)

    @cached_property
    def _rows_of(self) -> dict[Tracklet, Int[np.ndarray, "f"]]:
        """Cache of ``of``: a tracklet is read again and again, and has hundreds of frames."""
        return {}


class LoadedKeypoints(NamedTuple):
    """What ``read_source`` returns: the ``table``, and the ``detections`` in pixels of the same frames in its order."""

    table: KeypointTable
    detections: Detections


def load(
    path: str | os.PathLike[str],
    split: Split,
    tracklets: Iterable[Tracklet] | None = None,
    junk: Collection[Tracklet] = (),
) -> KeypointTable:
    """Read the keypoints of a data set from files; arguments and errors as for ``read_source``.

    ``tracklets``: None: training, query and gallery, but not the junk.

    Warns:
      UserWarning: frames have no entry in the files, in a format that leaves out frames in which nobody was found.
    """
    tracklets = [*split.train, *split.query, *split.gallery] if tracklets is None else list(tracklets)
    table, detections = read_source(path, split, tracklets, junk)
    absent = np.count_nonzero(~detections.has_entry)
    if absent:
        warnings.warn(
            f"{path} has no entry for {absent:,} of the {len(table.rows):,} frames: nobody was found in them.",
            stacklevel=2,
        )
    return table


def read_source(
    path: str | os.PathLike[str],
    split: Split,
    tracklets: Sequence[Tracklet],
    junk: Collection[Tracklet] = (),
    *,
    format_name: str | None = None,
    least_share: float = formats.LEAST_SHARE,
    threshold: float = 0.0,
    lenient: bool = False,
    skeleton: str | None = None,
    units: str | None = None,
) -> LoadedKeypoints:
    """Read keypoint files into a table; the only way from a keypoint source to normalised coordinates.

    Whatever the format, a store included, the distribution of the coordinates is checked (``coordinates.py``) and the
    bodies are tested by anatomy (``anatomy.py``).

    Of several people in a frame the one of ``choose_subject`` is taken.

    Args:
      path: a folder or file in one of the formats of ``formats.py``.
      split: the data set, for the sizes of its frames (``frame_sizes``).
      tracklets: whose keypoints are read.
      junk: those of the tracklets that may lack keypoints. Where keypoints cannot be read with them, they are read
        without, and the table does not cover the junk.
      format_name: a key of ``formats.FORMATS``; None: recognised by the path.
      least_share: see ``formats.LEAST_SHARE``.
      threshold: keypoints of a lower confidence count as not detected.
      lenient: images that cannot be read are no error, see ``frame_sizes``.
      skeleton: a key of ``rgcn_jax.skeleton.SKELETONS``; None: as the files say, else by their number of keypoints.
      units: one of ``coordinates.UNITS``; None: as the files say, else pixels.

    Raises:
      InputError: the path, a file, or what it holds is not as it must be, a frame has no keypoints, nobody was found
        in any, the coordinates cannot be pixels of the crops, or the bodies are of another skeleton. All files are
        read before bad ones are reported.
    """

    def read(wanted: Sequence[Tracklet]) -> LoadedKeypoints:
        frames = unique_frames(wanted)
        sizes = frame_sizes(split, wanted, frames, lenient)
        found = formats.read(path, frames, sizes, format_name, least_share, skeleton, units)
        sure = found.pixels[..., 2:] >= threshold
        pixels = np.where(sure, found.pixels, np.float32(0))
        if not pixels[..., 2].any():
            above = f" with a confidence of {threshold:g} or more" if threshold else ""
            raise InputError(f"{path} has no detected keypoint{above} in any of the {len(frames):,} frames.")
        values = normalised_coordinates(path, pixels, sizes)
        found_doubts = doubts(path, pixels, sizes, units is not None)
        if found.sample:
            found_doubts += anatomy.check(path, found.sample)
        remarks = (*found.remarks, *found_doubts)
        table = KeypointTable(values, {name: i for i, name in enumerate(frames)}, remarks)
        return LoadedKeypoints(table, found._replace(pixels=pixels, threshold=max(threshold, found.threshold)))

    try:
        return read(tracklets)
    except InputError:
        if not junk:
            raise
    may_lack = frozenset(junk)
    return read([t for t in tracklets if t not in may_lack])  # raises where more than the junk is at fault


def check_values(
    path: str | os.PathLike[str], values: Float32[np.ndarray, "n 14 3"], size: tuple[int, int]
) -> list[str]:
    """The guards of ``read_source`` for keypoints that were read before, in prepared data: what is doubtful about them.

    Args:
      path: the prepared data, for messages.
      values: as those of a ``KeypointTable``; some of them are looked at.
      size: height and width of the prepared frames in pixels.

    Raises:
      InputError: the bodies are of another skeleton.
    """
    height, width = size
    some = np.array(values[:: max(len(values) // _SOME, 1)]) * np.array([width, height, 1], np.float32)
    bodies = anatomy.sample(some[some[..., 2].any(axis=1)], "rgcn_jax14", named=True)
    return [*doubts(path, some, np.array([[height, width]])), *anatomy.check(path, bodies)]
