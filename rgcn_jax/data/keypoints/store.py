"""Keypoint store: a compact file with the keypoints of a whole data set. Version 1.

It is an ``.npz`` archive without pickled objects, readable by ``np.load``, with three arrays:

- ``names`` [N], text: distinct paths of the frames relative to the data set's root, with forward slashes.
- ``keypoints`` [N, 14, 3], float32: x and y in pixels of the crop, and confidence; (0, 0, 0) if not detected. The order
  is that of ``rgcn_jax.skeleton.KEYPOINTS``.
- ``header``, JSON text: ``{"format": "rgcn_jax keypoints", "version": 1, "detector": "alphapose", "skeleton": "coco17",
  "threshold": 0.2, "frames": N, "coverage": {"frames": {"0": ..., "1-7": ..., "8-13": ..., "14": ...}, "cameras": {"1":
  {...}}, "keypoints": {"head": ..., ...}}}``. The coverage counts frames, as in ``coverage.py``.

Values are stored unchanged, so training from the store is bit-identical to training from the detector's files. A store
takes about 140 bytes per frame (170 MB for the 1.19 million frames of MARS). This is twice as much as in float16, which
would move a keypoint in a crop of height 256 by up to 1/16 pixel. A file without a header is an array file
(``arrays.py``). If V = 14, it is a store from before version 1.
"""

import json
import os
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int

from rgcn_jax.data.keypoints.arrays import detections_of, names_and_keypoints, open_arrays
from rgcn_jax.data.keypoints.coverage import Coverage, measure, to_json
from rgcn_jax.data.keypoints.detections import Detections, shown
from rgcn_jax.data.keypoints.skeletons import ARRAYS
from rgcn_jax.errors import InputError
from rgcn_jax.runtime import strict_json
from rgcn_jax.runtime.files import writing
from rgcn_jax.runtime.npz import write_arrays
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.skeleton import SKELETONS

VERSION = 1
_FORMAT = "rgcn_jax keypoints"


class Header(NamedTuple):
    """Header of a store. ``coverage`` has the form of ``coverage.to_json``."""

    detector: str
    skeleton: str
    threshold: float
    frames: int
    coverage: dict[str, Any]


def save(
    path: str | os.PathLike[str],
    names: Sequence[str],
    keypoints: Float32[np.ndarray, "n 14 3"],
    *,
    detector: str = "unknown",
    skeleton: str = "",
    threshold: float = 0.0,
    coverage: Coverage | None = None,
) -> None:
    """Write a keypoint store, compressed and atomically.

    Args:
      path: the ``.npz`` file; an existing one is replaced.
      names: distinct paths of the N frames relative to the root, or their base names.
      keypoints: x and y in pixels of the crop, and confidence; (0, 0, 0) if not detected.
      detector: program, model and version of the detector.
      skeleton: skeleton of the detector, before conversion to the 14 keypoints; "" if unknown.
      threshold: confidence below which keypoints were dropped.
      coverage: coverage for the header; None: computed here from confidences above 0, without cameras.

    Raises:
      InputError: the path does not end in ``.npz`` or cannot be written, or no keypoint is detected in any frame.
      ValueError: the numbers of names and keypoints differ, a name occurs twice, or a value is not finite.
    """
    path = Path(path)
    check_store_path(path)
    if len(names) != len(keypoints) or len(set(names)) != len(names):
        raise ValueError(f"{len(names)} names, {len(set(names))} of them different, for {len(keypoints)} frames.")
    if not np.isfinite(keypoints).all():
        raise ValueError("a keypoint has a number that is not finite: write zeros where it was not detected.")
    if not (keypoints[..., 2] > 0).any():
        raise InputError(
            f"The keypoint store {path} is not written: there is no detected keypoint in any of its {len(names):,} "
            "frames. Give keypoints of this data set's frames, or a lower threshold."
        )
    counts = measure(keypoints[..., 2] > 0) if coverage is None else coverage
    header = {
        "format": _FORMAT,
        "version": VERSION,
        **Header(detector, skeleton, threshold, len(names), to_json(counts))._asdict(),
    }
    arrays = {
        "header": np.array(json.dumps(header)),
        "names": np.array(names, dtype=np.str_),
        "keypoints": keypoints,
    }
    with writing(path):
        write_arrays(path, arrays, compressed=True)


def check_store_path(path: Path) -> None:
    """Raise InputError if the name of a store is invalid or its folder does not exist."""
    if path.suffix != ".npz":
        raise InputError(f"A keypoint store must be called something.npz, found {path}: give such a name.")
    if not path.parent.is_dir():
        raise InputError(
            f"The keypoint store {path} cannot be written: there is no folder {path.parent}, make it first."
        )


def read(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None) -> Detections:
    """Read the keypoints of these frames from a store with a header; arguments as for ``formats.read``.

    ``skeleton``: original skeleton of a store of 14 keypoints other than this project's. Raises InputError if the file
    is damaged, of a newer version or another kind, or lacks a frame.
    """
    del sizes
    arrays = open_arrays(path)
    header = _header(path, arrays.get("header"))
    names, keypoints = names_and_keypoints(path, arrays)
    if keypoints.shape[1] != 14 or header.frames != len(names):
        raise InputError(
            f"The keypoint store {path} is damaged: its header speaks of {header.frames:,} frames of 14 keypoints, "
            f"found {len(names):,} of {keypoints.shape[1]}: write it again."
        )
    if skeleton is not None and SKELETONS[skeleton] != 14:
        raise InputError(f"The keypoint store {path} holds 14 keypoints already: leave out --skeleton={skeleton}.")
    found = detections_of(path, names, keypoints, frames, skeleton or ARRAYS[14], named=True)
    return found._replace(skeleton=skeleton or header.skeleton, detector=header.detector, threshold=header.threshold)


def has_header(path: Path) -> bool:
    """Whether this is a store of version 1 or later, if the list of its arrays can be read."""
    try:
        with open_file(path) as file, zipfile.ZipFile(file) as archive:
            return "header.npy" in archive.namelist()
    except (OSError, ValueError, NotImplementedError, zipfile.BadZipFile):
        return False


def _header(path: Path, text: np.ndarray | None) -> Header:
    if text is None:
        raise InputError(f"The keypoint store {path} has no header: it is older than version 1, or no store.")
    try:
        fields = strict_json.parse(text.item())
        if fields["format"] != _FORMAT:
            raise ValueError(f"format {shown(fields['format'])}")
        version = fields["version"]
        if not isinstance(version, int) or version < 1:
            raise ValueError(f"version {shown(version)}")
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(
            f"The header of the keypoint store {path} cannot be read ({type(error).__name__}: {shown(error)}): write "
            "the store again."
        ) from error
    if version > VERSION:
        raise InputError(
            f"The keypoint store {path} is of version {version}, this program reads version {VERSION}: update "
            "rgcn_jax, or write the store again with this one."
        )
    kinds = {"detector": str, "skeleton": str, "threshold": (int, float), "frames": int, "coverage": dict}
    wrong = [name for name, kind in kinds.items() if not isinstance(fields.get(name), kind)]
    if wrong:
        raise InputError(f"The header of the keypoint store {path} lacks {', '.join(wrong)}: write the store again.")
    return Header(*(fields[name] for name in Header._fields))
