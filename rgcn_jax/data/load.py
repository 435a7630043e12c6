"""Opening of data sets by name: tracklets and a reader of their clips, from memory or disk."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from rgcn_jax.config import DataConfig
from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.clips.reader import Data, KeypointSource, NoKeypoints, Reader, read_without_frames
from rgcn_jax.data.datasets.orientation import turned
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.prepared.format import find
from rgcn_jax.data.prepared.reader import open_prepared
from rgcn_jax.errors import InputError, printable
from rgcn_jax.runtime.npz import arrays_hash
from rgcn_jax.types import UNKNOWN_ID, Split

ALL_SUBSETS = ("train", "query", "gallery")
"""Subsets required for training with evaluation."""


def open_data(
    data: DataConfig,
    size: tuple[int, int],
    with_pose: bool,
    required: Sequence[str] = ALL_SUBSETS,
    with_frames: bool = True,
) -> Data:
    """Open the data set of a config: walkers, an original data set or a prepared one, determined from the folder.

    Args:
      data: name, root, keypoints and split of the data set.
      size: height and width of the frames after resizing, in pixels.
      with_pose: False for appearance only: all keypoints are then "not detected".
      required: subsets of the split that must not be empty.
      with_frames: False for a model without an appearance branch, for which no frame is rendered or read.

    Raises:
      InputError: the folder, the split, the keypoints or the features are missing or do not fit.
    """
    if data.split != 1 and data.name not in SEVERAL_SPLITS:
        raise InputError(
            f"data.split is {data.split}, but only {' and '.join(SEVERAL_SPLITS)} have several splits: leave it at 1."
        )
    if data.name == "walkers":
        opened = _open_walkers(data, size)
    elif not data.root:
        raise InputError(
            f"data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/{data.name}."
        )
    elif there := find(_path(data.root), data.name):
        opened = _open_prepared(there, data, size, with_pose, required)
    elif with_pose and not data.keypoints:
        raise InputError(
            "data.keypoints is empty, but the model has a pose branch: set --config.data.keypoints to the files of a "
            "pose estimator or a keypoint store (.npz), or train appearance only with --config.model.pose=none."
        )
    else:
        opened = _open_folder(data, size, with_pose, required)
    from rgcn_jax.data.clips.memory import MemoryReader

    split, source = opened.split, opened.keypoints
    read_keypoints = MemoryReader(partial(read_without_frames, source=source))
    detected = None if isinstance(source, NoKeypoints) else source
    hashes = _hashes(split, source)
    if not with_frames:
        return Data(split, read_keypoints, (0,), read_keypoints, detected, hashes)
    if data.features:
        table = precomputed.load(_path(data.features), [*split.train, *split.query, *split.gallery], split.junk)
        if not table.covers(split.junk):
            split = _without_junk(split, "appearance features")
        hashes |= {"features": arrays_hash([table.values])}
        read = MemoryReader(partial(precomputed.read_features, table=table, keypoints=source))
        return Data(split, read, table.values.shape[1:], read_keypoints, detected, hashes)
    return Data(split, opened.frames(), size, read_keypoints, detected, {**hashes, **opened.hashes})


class _Opened(NamedTuple):
    """An opened data set. ``frames()`` makes the reader of its frames; ``hashes``: hashes of the frames by name."""

    split: Split
    keypoints: KeypointSource
    frames: Callable[[], Reader]
    hashes: Mapping[str, str] = MappingProxyType({})


def _open_walkers(data: DataConfig, size: tuple[int, int]) -> _Opened:
    from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
    from rgcn_jax.walkers import generate

    walkers = generate(data.walkers)
    source = CachedSource(lambda tracklet: walkers.frames(tracklet, *size), walkers.keypoints)
    read = partial(read_batch, source=source)
    return _Opened(walkers.split, source, lambda: MemoryReader(read))


def _open_folder(data: DataConfig, size: tuple[int, int], with_pose: bool, required: Sequence[str]) -> _Opened:
    split = DATA_SETS[data.name].load(_path(data.root), data.split, data.follow_links)
    _check_subsets(split, required)
    _print_split(data.name, split)
    _print_doubts("images", turned(split.root, (*split.train, *split.query, *split.gallery)))
    table = NoKeypoints()
    if with_pose:
        tracklets = [*split.train, *split.query, *split.gallery, *split.junk]
        table = keypoint_table.load(_path(data.keypoints), split, tracklets, split.junk)
        _print_doubts("keypoints", table.remarks)
        if not table.covers(split.junk):
            split = _without_junk(split)

    def frames() -> Reader:
        from rgcn_jax.data.clips.pipeline import ClipReader, LooseFiles  # imports TensorFlow

        return ClipReader(LooseFiles(split.root), table, *size)

    return _Opened(split, table, frames)


def _open_prepared(
    where: Path, data: DataConfig, size: tuple[int, int], with_pose: bool, required: Sequence[str]
) -> _Opened:
    prepared = open_prepared(where)
    marker = prepared.marker
    if data.keypoints:
        raise InputError(f"data.keypoints is {data.keypoints!r}, but {where} has its own: leave data.keypoints empty.")
    if with_pose and not marker.has_keypoints:
        raise InputError(
            f"{where} was prepared without keypoints, but the model has a pose branch: prepare it with --keypoints, "
            "or train appearance only with --config.model.pose=none."
        )
    if size != (marker.height, marker.width):
        raise InputError(
            f"{where} has frames of {marker.height} x {marker.width} pixels, but image_height and image_width "
            f"are {size[0]} and {size[1]}: set these, or prepare the data with --height={size[0]} --width={size[1]}."
        )
    if data.split not in prepared.splits:
        raise InputError(f"{where} has splits 1 to {len(prepared.splits)}: set data.split to one of them.")
    split = prepared.splits[data.split]
    _check_subsets(split, required)
    _print_split(marker.dataset, split)
    table = NoKeypoints()
    if with_pose:
        table = prepared
        _print_doubts("keypoints", keypoint_table.check_values(where, prepared.keypoints, size))
        if split.junk and not marker.junk_has_keypoints:
            split = _without_junk(split)

    def frames() -> Reader:
        from rgcn_jax.data.clips.pipeline import ClipReader  # imports TensorFlow

        return ClipReader(prepared, table, *size)

    return _Opened(split, table, frames, {"frames": prepared.frames_hash})


def _print_doubts(what: str, remarks: Sequence[str]) -> None:
    for remark in remarks:
        print(f"doubtful {what}: {printable(remark)}", flush=True)


def _print_split(name: str, split: Split) -> None:
    if split.split_description:
        print(f"{name}: {split.split_description}", flush=True)


def _without_junk(split: Split, what: str = "usable keypoints") -> Split:
    print(f"junk tracklets have no {what}: the protocol junk_kept is omitted", flush=True)
    return replace(split, junk=())


def _check_subsets(split: Split, required: Sequence[str]) -> None:
    subsets = {"train": split.train, "query": split.query, "gallery": split.gallery}
    if empty := [name for name in required if not subsets[name]]:
        hint = ""
        if {t.person_id for t in split.gallery} == {UNKNOWN_ID}:
            hint = (
                " Its tracklets have no labels, since there is no folder train, query or gallery: rgcn-jax embed "
                "embeds them."
            )
        raise InputError(
            f"{split.root} has no tracklets for {' and '.join(empty)}, expected all of {', '.join(required)}.{hint}"
        )


def _hashes(split: Split, keypoints: KeypointSource) -> dict[str, str]:
    """Hash of the keypoints of all tracklets; the same for loose and prepared data."""
    if isinstance(keypoints, NoKeypoints) or split.name == "walkers":
        return {}
    tracklets = sorted({*split.train, *split.query, *split.gallery}, key=lambda tracklet: tracklet.frames)
    return {"keypoints": arrays_hash(keypoints.of(tracklet) for tracklet in tracklets)}


def _path(text: str) -> Path:
    """A path of a config, with ``~`` expanded."""
    return Path(os.path.expanduser(text))
