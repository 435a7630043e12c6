"""Loader of PRID2011 (multi-shot): from its folders and lists to a ``Split``. Decodes no image.

Published counts: 200 people in both cameras, of whom the field takes the 178 with more than a threshold of frames; 10
random splits into 89 and 89. Query is camera a, gallery camera b, so that a query has one true match.

Layout below the root::

    prid_2011/multi_shot/cam_a/person_0001/0001.png     and cam_b; people with one camera only are in it too
    splits_prid2011.json                                [{"train": ["person_0001", ...], "test": [...]}, ...]

The file of splits is not of the authors: it comes with the field's re-identification libraries. People whom no split
names are not used. Frames of different people have the same names, so keypoints must lie in the frames' folders.
"""

import os
import re
from pathlib import Path
from typing import Any

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.published import compare_with_published, describe_split
from rgcn_jax.errors import InputError
from rgcn_jax.runtime import strict_json
from rgcn_jax.runtime.handed_over import LARGEST_LIST, read_file
from rgcn_jax.types import Split, Tracklet

_TITLE = "PRID2011"
_CAMERAS = {"cam_a": 1, "cam_b": 2}
_SHOTS = "prid_2011/multi_shot"
_SPLITS = "splits_prid2011.json"
_PUBLISHED = {"splits": 10, "training people": 89, "test people": 89}
_SMALL = 120  # up to so many people a data set only has this layout: its counts are not compared
_PERSON = re.compile("person_([0-9]{4})")
_NAME = re.compile(r"([0-9]{1,9})\.(?:png|jpg|jpeg)", re.IGNORECASE)


def load(root: str | os.PathLike[str], split_number: int = 1, follow_links: bool = False) -> Split:
    """Read one of the field's splits of PRID2011, or of a smaller data set in its layout.

    Args:
      root: the folder that holds ``prid_2011`` and ``splits_prid2011.json``.
      split_number: position in the list of splits, from 1.
      follow_links: read folders and files that are symbolic links out of the root, too.

    Returns:
      The split: ``train`` has both cameras, person by person; ``query`` is camera a (1), ``gallery`` camera b (2).
      Person ids are the numbers in the folders' names. ``split_description`` has the number and a hash of
      the split.

    Raises:
      InputError: a folder or file is missing, empty or a symbolic link out of the root; a frame's name is no number;
        the splits are not in the format above or name people who have no folder; or there is no such split.

    Warns:
      UserWarning: the split is as large as the field's, but a count is not the usual one.
    """
    root = Path(root)
    require_folders(_TITLE, root, tuple(f"{_SHOTS}/{camera}" for camera in _CAMERAS))
    folders = FolderReader(_TITLE, root, follow_links)
    has_splits = folders.has_file(_SPLITS)
    folders.check()
    if not has_splits:
        raise InputError(
            f"{_TITLE} is incomplete: there is no file {root / _SPLITS}; it is a separate download, see docs/data.md. "
            f"In its place: {beside(root, _SPLITS)}."
        )
    splits = _read_splits(root / _SPLITS)
    if not 1 <= split_number <= len(splits):
        raise InputError(
            f"{_TITLE} has splits 1 to {len(splits)} in {root / _SPLITS}, there is no split {split_number}: set "
            "data.split to another."
        )
    train, test = splits[split_number - 1]
    people = {camera: set(folders.listing(f"{_SHOTS}/{camera}").folders) for camera in _CAMERAS}
    tracklets = {}
    for camera in _CAMERAS:
        for person in (*train, *test):
            if person in people[camera]:
                tracklets[camera, person] = _read_tracklet(folders, camera, person)
            else:
                folders.wrong(f"split {split_number} names {person}, but {_SHOTS}/{camera} has no such folder")
    folders.check()
    if len(train) + len(test) > _SMALL:
        found = {"splits": len(splits), "training people": len(train), "test people": len(test)}
        compare_with_published(_TITLE, _PUBLISHED, found)
    return Split(
        name="prid2011",
        root=root,
        train=tuple(tracklets[camera, person] for person in train for camera in _CAMERAS),
        query=tuple(tracklets["cam_a", person] for person in test),
        gallery=tuple(tracklets["cam_b", person] for person in test),
        split_description=describe_split(split_number, len(splits), train, test),
    )


def num_splits(root: str | os.PathLike[str]) -> int:
    """The number of splits in ``splits_prid2011.json``. Raises InputError where it cannot be read."""
    return len(_read_splits(Path(root) / _SPLITS))


def parse_splits(text: bytes, path: str | os.PathLike[str]) -> list[tuple[list[str], list[str]]]:
    """The splits of a JSON file: names of the person folders, sorted, for training and for testing.

    Args:
      text: contents of the file.
      path: of the file, for messages.

    Raises:
      InputError: it is not a list of such splits, or a split names a person twice or something that is no person.
    """
    try:
        splits = strict_json.parse(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not JSON or is cut off ({error}): download it again.") from error
    if not isinstance(splits, list) or not splits:
        raise InputError(f'{path}: expected a list of splits like {{"train": [...], "test": [...]}}.')
    return [_parse_split(split, f"{path}: split {number}") for number, split in enumerate(splits, 1)]


def _parse_split(split: object, where: str) -> tuple[list[str], list[str]]:
    halves: list[Any] = [split.get("train"), split.get("test")] if isinstance(split, dict) else []
    if not halves or not all(isinstance(half, list) and half for half in halves):
        raise InputError(f'{where} must be {{"train": [...], "test": [...]}} with people in both lists.')
    for person in (*halves[0], *halves[1]):
        match = _PERSON.fullmatch(person) if isinstance(person, str) else None
        if not match or int(match[1]) == 0:
            raise InputError(f"{where} names {person!r:.60}: expected the name of a person folder like person_0001.")
    if len({*halves[0], *halves[1]}) < len(halves[0]) + len(halves[1]):
        raise InputError(f"{where} names a person twice: in a split everybody is either trained or tested on, once.")
    return sorted(halves[0]), sorted(halves[1])


def _read_splits(path: Path) -> list[tuple[list[str], list[str]]]:
    try:
        text = read_file(path, LARGEST_LIST)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
    return parse_splits(text, path)


def _read_tracklet(folders: FolderReader, camera: str, person: str) -> Tracklet:
    folder = f"{_SHOTS}/{camera}/{person}"
    frames: dict[int, str] = {}
    for name in folders.frames(folder):
        match = _NAME.fullmatch(name)
        if not match:
            folders.wrong(f"{folder}/{name} is no frame name like 0001.png")
        elif frames.setdefault(int(match[1]), name) != name:
            folders.wrong(f"{folder} holds frame {int(match[1])} twice")
    in_order = tuple(f"{folder}/{frames[number]}" for number in sorted(frames))
    return Tracklet(in_order, int(person[-4:]), _CAMERAS[camera])
