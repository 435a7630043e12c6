"""From a data set's name to its tracklets and a reader: the one place that chooses between memory and disk."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from rgcn_jax.data.clips import precomputed as feature_files
from rgcn_jax.data.clips.reader import Data, KeypointSource, NoKeypoints
from rgcn_jax.data.datasets import custom, dukemtmc_vidreid, ilids_vid, ls_vid, mars, prid2011
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.prepared import format as prepared_format
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split

FOLDERS: Mapping[str, Callable[..., Split]] = {
    "mars": partial(mars.load, check_files=True),
    "dukemtmc_vidreid": dukemtmc_vidreid.load,
    "ilids_vid": ilids_vid.load,
    "prid2011": prid2011.load,
    "ls_vid": ls_vid.load,
    "folder": custom.load,
}
"""Data sets read from a folder: name -> function from the folder to a ``Split``."""

HALVED = ("ilids_vid", "prid2011")
"""Those with several published splits of the people: their functions also take its number, ``split=``, from 1."""


def open_data(
    name: str,
    *,
    root: str,
    keypoints: str,
    features: str = "",
    height: int,
    width: int,
    walkers: Mapping[str, Any],
    with_pose: bool,
    split: int = 1,
) -> Data:
    """Opens a data set.

    Args:
      name: "walkers" (generated, in memory), or a key of ``FOLDERS``.
      root: folder of the data set as it was distributed, or of prepared data (``prepared/format.py``), told by
        what is in it.
      keypoints: files of a pose detector or a keypoint store (docs/data.md); may be empty if ``with_pose`` is False.
        Prepared data has its own: empty.
      features: file of appearance features that take the place of the frames (``data.features``); "": read frames.
      height: of the frames that come out, in pixels.
      width: likewise.
      walkers: fields of ``WalkersSpec``; read for "walkers" alone.
      with_pose: False for appearance only: all keypoints are then "not detected".
      split: which of the published splits of the people, from 1; data sets that are not ``HALVED`` have only 1.

    Raises:
      InputError: the name or the split is unknown, or the folder, the keypoints or the features are not as they must
        be.
    """
    if split != 1 and name not in HALVED:
        raise InputError(f"data.split is {split}, but only {' and '.join(HALVED)} have several splits: leave it at 1.")
    if name == "walkers":
        return _open_walkers(features, height, width, walkers)
    if name not in FOLDERS:
        raise InputError(f"data.name is {name!r}: expected one of {', '.join(['walkers', *FOLDERS])}.")
    if not root:
        raise InputError(
            f"data.root is empty: set it to the folder of the data set, --config.data.root=/path/to/{name}."
        )
    size = height, width
    if there := prepared_format.find(Path(root), name):
        return _open_prepared(there, split, keypoints, features, size, with_pose)
    if with_pose and not keypoints:
        raise InputError(
            "data.keypoints is empty, but the model has a pose branch: set --config.data.keypoints to the files of a "
            "pose detector or a keypoint store (.npz), or train appearance only with --config.model.pose=none."
        )
    return _open_folder(name, Path(root), split, keypoints, features, size, with_pose)


def _open_folder(
    name: str, root: Path, number: int, keypoints: str, features: str, size: tuple[int, int], with_pose: bool
) -> Data:
    split = FOLDERS[name](root, split=number) if name in HALVED else FOLDERS[name](root)
    _check_parts(split)
    _say_partition(name, split)
    table = NoKeypoints()
    if with_pose:
        needed = [*split.train, *split.query, *split.gallery]
        try:
            table = keypoint_table.load(Path(keypoints), split, [*needed, *split.junk])
        except InputError:
            if not split.junk:
                raise
            table = keypoint_table.load(Path(keypoints), split, needed)  # raises where more than junk is at fault
            split = _without_junk(split)
    if features:
        return _with_features(Path(features), split, table)
    from rgcn_jax.data.clips.pipeline import FileReader  # imports TensorFlow, which nothing before needs

    return Data(split, FileReader(split.root, table, *size), size)


def _open_prepared(
    where: Path, number: int, keypoints: str, features: str, size: tuple[int, int], with_pose: bool
) -> Data:
    data = prepared_format.open_prepared(where)
    if keypoints:
        raise InputError(f"data.keypoints is {keypoints!r}, but {where} has its own: leave data.keypoints empty.")
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
    if number not in data.splits:
        raise InputError(f"{where} has splits 1 to {len(data.splits)}: set data.split to one of them.")
    split = data.splits[number]
    _check_parts(split)
    _say_partition(data.dataset, split)
    if with_pose and split.junk and not data.junk_has_keypoints:
        split = _without_junk(split)
    table = data.keypoints() if with_pose else NoKeypoints()
    if features:
        return _with_features(Path(features), split, table)
    from rgcn_jax.data.prepared.reader import PreparedReader  # imports TensorFlow, which nothing before needs

    return Data(split, PreparedReader(data, table), size)


def _say_partition(name: str, split: Split) -> None:
    if split.partition:
        print(f"{name}: {split.partition}", flush=True)


def _without_junk(split: Split) -> Split:
    print("junk tracklets have no usable keypoints: the protocol junk_kept is left out", flush=True)
    return replace(split, junk=())


def _check_parts(split: Split) -> None:
    parts = {"train": split.train, "query": split.query, "gallery": split.gallery}
    if empty := [part for part, tracklets in parts.items() if not tracklets]:
        raise InputError(
            f"{split.root} has no tracklets for {' and '.join(empty)}: training and evaluation need {', '.join(parts)}."
        )


def _with_features(path: Path, split: Split, keypoints: KeypointSource) -> Data:
    from rgcn_jax.data.clips.memory import MemoryReader

    tracklets = [*split.train, *split.query, *split.gallery, *split.junk]
    table = feature_files.load(path, tracklets)
    read = partial(feature_files.read_features, table=table, keypoints=keypoints)
    return Data(split, MemoryReader(read), table.values.shape[1:])


def _open_walkers(features: str, height: int, width: int, fields: Mapping[str, Any]) -> Data:
    from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
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
