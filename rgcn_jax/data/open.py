"""From a data set's name to its tracklets and a reader: the one place that chooses between memory and disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data import features as feature_files
from rgcn_jax.data import keypoints as keypoint_files
from rgcn_jax.data import mars
from rgcn_jax.data.reader import Data, KeypointSource, NoKeypoints
from rgcn_jax.types import InputError, Split

FOLDERS: Mapping[str, Callable[[Path], Split]] = {"mars": partial(mars.load, check_files=True)}
"""Data sets read from a folder: name -> function from the folder to a ``Split``."""


def open_data(
    name: str,
    *,
    root: str,
    keypoints: str,
    features: str,
    height: int,
    width: int,
    walkers: Mapping[str, Any],
    with_pose: bool,
) -> Data:
    """Opens a data set.

    Args:
      name: "walkers" (generated, in memory), or a key of ``FOLDERS``.
      root: folder of the data set as it was distributed.
      keypoints: folder of OpenPose JSON files, or a keypoint store; may be empty if ``with_pose`` is False.
      features: file of appearance features that take the place of the frames (``data.features``); "": read frames.
      height: of the frames that come out, in pixels.
      width: likewise.
      walkers: fields of ``WalkersSpec``; read for "walkers" alone.
      with_pose: False for appearance only: all keypoints are then "not detected".

    Raises:
      InputError: the name is unknown, or the folder, the keypoints or the features are not as they must be.
    """
    if name == "walkers":
        return _open_walkers(features, height, width, walkers)
    if name not in FOLDERS:
        raise InputError(f"data.name is {name!r}: expected one of {', '.join(['walkers', *FOLDERS])}.")
    if not root:
        raise InputError(
            f"data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/{name}."
        )
    if with_pose and not keypoints:
        raise InputError(
            "data.keypoints is empty, but the model has a pose branch: set --config.data.keypoints to a folder of "
            "OpenPose JSON files or a keypoint store (.npz), or train appearance only with --config.model.pose=none."
        )
    split = FOLDERS[name](Path(root))
    table = NoKeypoints()
    if with_pose:
        needed = [*split.train, *split.query, *split.gallery]
        try:
            table = keypoint_files.load(Path(keypoints), split, [*needed, *split.junk])
        except InputError:
            if not split.junk:
                raise
            table = keypoint_files.load(Path(keypoints), split, needed)  # raises where more than junk is at fault
            split = replace(split, junk=())
            print("junk tracklets have no usable keypoints: the protocol junk_kept is left out", flush=True)
    if features:
        return _with_features(Path(features), split, table)
    from rgcn_jax.data.pipeline import FileReader  # imports TensorFlow, which nothing else needs

    return Data(split, FileReader(split.root, table, height, width), (height, width))


def _with_features(path: Path, split: Split, keypoints: KeypointSource) -> Data:
    from rgcn_jax.data.memory import MemoryReader

    tracklets = [*split.train, *split.query, *split.gallery, *split.junk]
    table = feature_files.load(path, tracklets)
    read = partial(feature_files.read_features, table=table, keypoints=keypoints)
    return Data(split, MemoryReader(read), table.values.shape[1:])


def _open_walkers(features: str, height: int, width: int, fields: Mapping[str, Any]) -> Data:
    from rgcn_jax.data.memory import CachedSource, MemoryReader, read_batch
    from rgcn_jax.walkers import WalkersSpec, generate

    try:
        spec = WalkersSpec(**fields)
    except ValueError as error:
        raise InputError(f"data.walkers: {error}") from error
    walkers = generate(spec)
    source = CachedSource(lambda tracklet: walkers.frames(tracklet, height, width), walkers.keypoints)
    if features:
        return _with_features(Path(features), walkers.split, source)
    return Data(walkers.split, MemoryReader(partial(read_batch, source=source)), (height, width))
