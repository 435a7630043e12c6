"""Opening of prepared data: tracklets, splits, shards and keypoints, with checks of the files. Needs no TensorFlow."""

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int64

from rgcn_jax.data.prepared.format import INDEX, KEYPOINTS, Shard, parse_shard, read_marker
from rgcn_jax.data.prepared.index import SUBSETS, read_index
from rgcn_jax.errors import InputError, as_input_error, listed
from rgcn_jax.runtime.handed_over import file_hash, open_file
from rgcn_jax.types import Split, Tracklet

MOST_CONFIDENT = 1e6
"""Detectors have confidences of 0 to 1, or of a heatmap's height; a flipped bit of a number makes 1e38 of it."""


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
    def frames_hash(self) -> str:
        """SHA-256 over the shards' names, numbers of frames and sizes."""
        text = "\n".join(f"{shard.file} {shard.frames} {shard.size}" for shard in self.shards)
        return hashlib.sha256(text.encode()).hexdigest()

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
    """The array of a ``keypoints.npy``, read as it is needed. Raises OSError or ValueError."""
    open_file(path).close()  # nobody waits for a pipe
    try:
        return np.load(path, mmap_mode="r", allow_pickle=False)
    except OSError:
        raise
    except Exception as error:  # a damaged header is parsed as Python
        raise ValueError(f"{type(error).__name__}: {error}") from error


def open_prepared(folder: Path) -> Prepared:
    """Open a prepared data set. Raises InputError: a file is missing or damaged, or of a newer version."""
    marker = read_marker(folder)
    with as_input_error(  # a damaged archive raises nearly anything
        f"The prepared data in {folder} is damaged", "prepare it again", Exception
    ):
        shards = tuple(parse_shard(shard, marker["dataset"]) for shard in marker["shards"])
        tracklets, subsets = read_index(folder / INDEX)
        size = None if not marker.get("frame_size") else tuple(marker["frame_size"])
        splits = {
            int(number): Split(
                marker["dataset"],
                folder,
                *(subsets[f"{name}_{number}"] for name in SUBSETS),
                frame_size=size,
                split_description=description,
            )
            for number, description in marker["partitions"].items()
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
    _check_files(prepared, marker.get("hashes", {}))
    return prepared


def _are_normalised(rows: np.ndarray) -> bool:
    """Whether x and y are from 0 to 1 and confidences from 0 to ``MOST_CONFIDENT``; of NaN they are not."""
    if rows.size == 0:
        return True
    least, most = rows.min(axis=(0, 1)), rows.max(axis=(0, 1))
    return bool((least >= 0).all() and (most <= (1, 1, MOST_CONFIDENT)).all())


def _check_files(prepared: Prepared, hashes: Mapping[str, str]) -> None:
    """Every shard has its size, so that an incomplete copy is an error now and not at step 10,000; keypoints are
    normalised coordinates; index and keypoints have their hashes, which data prepared by earlier versions lack.
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
    except (OSError, ValueError) as error:
        wrong.append(f"{KEYPOINTS} cannot be read ({error})")
    else:
        if (rows.shape, rows.dtype) != ((frames, 14, 3), np.float32):
            wrong.append(f"{KEYPOINTS} has shape {rows.shape} in {rows.dtype}, not {(frames, 14, 3)} in float32")
        elif not _are_normalised(rows):
            wrong.append(f"{KEYPOINTS} has numbers that are no normalised coordinates (from 0 to 1) or confidences")
    for name, expected in hashes.items():
        if not wrong and file_hash(prepared.folder / name) != expected:
            wrong.append(f"{name} is not what was written (checksum mismatch)")
    if sum(s.frames for s in prepared.shards) != frames:
        wrong.append(f"the shards hold {sum(s.frames for s in prepared.shards):,} frames, {INDEX} {frames:,}")
    if wrong:
        raise InputError(
            f"The prepared data in {prepared.folder} is damaged: {listed(wrong, separator='; ')}. Copy it "
            "again, or prepare it again."
        )
