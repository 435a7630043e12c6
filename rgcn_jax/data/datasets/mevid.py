"""Loader of MEVID, in which persons change clothes: reads its folders and lists, but no images, into a ``Split``.

Published counts: 104 training persons with 485 outfits in 6,338 tracklets; 54 test persons with 113 outfits in 1,754
tracklets; 33 cameras. Source: Davila et al., "MEVID: multi-view extended videos with identities for video person
re-identification", WACV 2023. The README of Kitware/MEVID defines the lists.

Layout below the root::

    bbox_train/0201/0201O003C330T004F00192.jpg      person, outfit, camera, tracklet, frame
    bbox_test/0205/...
    train_name.txt, test_name.txt                   one frame name per line
    track_train_info.txt, track_test_info.txt       first and last name (from 0, inclusive), person, outfit, camera
    query_IDX.txt                                   rows of track_test_info.txt, from 0

Numbers may be in NumPy's format (``2.01e+02``). ``clothes_id`` is the outfit, counted from 1.
"""

import os
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Int64

from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import check_rows, parse_names, present_frames, read_list, split_queries
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

_TITLE = "MEVID"
_PUBLISHED = {
    "training identities": 104,
    "training tracklets": 6338,
    "test identities": 54,
    "test tracklets": 1754,
}
_SMALL = 1000
_NAME = "0201O003C330T004F00192.jpg"
_FIELDS = {
    "person": slice(0, 4),
    "outfit": slice(5, 8),
    "camera": slice(9, 12),
    "tracklet": slice(13, 16),
    "frame": slice(17, 22),
}
_LISTS = ("train_name.txt", "test_name.txt", "track_train_info.txt", "track_test_info.txt", "query_IDX.txt")
_ADVICE = "The lists must come from one download: take them from there again."


def load(root: str | os.PathLike[str], follow_links: bool = False) -> Split:
    """Read MEVID, or a smaller data set in its layout. Arguments and warnings as for ``mars.load``.

    The split is in the order of the lists, and queries are not in the gallery.

    Raises InputError: a folder or file is missing or a symbolic link out of the root; a row is not one tracklet of one
    person, outfit and camera in temporal order; a query is not a row; or a listed frame is missing.
    """
    root = Path(root)
    require_folders(_TITLE, root, ("bbox_train", "bbox_test"))
    folders = FolderReader(_TITLE, root, follow_links)
    for folder in ("bbox_train", "bbox_test"):
        folders.listing(folder)
    for name in _LISTS:
        folders.has_file(name)  # reports a link out of the root
    folders.check()
    train, test = (_read_tracklets(root, part) for part in ("train", "test"))
    rows = parse_numbers(_read(root, "query_IDX.txt"), root / "query_IDX.txt", 1)[:, 0].tolist()
    train = present_frames(_TITLE, root, root, "bbox_train", train, follow_links)
    test = present_frames(_TITLE, root, root, "bbox_test", test, follow_links)
    query, gallery = split_queries(rows, test, 0, root / "query_IDX.txt", "track_test_info.txt")
    split = Split("mevid", root, train, query, gallery)
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL)
    return split


def _read(root: Path, name: str) -> bytes:
    advice = "The lists are a separate download, mevid-v1-annotation-data: put its files into the root."
    return read_list(_TITLE, root, name, advice)


def parse_numbers(text: bytes, path: Path, columns: int) -> Int64[np.ndarray, "rows columns"]:
    """Parse the rows of a list: ``columns`` non-negative whole numbers each, and at least one row.

    Raises:
      InputError: the list has another format.
    """
    lines = [line for line in text.split(b"\n") if line.strip()]
    try:
        values = np.array([[float(field) for field in line.split()] for line in lines], np.float64)
        good = values.ndim == 2 and values.shape[1] == columns and len(values) > 0
        good = good and bool(((values >= 0) & (values < 2**31) & (values == np.round(values))).all())
    except ValueError:
        good, values = False, np.zeros(0)
    if not good:
        raise InputError(
            f"{path}: every line must be {columns} whole numbers, 0 or more, and one must be there. {_ADVICE}"
        )
    return values.astype(np.int64)


def _read_tracklets(root: Path, part: str) -> tuple[Tracklet, ...]:
    row_path, name_path = root / f"track_{part}_info.txt", root / f"{part}_name.txt"
    rows = parse_numbers(_read(root, row_path.name), row_path, 5)
    names, fields = parse_names(_read(root, name_path.name).split(), _NAME, _FIELDS, name_path)
    first, last, person, outfit, camera = rows.T

    def fail(row: int, problem: str) -> NoReturn:
        raise InputError(
            f"{row_path}: row {row} (names {first[row]} to {last[row]} of {name_path.name}, person {person[row]}, "
            f"outfit {outfit[row]}, camera {camera[row]}) {problem} {_ADVICE}"
        )

    unknown = np.flatnonzero((person == 0) | (camera == 0))
    if len(unknown):
        fail(int(unknown[0]), "has no person or no camera: both count from 1.")
    used = check_rows(first, last, {"person": person, "outfit": outfit, "camera": camera}, names, fields, fail)
    if used < len(names):
        warnings.warn(
            f"Names in {name_path} that belong to no tracklet and are not used: {len(names) - used:,}.", stacklevel=3
        )
    return tuple(
        Tracklet(
            tuple(f"bbox_{part}/{name[:4]}/{name}" for name in names[first : last + 1]), person, camera, outfit + 1
        )
        for first, last, person, outfit, camera in rows.tolist()
    )
