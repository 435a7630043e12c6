"""The index of prepared data, ``index.npz``: its tracklets and their subsets in each published split.

Arrays: ``names`` (of all frames, UTF-8, NUL between two), ``person_id``, ``camera_id``, ``clothes_id`` (absent from
what earlier versions wrote: unknown) and ``num_frames`` of the tracklets, and for each split, such as 1, the tracklets'
positions in ``train_1``, ``query_1``, ``gallery_1``, ``junk_1``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from rgcn_jax.runtime.npz import read_arrays
from rgcn_jax.types import Split, Tracklet

SUBSETS = ("train", "query", "gallery", "junk")


def index_arrays(tracklets: Sequence[Tracklet], splits: Mapping[int, Split]) -> dict[str, np.ndarray]:
    """The arrays of the index of some tracklets and the splits that choose among them."""
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
    """The tracklets, and those of each subset of each split by names such as ``train_1``.

    Raises:
      Exception: of nearly any kind, where the file is missing or damaged.
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
