"""From a data set's name to its tracklets and a reader: the one place that chooses between memory and disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data import dukemtmc_vidreid, folder, ilids_vid, ls_vid, mars, prid2011
from rgcn_jax.data import keypoints as keypoint_files
from rgcn_jax.data.reader import Data, NoKeypoints
from rgcn_jax.types import InputError, Split

FOLDERS: Mapping[str, Callable[..., Split]] = {
    "mars": partial(mars.load, check_files=True),
    "dukemtmc_vidreid": dukemtmc_vidreid.load,
    "ilids_vid": ilids_vid.load,
    "prid2011": prid2011.load,
    "ls_vid": ls_vid.load,
    "folder": folder.load,
}
"""Data sets read from a folder: name -> function from the folder to a ``Split``."""

HALVED = ("ilids_vid", "prid2011")
"""Those with several published splits of the people: their functions also take its number, ``split=``, from 1."""


def open_data(
    name: str,
    *,
    root: str,
    keypoints: str,
    height: int,
    width: int,
    walkers: Mapping[str, Any],
    with_pose: bool,
    split: int = 1,
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
      split: which of the published splits of the people, from 1; data sets that are not ``HALVED`` have only 1.

    Raises:
      InputError: the name or the split is unknown, or the folder or the keypoints are not as they must be.
    """
    if split != 1 and name not in HALVED:
        raise InputError(f"data.split is {split}, but only {' and '.join(HALVED)} have several splits: leave it at 1.")
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
    return _open_folder(name, Path(root), split, keypoints, height, width, with_pose)


def _open_folder(name: str, root: Path, number: int, keypoints: str, height: int, width: int, with_pose: bool) -> Data:
    from rgcn_jax.data.pipeline import FileReader  # imports TensorFlow, which the walkers do without

    split = FOLDERS[name](root, split=number) if name in HALVED else FOLDERS[name](root)
    _check_parts(split)
    if split.partition:
        print(f"{name}: {split.partition}", flush=True)
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


def _check_parts(split: Split) -> None:
    parts = {"train": split.train, "query": split.query, "gallery": split.gallery}
    if empty := [part for part, tracklets in parts.items() if not tracklets]:
        raise InputError(
            f"{split.root} has no tracklets for {' and '.join(empty)}: training and evaluation need {', '.join(parts)}."
        )


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
