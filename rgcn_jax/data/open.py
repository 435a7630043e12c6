"""From a data set's name to its tracklets and a reader: the one place that chooses between memory and disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data import keypoints as keypoint_files
from rgcn_jax.data import mars
from rgcn_jax.data.reader import Data, NoKeypoints
from rgcn_jax.types import InputError, Split

FOLDERS: Mapping[str, Callable[[Path], Split]] = {"mars": partial(mars.load, check_files=True)}
"""Data sets read from a folder: name -> function from the folder to a ``Split``."""


def open_data(
    name: str, *, root: str, keypoints: str, height: int, width: int, walkers: Mapping[str, Any], with_pose: bool
) -> Data:
    """Opens a data set.

    Args:
      name: "walkers" (generated, in memory), or a key of ``FOLDERS``.
      root: folder of the data set as it was distributed.
      keypoints: folder of OpenPose JSON files, or a keypoint store; may be empty if ``with_pose`` is False.
      height: of the frames that come out, in pixels.
      width: likewise.
      walkers: fields of ``WalkersSpec``; read for "walkers" alone.
      with_pose: False for appearance only: all keypoints are then "not detected".

    Raises:
      InputError: the name is unknown, or the folder or the keypoints are not as they must be.
    """
    if name == "walkers":
        return _open_walkers(height, width, walkers)
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
    from rgcn_jax.data.pipeline import FileReader  # imports TensorFlow, which the walkers do without

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
    return Data(split, FileReader(split.root, table, height, width))


def _open_walkers(height: int, width: int, fields: Mapping[str, Any]) -> Data:
    from rgcn_jax.data.memory import CachedSource, MemoryReader
    from rgcn_jax.walkers import WalkersSpec, generate

    try:
        spec = WalkersSpec(**fields)
    except ValueError as error:
        raise InputError(f"data.walkers: {error}") from error
    walkers = generate(spec)
    source = CachedSource(lambda tracklet: walkers.frames(tracklet, height, width), walkers.keypoints)
    return Data(walkers.split, MemoryReader(source))
