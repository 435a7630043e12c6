"""Format of prepared data (ArrayRecord): its files, its marker, and the search for it. Needs no TensorFlow.

``python -m rgcn_jax.data.prepare`` writes it into a folder that may contain several data sets::

    OUT/mars_pose/1.0.0/
        mars_pose-train.array_record-00000-of-00063    the frames, 8,192 or a few more per shard
        mars_pose-test.array_record-00000-of-00084
        dataset_info.json, features.json               for TensorFlow Datasets, without this package
        index.npz                                      the tracklets and their subsets in each split
        keypoints.npy                                  [frames, 14, 3], normalised coordinates, confidence
        rgcn_jax.json                                  the marker: frame size, shards, hashes

A record is one frame, so a clip reads only its own frames. The frames of a tracklet are consecutive and in temporal
order. Row numbers of frames count the records of all shards in order. While it is being written, the folder is named
``1.0.0.partial``, so an unfinished data set cannot be opened.
"""

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.runtime.user_files import read_text

FORMAT, FORMAT_VERSION = "rgcn_jax prepared data", 1
VERSION = "1.0.0"
"""Name of the folder, which is the version of the data set for TensorFlow Datasets."""
PARTIAL = f"{VERSION}.partial"
ARRAY_RECORD = "array_record"
MARKER, INDEX, KEYPOINTS = "rgcn_jax.json", "index.npz", "keypoints.npy"

Fields = TypeVar("Fields")


def builder_name(dataset: str) -> str:
    """Name of the data set in TensorFlow Datasets: ``tfds.builder("mars_pose", data_dir=OUT)``."""
    return f"{dataset}_pose"


@dataclass(frozen=True)
class Shard:
    """File name of a shard, number of records, and size in bytes."""

    file: str
    frames: int
    size: int


@dataclass(frozen=True)
class Marker:
    """Contents of the marker ``rgcn_jax.json``.

    - ``height``, ``width``: size of the prepared frames in pixels.
    - ``frame_size``: size of the original frames, if all have the same.
    - ``partitions``: number of each published split -> its description.
    - ``source``: hash of the images, keypoints and settings.
    - ``hashes``: SHA-256 of index and keypoints by file name.
    - ``shards``: list of ``Shard``.
    """

    format: str
    version: int
    dataset: str
    height: int
    width: int
    has_keypoints: bool
    junk_has_keypoints: bool
    frame_size: list | tuple | None
    partitions: dict
    source: str
    hashes: dict
    shards: list


def find(root: Path, dataset: str) -> Path | None:
    """Find the folder of a prepared data set in ``root``, or ``root`` itself. Returns None if there is none.

    Raises:
      InputError: it is another data set, or its preparation is unfinished.
    """
    below = root / builder_name(dataset)
    for folder in (root, root / VERSION, below / VERSION):
        if os.path.isfile(folder / MARKER):  # pathlib raises for overlong names
            found = read_marker(folder).dataset
            if found != dataset:
                raise InputError(f"{folder} was prepared from {found!r}, not {dataset!r}: set data.name to {found!r}.")
            return folder
    for partial in (below / PARTIAL, root / PARTIAL, root):
        if partial.name == PARTIAL and os.path.isdir(partial):
            raise InputError(
                f"{partial} is an unfinished preparation: rerun python -m rgcn_jax.data.prepare with the same "
                "arguments to resume it."
            )
    return None


def read_marker(folder: Path) -> Marker:
    """Read the marker. Raises InputError if it is missing, damaged, or of a newer version."""
    with as_input_error(f"{folder / MARKER} cannot be read", "prepare the data again", MALFORMED):
        fields = json.loads(read_text(folder / MARKER))
        if not isinstance(fields, dict) or fields.get("format") != FORMAT:
            raise ValueError(f"it is not of the format {FORMAT!r}")
        marker = _from_json(Marker, fields)
        sizes = (marker.height, marker.width, *(marker.frame_size or ()))
        if len(sizes) not in (2, 4) or not all(type(n) is int and 0 < n < 2**16 for n in sizes):
            raise ValueError(f"{sizes} is no height and width of a frame")
        shards = [_from_json(Shard, shard) for shard in marker.shards]
        for shard in shards:
            if shard.file != os.path.basename(shard.file):  # a path could point outside of the folder
                raise ValueError(f"{shard.file[:200]!r} is no name of a shard")
    if marker.version > FORMAT_VERSION:
        raise InputError(
            f"{folder} was prepared in version {marker.version} of its format, this program reads version "
            f"{FORMAT_VERSION}: update rgcn_jax, or prepare the data again with this one."
        )
    return replace(marker, shards=shards)


def _from_json(kind: type[Fields], fields: Any) -> Fields:
    """Create a dataclass from a JSON object. Raises ValueError if a field is missing or has another type."""
    types = get_type_hints(kind)
    for name, expected in types.items():
        if type(fields.get(name)) not in (get_args(expected) or (expected,)):
            raise ValueError(f"it has no {name}, or something else in its place")
    return kind(**{name: fields[name] for name in types})
