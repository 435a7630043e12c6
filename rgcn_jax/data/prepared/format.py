"""The prepared form of a data set: what lies in its folder, and how it is opened. Needs no TensorFlow.

``python -m rgcn_jax.data.prepare`` writes it, below a folder that may hold several data sets::

    OUT/mars_pose/1.0.0/
        mars_pose-train.array_record-00000-of-00063    the frames, 8,192 or a few more in a shard
        mars_pose-test.array_record-00000-of-00084
        dataset_info.json, features.json               so that TensorFlow Datasets opens it without this package
        index.npz                                      the tracklets and who they are to a split
        keypoints.npy                                  [frames, 14, 3], shares of the crop, confidence
        rgcn_jax.json                                  the size of the frames, the shards, versions

A record is one frame, so that a clip costs the reading of its own frames and no others. The frames of a tracklet follow
one another in the order of time; a frame's row counts all records of all shards in their order.
While it is written the folder is called ``1.0.0.partial``: a half-prepared data set cannot be opened.
"""

import errno
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int64

from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.types import Split, Tracklet

FORMAT, FORMAT_VERSION = "rgcn_jax prepared data", 1
VERSION = "1.0.0"
"""The folder's name, which TensorFlow Datasets takes for the version of the data set."""
PARTIAL = f"{VERSION}.partial"
ARRAY_RECORD = "array_record"
MARKER, INDEX, KEYPOINTS = "rgcn_jax.json", "index.npz", "keypoints.npy"
_PARTS = ("train", "query", "gallery", "junk")


def builder_name(dataset: str) -> str:
    """What TensorFlow Datasets calls it: ``tfds.builder("mars_pose", data_dir=OUT)``."""
    return f"{dataset}_pose"


def shard_name(dataset: str, part: str, number: int, count: int) -> str:
    """``mars_pose-train.array_record-00000-of-00063``."""
    return f"{builder_name(dataset)}-{part}.{ARRAY_RECORD}-{number:05}-of-{count:05}"


@dataclass(frozen=True)
class Shard:
    """A file of records: its name, how many there are, its size in bytes."""

    file: str
    frames: int
    size: int


@dataclass(frozen=True)
class Prepared:
    """A prepared data set: ``tracklets`` in the order of their records, and the splits that choose among them."""

    folder: Path
    dataset: str
    height: int
    width: int
    shards: tuple[Shard, ...]
    tracklets: tuple[Tracklet, ...]
    splits: Mapping[int, Split]
    """By number, from 1; one but for data sets with several published splits."""
    has_keypoints: bool
    junk_has_keypoints: bool

    @cached_property
    def first_rows(self) -> dict[Tracklet, int]:
        """Row of each tracklet's first frame."""
        lengths = [len(t.frames) for t in self.tracklets]
        return dict(zip(self.tracklets, np.cumsum([0, *lengths])[:-1].tolist(), strict=True))

    @cached_property
    def shard_starts(self) -> Int64[np.ndarray, "shards"]:
        """Row of each shard's first record."""
        return np.cumsum([0, *(s.frames for s in self.shards)])[:-1]

    def keypoints(self) -> "PreparedKeypoints":
        """The keypoints of all frames, read as they are needed."""
        return PreparedKeypoints(stored_keypoints(self.folder / KEYPOINTS), self.first_rows)


@dataclass(frozen=True)
class PreparedKeypoints:
    """A ``KeypointSource``: all rows, and where a tracklet's begin."""

    values: Float32[np.ndarray, "n 14 3"]
    first_rows: Mapping[Tracklet, int]

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """A copy of the rows of a tracklet's frames."""
        first = self.first_rows[tracklet]
        return np.array(self.values[first : first + len(tracklet.frames)])


def stored_keypoints(path: Path) -> np.ndarray:
    """The array of a ``keypoints.npy``, read as it is needed. Raises OSError, ValueError or EOFError."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "it is missing, or no file")  # nobody waits for a pipe
    return np.load(path, mmap_mode="r", allow_pickle=False)


def find(root: Path, dataset: str) -> Path | None:
    """The folder of a prepared data set, if ``root`` is one or holds one; None if ``root`` is something else.

    Raises:
      InputError: it is of another data set, or its preparation was not finished.
    """
    below = root / builder_name(dataset)
    for folder in (root, root / VERSION, below / VERSION):
        if (folder / MARKER).is_file():
            found = _marker(folder)["dataset"]
            if found != dataset:
                raise InputError(f"{folder} was prepared from {found!r}, not {dataset!r}: set data.name to {found!r}.")
            return folder
    for partial in (below / PARTIAL, root / PARTIAL, root):
        if partial.name == PARTIAL and partial.is_dir():
            raise InputError(
                f"{partial} is half prepared: give the command python -m rgcn_jax.data.prepare again, with the same "
                "arguments; it continues where it stopped."
            )
    return None


def frame_size(folder: Path) -> tuple[int, int]:
    """Height and width in pixels of the frames in a prepared folder. Raises InputError if it is none."""
    marker = _marker(folder)
    return marker["height"], marker["width"]


_FIELDS = {
    "format": str,
    "version": int,
    "dataset": str,
    "height": int,
    "width": int,
    "shards": list,
    "partitions": dict,
    "has_keypoints": bool,
    "junk_has_keypoints": bool,
}
"""Of the marker, besides ``frame_size``: [height, width] or null."""


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared data set.

    Raises:
      InputError: a file is missing or damaged, or of a newer version.
    """
    marker = _marker(folder)
    try:
        shards = tuple(_shard(shard, marker["dataset"]) for shard in marker["shards"])
        index, _ = read_arrays(folder / INDEX)
        if wrong := [name for name, array in index.items() if array.ndim != 1 or array.dtype.kind not in "iu"]:
            raise ValueError(f"{wrong[0]} are no whole numbers")
        tracklets = _tracklets(index)
        size = None if not marker.get("frame_size") else tuple(marker["frame_size"])
        splits = {
            int(number): Split(
                marker["dataset"],
                folder,
                *(_chosen(tracklets, index, f"{part}_{number}") for part in _PARTS),
                frame_size=size,
                partition=partition,
            )
            for number, partition in marker["partitions"].items()
        }
        prepared = Prepared(
            folder=folder,
            dataset=marker["dataset"],
            height=marker["height"],
            width=marker["width"],
            shards=shards,
            tracklets=tracklets,
            splits=splits,
            has_keypoints=marker["has_keypoints"],
            junk_has_keypoints=marker["junk_has_keypoints"],
        )
    except Exception as error:  # a damaged archive raises nearly anything
        raise InputError(
            f"The prepared data in {folder} is damaged ({type(error).__name__}: {error}): prepare it again."
        ) from error
    _check_files(prepared)
    return prepared


def _marker(folder: Path) -> dict[str, Any]:
    try:
        marker = json.loads((folder / MARKER).read_text(encoding="utf-8"))
        if not isinstance(marker, dict) or marker.get("format") != FORMAT:
            raise ValueError(f"it is not of the form {FORMAT!r}")
        if wrong := [name for name, kind in _FIELDS.items() if type(marker.get(name)) is not kind]:
            raise ValueError(f"it has no {wrong[0]}, or something else in its place")
        sizes = [[marker["height"], marker["width"]], *([marker["frame_size"]] if marker.get("frame_size") else [])]
        for size in sizes:
            if not isinstance(size, list) or len(size) != 2 or not all(type(n) is int and 0 < n < 2**16 for n in size):
                raise ValueError(f"{size} is no height and width of a frame")
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{folder / MARKER} cannot be read ({error}): prepare the data again.") from error
    if marker["version"] > FORMAT_VERSION:
        raise InputError(
            f"{folder} was prepared in version {marker['version']} of its form, this program reads version "
            f"{FORMAT_VERSION}: update rgcn_jax, or prepare the data again with this one."
        )
    return marker


def _shard(fields: Any, dataset: str) -> Shard:
    kinds = {"file": str, "frames": int, "size": int}
    if not isinstance(fields, dict) or {name: type(value) for name, value in fields.items()} != kinds:
        raise ValueError(f"{str(fields)[:200]} is no shard")
    shard = Shard(**fields)
    # Nor may it be a path, which could lead elsewhere.
    if not re.fullmatch(rf"{re.escape(builder_name(dataset))}-\w+\.{ARRAY_RECORD}-[0-9]+-of-[0-9]+", shard.file):
        raise ValueError(f"{shard.file[:200]!r} is no name of a shard")
    return shard


def _tracklets(index: Mapping[str, np.ndarray]) -> tuple[Tracklet, ...]:
    names = index["names"].tobytes().decode("utf-8").split("\0")
    if index["num_frames"].min() < 1:
        raise ValueError("a tracklet without frames")
    ends = np.cumsum(index["num_frames"])
    if ends[-1] != len(names):
        raise ValueError(f"{len(names)} names for {ends[-1]} frames")
    starts = ends - index["num_frames"]
    rows = zip(starts.tolist(), ends.tolist(), index["person_id"].tolist(), index["camera_id"].tolist(), strict=True)
    return tuple(Tracklet(tuple(names[a:b]), person, camera) for a, b, person, camera in rows)


def _chosen(tracklets: Sequence[Tracklet], index: Mapping[str, np.ndarray], name: str) -> tuple[Tracklet, ...]:
    if any(not 0 <= i < len(tracklets) for i in index[name].tolist()):
        raise ValueError(f"{name} is of tracklets that are not there")
    return tuple(tracklets[i] for i in index[name])


def _check_files(prepared: Prepared) -> None:
    """Every shard is there in its size, so that a copy that broke off is told now and not at step 10,000; keypoints
    are numbers.
    """
    wrong = []
    for shard in prepared.shards:
        path = prepared.folder / shard.file
        size = path.stat().st_size if os.path.isfile(path) else None  # pathlib's raises for too long a name
        if size != shard.size:
            wrong.append(f"{shard.file} is {'missing' if size is None else f'{size:,} bytes, not {shard.size:,}'}")
    frames = sum(len(t.frames) for t in prepared.tracklets)
    try:
        rows = stored_keypoints(prepared.folder / KEYPOINTS)
    except (OSError, ValueError, EOFError) as error:
        wrong.append(f"{KEYPOINTS} cannot be read ({error})")
    else:
        if (rows.shape, rows.dtype) != ((frames, 14, 3), np.float32):
            wrong.append(f"{KEYPOINTS} has shape {rows.shape} in {rows.dtype}, not {(frames, 14, 3)} in float32")
        elif not np.isfinite(rows).all():
            wrong.append(f"{KEYPOINTS} has numbers that are not finite")
    if sum(s.frames for s in prepared.shards) != frames:
        wrong.append(f"the shards hold {sum(s.frames for s in prepared.shards):,} frames, {INDEX} {frames:,}")
    if wrong:
        raise InputError(
            f"The prepared data in {prepared.folder} is damaged: {listed(wrong, separator='; ')}. Copy it "
            "again, or prepare it again."
        )


def index_arrays(tracklets: Sequence[Tracklet], splits: Mapping[int, Split]) -> dict[str, np.ndarray]:
    """What ``index.npz`` holds: ``names`` (of all frames, UTF-8, NUL between two), ``person_id``, ``camera_id`` and
    ``num_frames`` of the tracklets, and for each split, such as 1, the tracklets' positions in ``train_1``,
    ``query_1``, ``gallery_1``, ``junk_1``.
    """
    position = {tracklet: i for i, tracklet in enumerate(tracklets)}
    names = "\0".join(frame for t in tracklets for frame in t.frames)
    return {
        "names": np.frombuffer(names.encode("utf-8"), np.uint8),
        "person_id": np.array([t.person_id for t in tracklets], np.int32),
        "camera_id": np.array([t.camera_id for t in tracklets], np.int32),
        "num_frames": np.array([len(t.frames) for t in tracklets], np.int32),
        **{
            f"{part}_{number}": np.array([position[t] for t in getattr(split, part)], np.int32)
            for number, split in splits.items()
            for part in _PARTS
        },
    }
