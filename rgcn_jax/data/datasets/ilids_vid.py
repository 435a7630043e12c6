"""Loader of iLIDS-VID: reads its folders and lists, but no images, into a ``Split``.

Published counts: 300 persons, each once in both cameras, 600 tracklets of 23 to 192 frames; 10 random splits into 150
and 150. Queries are from camera 1 and the gallery is from camera 2, so a query has one match. Scores are means over the
10 splits.

Layout below the root::

    i-LIDS-VID/sequences/cam1/person001/cam1_person001_00317.png     and cam2; the numbers of the persons have gaps
    train-test people splits/train_test_splits_ilidsvid.mat          ls_set [10, 300]

A row of ``ls_set`` is a permutation of 1 to 300: test persons, followed by training persons. Its numbers are indices in
the sorted list of person folders, not the numbers of the persons. A missing or additional folder would change every
split, and is an error. ``i-LIDS-VID/images`` (one image per person) is not read.
"""

import os
import re
from pathlib import Path

import numpy as np
from jaxtyping import Int64

from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import numbered_frames
from rgcn_jax.data.datasets.matlab import read_matrices
from rgcn_jax.data.datasets.published import compare_with_published, two_camera_split
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

_TITLE = "iLIDS-VID"
_SEQUENCES = "i-LIDS-VID/sequences"
_SPLITS = "train-test people splits/train_test_splits_ilidsvid.mat"
_PUBLISHED = {"training identities": 150, "test identities": 150, "splits": 10}
_SMALL = 200
_PERSON = re.compile("person([0-9]{3})")


def load(root: str | os.PathLike[str], split_number: int = 1, follow_links: bool = False) -> Split:
    """Read one of the published splits of iLIDS-VID, or of a smaller data set in its layout.

    ``split_number``: row of ``ls_set``, from 1. Other arguments and warnings as for ``mars.load``. ``train`` has both
    cameras, person by person; ``query`` is camera 1, ``gallery`` camera 2. Person ids are the numbers in the folders'
    names. ``split_description`` has the number and a hash of the split.

    Raises InputError: a folder or file is missing, empty or a symbolic link out of the root; the cameras have different
    persons; a frame's name is not of its folder; the splits file does not fit the folders; or the split does not exist.
    """
    root = Path(root)
    require_folders(_TITLE, root, (f"{_SEQUENCES}/cam1", f"{_SEQUENCES}/cam2", "train-test people splits"))
    folders = FolderReader(_TITLE, root, follow_links)
    folders.listing("train-test people splits")
    persons, tracklets = _read_people(folders)
    folders.check("The splits count on the folders as they were distributed: unpack them again.")
    rows = _read_splits(root / _SPLITS, len(persons))
    if not 1 <= split_number <= len(rows):
        raise InputError(
            f"{_TITLE} has splits 1 to {len(rows)}, there is no split {split_number}: set data.split to another."
        )
    order = (rows[split_number - 1] - 1).tolist()
    test, train = ([persons[i] for i in sorted(half)] for half in (order[: len(order) // 2], order[len(order) // 2 :]))
    split = two_camera_split("ilids_vid", root, tracklets, train, test, split_number, len(rows))
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL, len(rows))
    return split


def num_splits(root: str | os.PathLike[str]) -> int:
    """Number of published splits, which are the rows of ``ls_set``. Raises InputError if it cannot be read."""
    return len(_read_matrix(Path(root) / _SPLITS))


def _read_people(folders: FolderReader) -> tuple[list[str], dict[tuple[str, str], Tracklet]]:
    """Read the sorted names of the person folders, and the tracklet of each in each camera."""
    persons = {camera: folders.listing(f"{_SEQUENCES}/{camera}").folders for camera in ("cam1", "cam2")}
    for camera, other in (("cam1", "cam2"), ("cam2", "cam1")):
        for person in sorted(set(persons[camera]) - set(persons[other])):
            folders.wrong(f"{_SEQUENCES}/{camera} has a folder {person}, {_SEQUENCES}/{other} has none")
    tracklets = {}
    for camera in persons:
        for person in persons[camera]:
            folder = f"{_SEQUENCES}/{camera}/{person}"
            match = _PERSON.fullmatch(person)
            if not match or int(match[1]) == 0:
                folders.wrong(f"{folder} is no folder of a person like person001")
                continue
            pattern = re.compile(rf"{camera}_{person}_([0-9]{{1,9}})\.(?i:png|jpg|jpeg)")
            frames = numbered_frames(folders, folder, pattern, f"{camera}_{person}_00317.png")
            tracklets[camera, person] = Tracklet(frames, int(match[1]), int(camera[-1]))
    if not persons["cam1"]:
        folders.wrong(f"{_SEQUENCES}/cam1 holds no folder of a person")
    return persons["cam1"], tracklets


def _read_matrix(path: Path) -> Int64[np.ndarray, "splits persons"]:
    return read_matrices({path: "ls_set"}, _TITLE, "the archive")[0]


def _read_splits(path: Path, persons: int) -> Int64[np.ndarray, "splits persons"]:
    rows = _read_matrix(path)
    if rows.shape[1] != persons:
        raise InputError(
            f"{path}: ls_set splits {rows.shape[1]} persons, but there are {persons} person folders, and its numbers "
            "are positions in their sorted list: unpack all folders again, in full, and nothing else beside them."
        )
    bad = np.flatnonzero(np.any(np.sort(rows, axis=1) != np.arange(1, persons + 1), axis=1))
    if persons % 2 or len(rows) == 0 or len(bad):
        where = f", which row {bad[0] + 1} is not" if len(bad) else ""
        raise InputError(
            f"{path}: every row of ls_set must be the numbers 1 to {persons} in some order{where}, {persons} must be "
            f"even, and there must be a row, found {len(rows)}: unpack the archive again."
        )
    return rows
