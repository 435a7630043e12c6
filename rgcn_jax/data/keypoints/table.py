"""Keypoint table, the input of models: normalised coordinates of the 14 keypoints of every frame.

``load`` reads it from keypoint files or from a keypoint store; see ``formats.py`` for the formats. A store is read in
seconds, a million small files are not, so convert a folder to a store once::

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
from rgcn_jax.data.keypoints.coverage import Coverage, measure
from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet, unique_frames

_SOME = 20_000  # maximum number of bodies of prepared data to check


@dataclass(frozen=True)
class KeypointTable:
    """Keypoints of all frames of some tracklets; a frame without a detected person has a row of zeros.

    - ``values``: x and y in normalised coordinates, in [0, 1], and confidence as given by the detector (OpenPose's is
      sometimes slightly above 1); (0, 0, 0) if not detected.
    - ``rows``: path of a frame -> its row.
    - ``remarks``: doubtful findings.
    """

    values: Float32[np.ndarray, "n 14 3"]
    rows: Mapping[str, int]
    remarks: tuple[str, ...] = ()

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """Return a copy of the rows of a tracklet's frames, in their order. Raises KeyError if a frame is not in the
        table.
        """
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
        """Coverage of the whole table, and by camera of the tracklets' frames."""
        return measure(self.values[..., 2] > 0, self.rows, tracklets)

    @cached_property
    def _rows_of(self) -> dict[Tracklet, Int[np.ndarray, "f"]]:
        """Cached ``of``, since tracklets are read repeatedly and have hundreds of frames."""
        return {}


class LoadedKeypoints(NamedTuple):
    """Result of ``read_source``: the ``table``, and the ``detections`` in pixels of the same frames, in its order."""

    table: KeypointTable
    detections: Detections


def load(
    path: str | os.PathLike[str],
    split: Split,
    tracklets: Iterable[Tracklet] | None = None,
    junk: Collection[Tracklet] = (),
) -> KeypointTable:
    """Read the keypoints of a data set from files; arguments and errors as for ``read_source``.

    ``tracklets``: None: training, query and gallery, without junk.

    Warns:
      UserWarning: frames have no entry in the files, in a format that omits frames without persons.
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
    """Read keypoint files into a table; the only conversion from keypoint sources to normalised coordinates.

    For all formats, including stores, the distribution of coordinates (``coordinates.py``) and the anatomy of the
    bodies (``anatomy.py``) are checked. If a frame shows several persons, ``choose_subject`` selects one.

    Args:
      path: a folder or file in one of the formats of ``formats.py``.
      split: the data set, for the sizes of its frames (``frame_sizes``).
      tracklets: tracklets to read.
      junk: tracklets among them that may lack keypoints. If reading fails with them, they are left out of the table.
      format_name: a key of ``formats.FORMATS``; None: recognised from the path.
      least_share: see ``formats.LEAST_SHARE``.
      threshold: confidence below which keypoints count as not detected.
      lenient: whether to tolerate unreadable images, see ``frame_sizes``.
      skeleton: see ``formats.read``.
      units: see ``formats.read``.

    Raises:
      InputError: the path, a file or its contents are invalid, a frame has no keypoints, no person was found in any
        frame, the coordinates cannot be pixels of the crops, or the bodies have another skeleton. Errors are reported
        after all files were read.
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
    return read([t for t in tracklets if t not in may_lack])  # raises if junk is not the only cause


def check_values(
    path: str | os.PathLike[str], values: Float32[np.ndarray, "n 14 3"], size: tuple[int, int]
) -> list[str]:
    """Check keypoints of prepared data as ``read_source`` does, and return doubtful findings.

    Args:
      path: the prepared data, for messages.
      values: values as in a ``KeypointTable``; a part of them is checked.
      size: height and width of the prepared frames in pixels.

    Raises:
      InputError: the bodies have another skeleton.
    """
    height, width = size
    some = np.array(values[:: max(len(values) // _SOME, 1)]) * np.array([width, height, 1], np.float32)
    bodies = anatomy.sample(some[some[..., 2].any(axis=1)], "rgcn_jax14", named=True)
    return [*doubts(path, some, np.array([[height, width]])), *anatomy.check(path, bodies)]
