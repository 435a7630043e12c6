"""Opening of prepared data: tracklets, splits, keypoints and records, with checks of the files.

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
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.data.prepared.format import INDEX, KEYPOINTS, Marker, read_marker
from rgcn_jax.errors import InputError, as_input_error, listed, needs_extra
from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.runtime.user_files import file_hash
from rgcn_jax.types import Split, Tracklet

SUBSETS = ("train", "query", "gallery", "junk")


@dataclass(frozen=True)
class Prepared:
    """A prepared data set, which is also a ``KeypointSource`` and, with TensorFlow, ``EncodedFrames``.

    Tracklets are in the order of their records, and splits are numbered from 1.
    """

    folder: Path
    marker: Marker
    tracklets: tuple[Tracklet, ...]
    splits: Mapping[int, Split]

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
        first = self._first_rows[tracklet]
        return np.array(self.keypoints[first : first + len(tracklet.frames)])

    def fetch(self, plan: BatchPlan) -> Shaped[np.ndarray, "b t"]:
        """Read the serialized records of the plan's frames. Raises InputError if a shard is damaged."""
        first = np.array([self._first_rows[t] for t in plan.tracklets])
        rows = (first[:, None] + plan.frames).ravel()
        starts = np.cumsum([0, *(shard.frames for shard in self.marker.shards)])
        shard_of = np.searchsorted(starts, rows, side="right") - 1
        records = np.empty(rows.size, object)
        for shard in np.unique(shard_of):
            of_shard = np.flatnonzero(shard_of == shard)
            records[of_shard] = self._read(self.marker.shards[shard].file, (rows[of_shard] - starts[shard]).tolist())
        return records.reshape(plan.frames.shape)

    def encoded(self, fetched: Any) -> Any:
        """Return the encoded image of a record, by TensorFlow operations."""
        from rgcn_jax.data.clips.tensorflow_cpu import tf

        return tf.io.parse_single_example(fetched, {"image": tf.io.FixedLenFeature((), tf.string)})["image"]

    def name(self, frame: str) -> str:
        """Name of a frame in the original data set, for messages."""
        return f"{frame} in {self.folder}"

    @cached_property
    def _first_rows(self) -> dict[Tracklet, int]:
        """Row of each tracklet's first frame."""
        lengths = [len(t.frames) for t in self.tracklets]
        return dict(zip(self.tracklets, np.cumsum([0, *lengths])[:-1].tolist(), strict=True))

    @cached_property
    def _readers(self) -> dict[str, Any]:
        """Opened shards by file name."""
        return {}

    def _read(self, file: str, positions: list[int]) -> list[bytes]:
        with needs_extra("data", "Reading prepared data needs array_record"):
            from array_record.python.array_record_module import ArrayRecordReader
        path, todo = self.folder / file, "copy it again, or prepare the data again"
        with as_input_error(f"{path} cannot be read", todo, (RuntimeError, IndexError)):
            if file not in self._readers:
                options = "readahead_buffer_size:0,max_parallelism:0"  # recommended for random access
                self._readers[file] = ArrayRecordReader(str(path), options, file_reader_buffer_size=32768)
            return self._readers[file].read(positions)


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
    columns = {
        "person_id": [t.person_id for t in tracklets],
        "camera_id": [t.camera_id for t in tracklets],
        "clothes_id": [t.clothes_id for t in tracklets],
        "num_frames": [len(t.frames) for t in tracklets],
        **{
            f"{subset}_{number}": [position[t] for t in getattr(split, subset)]
            for number, split in splits.items()
            for subset in SUBSETS
        },
    }
    arrays = {name: np.array(column, np.int32) for name, column in columns.items()}
    return {"names": np.frombuffer(names.encode("utf-8"), np.uint8), **arrays}


def read_index(path: Path) -> tuple[tuple[Tracklet, ...], dict[str, tuple[Tracklet, ...]]]:
    """Read the tracklets, and the tracklets of each subset by names such as ``train_1``.

    Raises:
      Exception: any, if the file is missing or damaged.
    """
    index, _ = read_arrays(path)
    if wrong := [name for name, array in index.items() if array.ndim != 1 or array.dtype.kind not in "iu"]:
        raise ValueError(f"{wrong[0]} are no whole numbers")
    names, counts = index["names"].tobytes().decode("utf-8").split("\0"), index["num_frames"].tolist()
    if min(counts) < 1:
        raise ValueError("a tracklet without frames")
    if sum(counts) != len(names):
        raise ValueError(f"{len(names)} names for {sum(counts)} frames")
    clothes = index.get("clothes_id", np.zeros(len(counts), int))
    labels = zip(*(column.tolist() for column in (index["person_id"], index["camera_id"], clothes)), strict=True)
    frames = iter(names)
    tracklets = tuple(Tracklet(tuple(islice(frames, n)), *ids) for n, ids in zip(counts, labels, strict=True))
    subsets = {name: rows.tolist() for name, rows in index.items() if name.partition("_")[0] in SUBSETS}
    for name, rows in subsets.items():
        if any(not 0 <= i < len(tracklets) for i in rows):
            raise ValueError(f"{name} is of tracklets that are not there")
    return tracklets, {name: tuple(tracklets[i] for i in rows) for name, rows in subsets.items()}
