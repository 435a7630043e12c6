"""Formats of keypoint files: list of formats, recognition by path, and reading."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Int

from rgcn_jax.data.datasets.absent import difference, nearest
from rgcn_jax.data.datasets.listing import is_litter
from rgcn_jax.data.keypoints import (
    alphapose,
    arrays,
    coco_csv,
    frame_files,
    frame_listing,
    mmpose,
    openpose,
    store,
    yolo,
)
from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.data.keypoints.frame_files import read_folder
from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.runtime.user_files import NO_FILE, open_file

LEAST_SHARE = 2 / 3
"""Minimum fraction of frames with an entry in a format that omits frames without persons.

In such a format "no person found" cannot be distinguished from "not processed".
"""


class Format(NamedTuple):
    """A format of keypoint files.

    ``what``: description for messages. ``read``: reader, called with path, frames, sizes of the crops and the skeleton
    named by the user, or None. ``units``: units of its coordinates, if the format defines them.
    """

    what: str
    read: Callable[[Path, Sequence[str], Int[np.ndarray, "#n 2"], str | None], Detections]
    units: str | None = None


FORMATS: Mapping[str, Format] = {
    "openpose": Format("a folder of OpenPose's *_keypoints.json", partial(read_folder, openpose.PROGRAM)),
    "mmpose": Format("a folder of MMPose's *.json (RTMPose, ViTPose)", partial(read_folder, mmpose.PROGRAM)),
    "alphapose": Format("AlphaPose's alphapose-results.json, a list", alphapose.read_results),
    "agrl": Format("AGRL's pose.json, or AlphaPose's with --format cmu or open, an object", alphapose.read_images),
    "csv": Format("GAF-Net's or GaitGraph's .csv", coco_csv.read),
    "arrays": Format("an .npz file with names and keypoints [N, V, 3]", arrays.read),
    "store": Format("a keypoint store (.npz)", store.read, "pixels"),
    "yolo": Format(
        "a folder of Ultralytics' labels, *.txt (YOLO-pose)", partial(read_folder, yolo.PROGRAM), "normalised"
    ),
}
"""Formats of keypoint files by name."""


def recognise(path: Path) -> str:
    """Recognise the format of a path by its suffix and first characters; return a key of ``FORMATS``.

    Raises:
      InputError: the path does not exist, or has none of the formats.
    """
    if os.path.isdir(path):  # pathlib raises for overlong names
        return _recognise_folder(path)
    if os.path.isfile(path):
        if path.suffix == ".npz":
            return "store" if store.has_header(path) else "arrays"
        if path.suffix == ".csv":
            return "csv"
        if path.suffix == ".json":
            name = {b"[": "alphapose", b"{": "agrl"}.get(_first_character(path))
            return name or _not_found(path, "this is neither a list nor an object")
    _not_found(path, "this is a file of another kind" if os.path.exists(path) else "there is nothing of that name")


def read(
    path: str | os.PathLike[str],
    frames: Sequence[str],
    sizes: Int[np.ndarray, "#n 2"],
    format_name: str | None = None,
    least_share: float = LEAST_SHARE,
    skeleton: str | None = None,
    units: str | None = None,
) -> Detections:
    """Read the keypoints of these frames from keypoint files, in pixels.

    Args:
      path: the folder or file.
      frames: distinct paths relative to the data set's root.
      sizes: height and width of the crop in pixels, for each frame or one for all.
      format_name: a key of ``FORMATS``; None: recognised from the path.
      least_share: see ``LEAST_SHARE``.
      skeleton: a key of ``rgcn_jax.skeleton.SKELETONS``; None: as stated in the files, else by their number of
        keypoints.
      units: one of ``coordinates.UNITS``; None: as stated in the files, else pixels.

    Raises:
      InputError: the path, a file or its contents are invalid, or a frame has no keypoints. Errors are reported after
        all files were read.
    """
    path = Path(path)
    name = recognise(path) if format_name is None else format_name
    if name not in FORMATS:
        raise InputError(f"{name!r} is no format of keypoint files: expected one of {', '.join(FORMATS)}.")
    if not os.path.exists(path):
        _not_found(path, "there is nothing of that name")
    if not path.is_dir() and not path.is_file():
        _not_found(path, f"this is {NO_FILE}")
    if path.is_dir() != (name in _PROGRAMS):
        found = "a folder" if path.is_dir() else "a file"
        raise InputError(f"Keypoints as {name} are {FORMATS[name].what}, but {path} is {found}.")
    found = _read_in_units(path, name, frames, sizes, skeleton, units)
    absent = np.flatnonzero(~found.has_entry)
    if len(frames) - len(absent) < least_share * len(frames):
        raise InputError(
            f"{path} has no entry for {len(absent):,} of the {len(frames):,} frames; the first is {frames[absent[0]]}. "
            "Such a file leaves out frames in which nobody was found, but not so many: give the one that was made of "
            f"all frames, with their paths or base names{_named_otherwise(found, frames)}"
            + (", or convert it with a lower --least-share." if found.has_entry.any() else "."),
            [f"{frames[i]} has no entry" for i in absent.tolist()],
        )
    return found


def unused_files(path: Path, frames: Sequence[str]) -> list[str]:
    """Files in a folder of keypoints that belong to none of these frames. Unlike ``read``, this searches the folder."""
    return frame_listing.unused(path, _PROGRAMS[_recognise_folder(path)].suffix, frames)


def damaged_files(path: Path, frames: Sequence[str], skeleton: str | None = None) -> list[str]:
    """Unusable files of these frames in a folder of keypoints, each with the reason. Missing files are ignored."""
    return frame_files.damaged_files(_PROGRAMS[_recognise_folder(path)], path, frames, skeleton)


_PROGRAMS = {"openpose": openpose.PROGRAM, "mmpose": mmpose.PROGRAM, "yolo": yolo.PROGRAM}


def _read_in_units(
    path: Path,
    name: str,
    frames: Sequence[str],
    sizes: Int[np.ndarray, "#n 2"],
    skeleton: str | None,
    units: str | None,
) -> Detections:
    chosen = FORMATS[name]
    if chosen.units and units and units != chosen.units:
        raise InputError(f"{path} is {chosen.what}, whose coordinates are {chosen.units}: leave out --units={units}.")
    if name == "arrays":  # may state its units
        return arrays.read(path, frames, sizes, skeleton, units)
    if (units or chosen.units) != "normalised":
        return chosen.read(path, frames, sizes, skeleton)
    found = chosen.read(path, frames, np.array([[1, 1]]), skeleton)  # choose the subject in the units of the file
    scale = np.concatenate([sizes[:, ::-1], np.ones((len(sizes), 1))], axis=1)[:, None].astype(np.float32)
    bodies = found.sample
    if bodies is not None:
        bodies = bodies._replace(people=bodies.people * np.median(scale, axis=0).astype(np.float32))
    return found._replace(pixels=found.pixels * scale, sample=bodies, units="normalised")


def _named_otherwise(found: Detections, frames: Sequence[str]) -> str:
    """Example of a name in the file that matches no frame, compared with a missing frame."""
    if not found.unused:
        return ""
    absent = frames[int(np.argmin(found.has_entry))]
    return f" ({difference(absent, nearest(absent, found.unused))})"


def _recognise_folder(path: Path) -> str:
    """Recognise a folder by its first JSON file in alphabetical order, with its own files before those in subfolders.
    If there is none, recognise it by text files.
    """
    texts = False
    for _, folders, files in islice(os.walk(path), 10_000):
        folders[:] = sorted(name for name in folders if not is_litter(name))
        files = [name for name in files if not is_litter(name)]
        endings = [name.endswith(openpose.SUFFIX) for name in files if name.endswith(mmpose.SUFFIX)]
        if endings:
            return "openpose" if any(endings) else "mmpose"
        texts = texts or any(name.endswith(yolo.SUFFIX) for name in files)
    return "yolo" if texts else "openpose"  # its reader reports what is missing


def _first_character(path: Path) -> bytes:
    with as_input_error(f"The keypoint file {path} cannot be read"), open_file(path) as file:
        return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]


def _not_found(path: Path, found: str) -> NoReturn:
    raise InputError(
        f"Keypoints not found at {path}: expected {'; '.join(known.what for known in FORMATS.values())}; but {found}."
    )
