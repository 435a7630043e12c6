"""Opens a data set by its name: its tracklets and a reader of their clips, from memory or from disk."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data.clips import precomputed
from rgcn_jax.data.clips.reader import Data, KeypointSource, NoKeypoints
from rgcn_jax.data.datasets.registry import DATA_SETS, SEVERAL_SPLITS
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.prepared.format import find
from rgcn_jax.data.prepared.opened import open_prepared
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split


def open_data(
    name: str,
    *,
    root: str,
    keypoints_path: str,
    features_path: str = "",
    height: int,
    width: int,
    walkers: Mapping[str, Any],
    with_pose: bool,
    split_number: int = 1,
) -> Data:
    """Opens a data set.

    Args:
      name: "walkers" (generated, in memory), or a key of ``DATA_SETS``.
      root: folder of the data set as it was distributed, or of prepared data (``prepared/format.py``); which of both
        is recognised by its contents.
      keypoints_path: files of a pose detector or a keypoint store (docs/data.md); may be empty if ``with_pose`` is
        False. Prepared data has its own: empty.
      features_path: file of precomputed appearance features, which replace the frames (``data.features``); "": read
        frames.
      height: of the frames that come out, in pixels.
      width: likewise.
      walkers: fields of ``WalkersSpec``; read for "walkers" alone.
      with_pose: False for appearance only: all keypoints are then "not detected".
      split_number: which of the published splits, from 1; data sets that are not in ``SEVERAL_SPLITS`` have only 1.

    Raises:
      InputError: the name or the split is unknown, or the folder, the keypoints or the features are not as they must
        be.
    """
    if split_number != 1 and name not in SEVERAL_SPLITS:
        raise InputError(
            f"data.split is {split_number}, but only {' and '.join(SEVERAL_SPLITS)} have several splits: leave it at 1."
        )
    if name == "walkers":
        return _open_walkers(features_path, height, width, walkers)
    if name not in DATA_SETS:
        raise InputError(f"data.name is {name!r}: expected one of {', '.join(['walkers', *DATA_SETS])}.")
    if not root:
        raise InputError(
            f"data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/{name}."
        )
    size = height, width
    if there := find(Path(root), name):
        return _open_prepared(there, split_number, keypoints_path, features_path, size, with_pose)
    if with_pose and not keypoints_path:
        raise InputError(
            "data.keypoints is empty, but the model has a pose branch: set --config.data.keypoints to the files of a "
            "pose detector or a keypoint store (.npz), or train appearance only with --config.model.pose=none."
        )
    return _open_folder(name, Path(root), split_number, keypoints_path, features_path, size, with_pose)


def _open_folder(
    name: str,
    root: Path,
    split_number: int,
    keypoints_path: str,
    features_path: str,
    size: tuple[int, int],
    with_pose: bool,
) -> Data:
    split = DATA_SETS[name].load(root, split_number)
    _check_subsets(split)
    _print_split(name, split)
    table = NoKeypoints()
    if with_pose:
        tracklets = [*split.train, *split.query, *split.gallery, *split.junk]
        table = keypoint_table.load(keypoints_path, split, tracklets, split.junk)
        if not table.covers(split.junk):
            split = _without_junk(split)
    if features_path:
        return _with_features(Path(features_path), split, table)
    from rgcn_jax.data.clips.pipeline import FileReader  # imports TensorFlow, which nothing before needs

    return Data(split, FileReader(split.root, table, *size), size)


def _open_prepared(
    where: Path, split_number: int, keypoints_path: str, features_path: str, size: tuple[int, int], with_pose: bool
) -> Data:
    data = open_prepared(where)
    if keypoints_path:
        raise InputError(f"data.keypoints is {keypoints_path!r}, but {where} has its own: leave data.keypoints empty.")
    if with_pose and not data.has_keypoints:
        raise InputError(
            f"{where} was prepared without keypoints, but the model has a pose branch: prepare it with --keypoints, "
            "or train appearance only with --config.model.pose=none."
        )
    if size != (data.height, data.width):
        raise InputError(
            f"{where} holds frames of {data.height} x {data.width} pixels, but image_height and image_width are "
            f"{size[0]} and {size[1]}: set these, or prepare the data with --height={size[0]} --width={size[1]}."
        )
    if split_number not in data.splits:
        raise InputError(f"{where} has splits 1 to {len(data.splits)}: set data.split to one of them.")
    split = data.splits[split_number]
    _check_subsets(split)
    _print_split(data.dataset, split)
    if with_pose and split.junk and not data.junk_has_keypoints:
        split = _without_junk(split)
    table = data.keypoints() if with_pose else NoKeypoints()
    if features_path:
        return _with_features(Path(features_path), split, table)
    from rgcn_jax.data.prepared.reader import PreparedReader  # imports TensorFlow, which nothing before needs

    return Data(split, PreparedReader(data, table), size)


def _print_split(name: str, split: Split) -> None:
    if split.split_description:
        print(f"{name}: {split.split_description}", flush=True)


def _without_junk(split: Split) -> Split:
    print("junk tracklets have no usable keypoints: the protocol junk_kept is left out", flush=True)
    return replace(split, junk=())


def _check_subsets(split: Split) -> None:
    subsets = {"train": split.train, "query": split.query, "gallery": split.gallery}
    if empty := [name for name, tracklets in subsets.items() if not tracklets]:
        raise InputError(
            f"{split.root} has no tracklets for {' and '.join(empty)}: training and evaluation need "
            f"{', '.join(subsets)}."
        )


def _with_features(path: Path, split: Split, keypoints: KeypointSource) -> Data:
    from rgcn_jax.data.clips.memory import MemoryReader

    tracklets = [*split.train, *split.query, *split.gallery, *split.junk]
    table = precomputed.load(path, tracklets)
    read = partial(precomputed.read_features, table=table, keypoints=keypoints)
    return Data(split, MemoryReader(read), table.values.shape[1:])


def _open_walkers(features_path: str, height: int, width: int, fields: Mapping[str, Any]) -> Data:
    from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
    from rgcn_jax.walkers import WalkersSpec, generate

    try:
        spec = WalkersSpec(**fields)
    except ValueError as error:
        raise InputError(f"data.walkers: {error}") from error
    walkers = generate(spec)
    source = CachedSource(lambda tracklet: walkers.frames(tracklet, height, width), walkers.keypoints)
    if features_path:
        return _with_features(Path(features_path), walkers.split, source)
    return Data(walkers.split, MemoryReader(partial(read_batch, source=source)), (height, width))
