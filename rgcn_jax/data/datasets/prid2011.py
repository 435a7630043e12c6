"""Loader of PRID2011 (multi-shot): reads its folders and lists, but no images, into a ``Split``.

Published counts: 200 persons in both cameras, 178 of them with enough frames, which are commonly used; 10 random splits
into 89 and 89. Queries are from camera a and the gallery is from camera b, so a query has one match.

Layout below the root::

    prid_2011/multi_shot/cam_a/person_0001/0001.png     and cam_b; persons with one camera only are in it too
    splits_prid2011.json                                [{"train": ["person_0001", ...], "test": [...]}, ...]

The splits file is not from the authors, but is distributed with re-identification libraries. Persons in no split are
not used. Frames of different persons have the same names, so keypoints must be stored in the frames' folders.
"""

import os
import re
from pathlib import Path
from typing import Any

from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import numbered_frames, read_list
from rgcn_jax.data.datasets.published import compare_with_published, two_camera_split
from rgcn_jax.errors import MALFORMED, InputError, as_input_error
from rgcn_jax.runtime import strict_json
from rgcn_jax.types import Split, Tracklet

_TITLE = "PRID2011"
_CAMERAS = {"cam_a": 1, "cam_b": 2}
_SHOTS = "prid_2011/multi_shot"
_SPLITS = "splits_prid2011.json"
_PUBLISHED = {"splits": 10, "training identities": 89, "test identities": 89}
_SMALL = 120
_PERSON = re.compile("person_([0-9]{4})")
_NAME = re.compile(r"([0-9]{1,9})\.(?:png|jpg|jpeg)", re.IGNORECASE)


def load(root: str | os.PathLike[str], split_number: int = 1, follow_links: bool = False) -> Split:
    """Read one of the usual splits of PRID2011, or of a smaller data set in its layout.

    ``split_number``: index in the list, from 1. Other arguments and warnings as for ``mars.load``. ``train`` has both
    cameras, person by person; ``query`` is camera a (1), ``gallery`` camera b (2). Person ids are the numbers in the
    folders' names. ``split_description`` has the number and a hash of the split.

    Raises InputError: a folder or file is missing, empty or a symbolic link out of the root; a frame's name is not a
    number; splits are not in the format above or contain persons without a folder; or the split does not exist.
    """
    root = Path(root)
    require_folders(_TITLE, root, tuple(f"{_SHOTS}/{camera}" for camera in _CAMERAS))
    folders = FolderReader(_TITLE, root, follow_links)
    folders.has_file(_SPLITS)  # reports a link out of the root
    folders.check()
    splits = _read_splits(root)
    if not 1 <= split_number <= len(splits):
        raise InputError(
            f"{_TITLE} has splits 1 to {len(splits)} in {root / _SPLITS}, there is no split {split_number}: set "
            "data.split to another."
        )
    train, test = splits[split_number - 1]
    persons = {camera: set(folders.listing(f"{_SHOTS}/{camera}").folders) for camera in _CAMERAS}
    tracklets = {}
    for camera in _CAMERAS:
        for person in (*train, *test):
            if person in persons[camera]:
                frames = numbered_frames(folders, f"{_SHOTS}/{camera}/{person}", _NAME, "0001.png")
                tracklets[camera, person] = Tracklet(frames, int(person[-4:]), _CAMERAS[camera])
            else:
                folders.wrong(f"split {split_number} names {person}, but {_SHOTS}/{camera} has no such folder")
    folders.check()
    split = two_camera_split("prid2011", root, tracklets, train, test, split_number, len(splits))
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL, len(splits))
    return split


def num_splits(root: str | os.PathLike[str]) -> int:
    """The number of splits in ``splits_prid2011.json``. Raises InputError if it cannot be read."""
    return len(_read_splits(Path(root)))


def parse_splits(text: bytes, path: str | os.PathLike[str]) -> list[tuple[list[str], list[str]]]:
    """Parse the splits of a JSON file: sorted names of the person folders for training and for testing.

    ``path``: path of the file, for messages. Raises InputError if it is not a list of such splits, or if a split
    contains a person twice or an invalid name.
    """
    with as_input_error(f"{path} is not JSON or is cut off", "download it again", MALFORMED):
        splits = strict_json.parse(text)
    if not isinstance(splits, list) or not splits:
        raise InputError(f'{path}: expected a list of splits like {{"train": [...], "test": [...]}}.')
    return [_parse_split(split, f"{path}: split {number}") for number, split in enumerate(splits, 1)]


def _parse_split(split: object, where: str) -> tuple[list[str], list[str]]:
    halves: list[Any] = [split.get("train"), split.get("test")] if isinstance(split, dict) else []
    if not halves or not all(isinstance(half, list) and half for half in halves):
        raise InputError(f'{where} must be {{"train": [...], "test": [...]}} with persons in both lists.')
    for person in (*halves[0], *halves[1]):
        match = _PERSON.fullmatch(person) if isinstance(person, str) else None
        if not match or int(match[1]) == 0:
            raise InputError(f"{where} names {person!r:.60}: expected the name of a person folder like person_0001.")
    if len({*halves[0], *halves[1]}) < len(halves[0]) + len(halves[1]):
        raise InputError(f"{where} names a person twice: in a split everybody is either trained or tested on, once.")
    return sorted(halves[0]), sorted(halves[1])


def _read_splits(root: Path) -> list[tuple[list[str], list[str]]]:
    advice = "It is a separate download, see docs/data.md."
    return parse_splits(read_list(_TITLE, root, _SPLITS, advice), root / _SPLITS)
