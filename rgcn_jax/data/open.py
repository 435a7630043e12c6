"""From a data set's name to its tracklets and a reader: the one place that chooses between memory and disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data import dukemtmc_vidreid, folder, ilids_vid, ls_vid, mars, prepared, prid2011
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
      root: folder of the data set as it was distributed, or of prepared data (``prepared.py``), told by what is in it.
      keypoints: folder of OpenPose JSON files, or a keypoint store; may be empty if ``with_pose`` is False. Prepared
        data has its own: empty.
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
    if there := prepared.find(Path(root), name):
        return _open_prepared(there, split, keypoints, height, width, with_pose)
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


def _open_prepared(where: Path, number: int, keypoints: str, height: int, width: int, with_pose: bool) -> Data:
    from rgcn_jax.data.prepared_reader import PreparedReader  # imports TensorFlow

    data = prepared.open_prepared(where)
    if keypoints:
        raise InputError(f"data.keypoints is {keypoints!r}, but {where} has its own: leave data.keypoints empty.")
    if with_pose and not data.has_keypoints:
        raise InputError(
            f"{where} was prepared without keypoints, but the model has a pose branch: prepare it with --keypoints, "
            "or train appearance only with --config.model.pose=none."
        )
    if (height, width) != (data.height, data.width):
        raise InputError(
            f"{where} holds frames of {data.height} x {data.width} pixels, but image_height and image_width are "
            f"{height} and {width}: set these, or prepare the data with --height={height} --width={width}."
        )
    if number not in data.splits:
        raise InputError(f"{where} has splits 1 to {len(data.splits)}: set data.split to one of them.")
    split = data.splits[number]
    _check_parts(split)
    if split.partition:
        print(f"{data.dataset}: {split.partition}", flush=True)
    if with_pose and split.junk and not data.junk_has_keypoints:
        split = replace(split, junk=())
        print("junk tracklets have no usable keypoints: the protocol junk_kept is left out", flush=True)
    return Data(split, PreparedReader(data, data.keypoints() if with_pose else NoKeypoints()))


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
