"""Opening of prepared data: tracklets, splits, shards and keypoints, with checks of the files. Needs no TensorFlow.

The index, ``index.npz``, contains the tracklets and their subsets in each published split as arrays. ``names`` has the
names of all frames (UTF-8, separated by NUL). ``person_id``, ``camera_id``, ``clothes_id`` (optional) and
``num_frames`` have one value per tracklet. Positions of tracklets are stored for each subset and split number:
``train_1``, ``query_1``, ``gallery_1``, ``junk_1``.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.prepared.format import INDEX, KEYPOINTS, Marker, read_marker
from rgcn_jax.errors import InputError, as_input_error, listed
from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.runtime.user_files import file_hash
from rgcn_jax.types import Split, Tracklet

SUBSETS = ("train", "query", "gallery", "junk")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, which is also a ``KeypointSource``.

    Tracklets are in the order of their records, and splits are numbered from 1.
    """

    folder: Path
    marker: Marker
    tracklets: tuple[Tracklet, ...]
    splits: Mapping[int, Split]

    @cached_property
    def first_rows(self) -> dict[Tracklet, int]:
        """Row of each tracklet's first frame."""
        lengths = [len(t.frames) for t in self.tracklets]
        return dict(zip(self.tracklets, np.cumsum([0, *lengths])[:-1].tolist(), strict=True))

    @cached_property
    def frames_hash(self) -> str:
        """SHA-256 of the names, record counts and sizes of the shards."""
        text = "\n".join(f"{shard.file} {shard.frames} {shard.size}" for shard in self.marker.shards)
        return hashlib.sha256(text.encode()).hexdigest()

    @cached_property
    def keypoints(self) -> np.ndarray:
        """Keypoints of all frames [frames, 14, 3], memory-mapped."""
        return np.load(self.folder / KEYPOINTS, mmap_mode="r", allow_pickle=False)

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """Read the keypoints of a tracklet's frames."""
        first = self.first_rows[tracklet]
        return np.array(self.keypoints[first : first + len(tracklet.frames)])


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared data set.

    Sizes of all shards and hashes of index and keypoints are checked, so that an incomplete copy is detected before the
    training.

    Raises:
      InputError: a file is missing, damaged, or of a newer version.
    """
    marker = read_marker(folder)
    if wrong := _damage(folder, marker):
        raise InputError(
            f"The prepared data in {folder} is damaged: {listed(wrong, separator='; ')}. Copy it again, or prepare it "
            "again."
        )
    with as_input_error(  # a forged file with a matching hash may raise anything
        f"The prepared data in {folder} is damaged", "prepare it again", Exception
    ):
        tracklets, subsets = read_index(folder / INDEX)
        splits = {
            int(number): Split(
                marker.dataset,
                folder,
                *(subsets[f"{name}_{number}"] for name in SUBSETS),
                frame_size=tuple(marker.frame_size) if marker.frame_size else None,
                split_description=description,
            )
            for number, description in marker.partitions.items()
        }
        prepared = Prepared(folder, marker, tracklets, splits)
        frames, of_shards = sum(len(t.frames) for t in tracklets), sum(shard.frames for shard in marker.shards)
        rows = prepared.keypoints
        if of_shards != frames or (rows.shape, rows.dtype) != ((frames, 14, 3), np.float32):
            raise ValueError(
                f"the shards hold {of_shards:,} frames, {INDEX} {frames:,}, {KEYPOINTS} {rows.dtype} {rows.shape}"
            )
    return prepared


def _damage(folder: Path, marker: Marker) -> list[str]:
    """Return missing and damaged files, each with the reason."""
    wrong = []
    for shard in marker.shards:
        path = folder / shard.file
        size = path.stat().st_size if os.path.isfile(path) else None  # pathlib raises for overlong names
        if size != shard.size:
            wrong.append(f"{shard.file} is {'missing' if size is None else f'{size:,} bytes, not {shard.size:,}'}")
    for name in (INDEX, KEYPOINTS):
        try:
            if file_hash(folder / name) != marker.hashes.get(name):
                wrong.append(f"{name} is not what was written (checksum mismatch)")
        except OSError as error:
            wrong.append(f"{name} cannot be read ({error.strerror})")
    return wrong


def index_arrays(tracklets: Sequence[Tracklet], splits: Mapping[int, Split]) -> dict[str, np.ndarray]:
    """Create the arrays of the index from tracklets and splits."""
    position = {tracklet: i for i, tracklet in enumerate(tracklets)}
    names = "\0".join(frame for t in tracklets for frame in t.frames)
    return {
        "names": np.frombuffer(names.encode("utf-8"), np.uint8),
        "person_id": np.array([t.person_id for t in tracklets], np.int32),
        "camera_id": np.array([t.camera_id for t in tracklets], np.int32),
        "clothes_id": np.array([t.clothes_id for t in tracklets], np.int32),
        "num_frames": np.array([len(t.frames) for t in tracklets], np.int32),
        **{
            f"{subset}_{number}": np.array([position[t] for t in getattr(split, subset)], np.int32)
            for number, split in splits.items()
            for subset in SUBSETS
        },
    }


def read_index(path: Path) -> tuple[tuple[Tracklet, ...], dict[str, tuple[Tracklet, ...]]]:
    """Read the tracklets, and the tracklets of each subset by names such as ``train_1``.

    Raises:
      Exception: any, if the file is missing or damaged.
    """
    index, _ = read_arrays(path)
    if wrong := [name for name, array in index.items() if array.ndim != 1 or array.dtype.kind not in "iu"]:
        raise ValueError(f"{wrong[0]} are no whole numbers")
    tracklets = _parse_tracklets(index)
    names = [name for name in index if name.partition("_")[0] in SUBSETS]
    return tracklets, {name: _chosen(tracklets, index, name) for name in names}


def _parse_tracklets(index: Mapping[str, np.ndarray]) -> tuple[Tracklet, ...]:
    names = index["names"].tobytes().decode("utf-8").split("\0")
    if index["num_frames"].min() < 1:
        raise ValueError("a tracklet without frames")
    ends = np.cumsum(index["num_frames"])
    if ends[-1] != len(names):
        raise ValueError(f"{len(names)} names for {ends[-1]} frames")
    starts = ends - index["num_frames"]
    clothes = index.get("clothes_id", np.zeros_like(starts))
    columns = starts, ends, index["person_id"], index["camera_id"], clothes
    rows = zip(*(column.tolist() for column in columns), strict=True)
    return tuple(Tracklet(tuple(names[a:b]), *labels) for a, b, *labels in rows)


def _chosen(tracklets: Sequence[Tracklet], index: Mapping[str, np.ndarray], name: str) -> tuple[Tracklet, ...]:
    if any(not 0 <= i < len(tracklets) for i in index[name].tolist()):
        raise ValueError(f"{name} is of tracklets that are not there")
    return tuple(tracklets[i] for i in index[name])
