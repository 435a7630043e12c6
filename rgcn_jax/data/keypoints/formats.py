"""Formats of keypoint files: their list, their recognition by the path, and reading in any of them."""

import os
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import NamedTuple, NoReturn

import numpy as np
from jaxtyping import Int

from rgcn_jax.data.keypoints import alphapose, arrays, coco_csv, frame_files, mmpose, openpose, store
from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.handed_over import NO_FILE, open_file

LEAST_SHARE = 2 / 3
"""Of the frames, so many at least must have an entry in a file that leaves out frames without people.

There "nobody found" cannot be told from "never run": half a data set must not be taken for empty."""


class Format(NamedTuple):
    """``what``: description for messages. ``read``: its reader, arguments as for ``read``."""

    what: str
    read: Callable[[Path, Sequence[str], Int[np.ndarray, "#n 2"]], Detections]


FORMATS: Mapping[str, Format] = {
    "openpose": Format("a folder of OpenPose's *_keypoints.json", openpose.read_folder),
    "mmpose": Format("a folder of MMPose's *.json (RTMPose, ViTPose)", mmpose.read),
    "alphapose": Format("AlphaPose's alphapose-results.json, a list", alphapose.read_results),
    "agrl": Format("AGRL's pose.json, or AlphaPose's with --format cmu or open, an object", alphapose.read_images),
    "csv": Format("GAF-Net's or GaitGraph's .csv", coco_csv.read),
    "arrays": Format("an .npz file with names and keypoints [N, V, 3]", arrays.read),
    "store": Format("a keypoint store (.npz)", store.read),
}
"""Name -> format of keypoint files."""


def recognise(path: Path) -> str:
    """The key of ``FORMATS`` that a path has, by its suffix and first characters.

    Raises:
      InputError: there is nothing at the path, or it has none of the formats.
    """
    if os.path.isdir(path):  # pathlib's raises for too long a name
        return _recognise_folder(path)
    if os.path.isfile(path):
        if path.suffix == ".npz":
            return "store" if store.has_header(path) else "arrays"
        if path.suffix == ".csv":
            return "csv"
        if path.suffix == ".json":
            form = {b"[": "alphapose", b"{": "agrl"}.get(_first_character(path))
            return form or _not_found(path, "this is neither a list nor an object")
    _not_found(path, "this is a file of another kind" if os.path.exists(path) else "there is nothing of that name")


def read(
    path: str | os.PathLike[str],
    frames: Sequence[str],
    sizes: Int[np.ndarray, "#n 2"],
    format_name: str | None = None,
    least_share: float = LEAST_SHARE,
) -> Detections:
    """Read what keypoint files say of these frames.

    Args:
      path: the folder or file.
      frames: paths relative to the data set's root, each once.
      sizes: height and width of the crop in pixels, of each frame or one for all.
      format_name: a key of ``FORMATS``; None: recognised by the path.
      least_share: see ``LEAST_SHARE``.

    Raises:
      InputError: the path, a file, or what it holds is not as it must be, or a frame has no keypoints. All files are
        read before bad ones are reported.
    """
    path = Path(path)
    name = recognise(path) if format_name is None else format_name
    if name not in FORMATS:
        raise InputError(f"{name!r} is no format of keypoint files: expected one of {', '.join(FORMATS)}.")
    if not os.path.exists(path):
        _not_found(path, "there is nothing of that name")
    if not path.is_dir() and not path.is_file():
        _not_found(path, f"this is {NO_FILE}")
    if path.is_dir() != (name in ("openpose", "mmpose")):
        found = "a folder" if path.is_dir() else "a file"
        raise InputError(f"Keypoints as {name} are {FORMATS[name].what}, but {path} is {found}.")
    found = FORMATS[name].read(path, frames, sizes)
    absent = np.flatnonzero(~found.has_entry)
    if len(frames) - len(absent) < least_share * len(frames):
        raise InputError(
            f"{path} has no entry for {len(absent):,} of the {len(frames):,} frames; the first is {frames[absent[0]]}. "
            "Such a file leaves out frames in which nobody was found, but not so many: give the one that was made of "
            "all frames, with their paths or base names, or convert it with a lower --least-share.",
            [f"{frames[i]} has no entry" for i in absent.tolist()],
        )
    return found


def unused_files(path: Path, frames: Sequence[str]) -> list[str]:
    """The files of a folder of keypoints that are of none of these frames; it is searched, which ``read`` does not."""
    return frame_files.unused_files(_PROGRAMS[_recognise_folder(path)], path, frames)


def damaged_files(path: Path, frames: Sequence[str]) -> list[str]:
    """The files of a folder of keypoints that are of these frames and cannot be used, each with the reason; those that
    are missing are left out.
    """
    return frame_files.damaged_files(_PROGRAMS[_recognise_folder(path)], path, frames)


_PROGRAMS = {"openpose": openpose.PROGRAM, "mmpose": mmpose.PROGRAM}


def _recognise_folder(path: Path) -> str:
    """By the first JSON file in the order of names, the folder's own before those in its folders."""
    for _, folders, files in islice(os.walk(path), 10_000):
        folders.sort()
        endings = [name.endswith(openpose.SUFFIX) for name in files if name.endswith(mmpose.SUFFIX)]
        if endings:
            return "openpose" if any(endings) else "mmpose"
    return "openpose"  # its reader says what is missing


def _first_character(path: Path) -> bytes:
    try:
        with open_file(path) as file:
            return file.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError as error:
        raise InputError(f"The keypoint file {path} cannot be read ({error.strerror}).") from error


def _not_found(path: Path, found: str) -> NoReturn:
    raise InputError(
        f"Keypoints not found at {path}: expected {'; '.join(form.what for form in FORMATS.values())}; but {found}."
    )
