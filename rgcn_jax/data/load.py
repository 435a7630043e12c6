"""Opening of data sets by name: tracklets and a reader of their clips, from memory or disk."""

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from rgcn_jax.config import DataConfig
from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.clips.reader import Data, KeypointSource, NoKeypoints, Reader, read_without_frames
from rgcn_jax.data.datasets.orientation import turned
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.prepared.format import find
from rgcn_jax.data.prepared.opened import open_prepared
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
    low_priority: bool = False,
) -> Data:
    """Open the data set of a config: walkers, an original data set or a prepared one, determined from the folder.

    Args:
      data: name, root, keypoints and split of the data set.
      size: height and width of the frames after resizing, in pixels.
      with_pose: False for appearance only: all keypoints are then "not detected".
      required: subsets of the split that must not be empty.
      with_frames: False for a model without an appearance branch, for which no frame is rendered or read.
      low_priority: read frames at a lower priority than the process, because the model runs on the same cores.

    Raises:
      InputError: the folder, the split, the keypoints or the features are missing or do not fit.
    """
    if data.split != 1 and data.name not in SEVERAL_SPLITS:
        raise InputError(
            f"data.split is {data.split}, but only {' and '.join(SEVERAL_SPLITS)} have several splits: leave it at 1."
        )
    if data.name == "walkers":
        return _open_walkers(data, size, with_frames, low_priority)
    if not data.root:
        raise InputError(
            f"data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/{data.name}."
        )
    if there := find(_path(data.root), data.name):
        return _open_prepared(there, data, size, with_pose, required, with_frames, low_priority)
    if with_pose and not data.keypoints:
        raise InputError(
            "data.keypoints is empty, but the model has a pose branch: set --config.data.keypoints to the files of a "
            "pose estimator or a keypoint store (.npz), or train appearance only with --config.model.pose=none."
        )
    return _open_folder(data, size, with_pose, required, with_frames, low_priority)


def _open_folder(
    data: DataConfig,
    size: tuple[int, int],
    with_pose: bool,
    required: Sequence[str],
    with_frames: bool,
    low_priority: bool,
) -> Data:
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
    if not with_frames:
        return _without_frames(split, table)
    if data.features:
        return _with_features(_path(data.features), split, table)
    from rgcn_jax.data.clips.pipeline import FileReader  # imports TensorFlow

    reader = FileReader(split.root, table, *size, low_priority=low_priority)
    return Data(split, reader, size, _keypoints_of(table), _detected(table), _hashes(split, table))


def _open_prepared(
    where: Path,
    data: DataConfig,
    size: tuple[int, int],
    with_pose: bool,
    required: Sequence[str],
    with_frames: bool,
    low_priority: bool,
) -> Data:
    prepared = open_prepared(where)
    if data.keypoints:
        raise InputError(f"data.keypoints is {data.keypoints!r}, but {where} has its own: leave data.keypoints empty.")
    if with_pose and not prepared.has_keypoints:
        raise InputError(
            f"{where} was prepared without keypoints, but the model has a pose branch: prepare it with --keypoints, "
            "or train appearance only with --config.model.pose=none."
        )
    if size != (prepared.height, prepared.width):
        raise InputError(
            f"{where} has frames of {prepared.height} x {prepared.width} pixels, but image_height and image_width "
            f"are {size[0]} and {size[1]}: set these, or prepare the data with --height={size[0]} --width={size[1]}."
        )
    if data.split not in prepared.splits:
        raise InputError(f"{where} has splits 1 to {len(prepared.splits)}: set data.split to one of them.")
    split = prepared.splits[data.split]
    _check_subsets(split, required)
    _print_split(prepared.dataset, split)
    if with_pose and split.junk and not prepared.junk_has_keypoints:
        split = _without_junk(split)
    table = NoKeypoints()
    if with_pose:
        table = prepared.keypoints()
        _print_doubts("keypoints", keypoint_table.check_values(where, table.values, size))
    if not with_frames:
        return _without_frames(split, table)
    if data.features:
        return _with_features(_path(data.features), split, table)
    from rgcn_jax.data.prepared.reader import PreparedReader  # imports TensorFlow

    hashes = _hashes(split, table) | {"frames": prepared.frames_hash}
    reader = PreparedReader(prepared, table, low_priority=low_priority)
    return Data(split, reader, size, _keypoints_of(table), _detected(table), hashes)


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


def _with_features(path: Path, split: Split, keypoints: KeypointSource) -> Data:
    from rgcn_jax.data.clips.memory import MemoryReader

    table = precomputed.load(path, [*split.train, *split.query, *split.gallery], split.junk)
    if not table.covers(split.junk):
        split = _without_junk(split, "appearance features")
    read = partial(precomputed.read_features, table=table, keypoints=keypoints)
    hashes = _hashes(split, keypoints) | {"features": arrays_hash([table.values])}
    reader, shape = MemoryReader(read), table.values.shape[1:]
    return Data(split, reader, shape, _keypoints_of(keypoints), _detected(keypoints), hashes)


def _hashes(split: Split, keypoints: KeypointSource) -> dict[str, str]:
    """Hash of the keypoints of all tracklets; the same for loose and prepared data."""
    if isinstance(keypoints, NoKeypoints) or split.name == "walkers":
        return {}
    tracklets = sorted({*split.train, *split.query, *split.gallery}, key=lambda tracklet: tracklet.frames)
    return {"keypoints": arrays_hash(keypoints.of(tracklet) for tracklet in tracklets)}


def _keypoints_of(source: KeypointSource) -> Reader:
    from rgcn_jax.data.clips.memory import MemoryReader

    return MemoryReader(partial(read_without_frames, source=source))


def _detected(source: KeypointSource) -> KeypointSource | None:
    """None for a source without any detections."""
    return None if isinstance(source, NoKeypoints) else source


def _without_frames(split: Split, keypoints: KeypointSource) -> Data:
    read = _keypoints_of(keypoints)
    return Data(split, read, (0,), read, _detected(keypoints), _hashes(split, keypoints))


def _open_walkers(data: DataConfig, size: tuple[int, int], with_frames: bool, low_priority: bool) -> Data:
    from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
    from rgcn_jax.walkers import generate

    walkers = generate(data.walkers)
    source = CachedSource(lambda tracklet: walkers.frames(tracklet, *size), walkers.keypoints)
    if not with_frames:
        return _without_frames(walkers.split, source)
    if data.features:
        return _with_features(_path(data.features), walkers.split, source)
    reader = MemoryReader(partial(read_batch, source=source), low_priority=low_priority)
    return Data(walkers.split, reader, size, _keypoints_of(source), source)


def _path(text: str) -> Path:
    """A path of a config, with ``~`` expanded."""
    return Path(os.path.expanduser(text))
