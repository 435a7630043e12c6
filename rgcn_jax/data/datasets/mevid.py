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

import numpy as np
from jaxtyping import Int64

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import parse_names, read_list
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
    if len(set(rows)) < len(rows) or max(rows) >= len(test):
        raise InputError(
            f"{root / 'query_IDX.txt'} must name rows 0 to {len(test) - 1} of track_test_info.txt, each once. {_ADVICE}"
        )
    for part, tracklets in (("bbox_train", train), ("bbox_test", test)):
        _check_frames(folders, root, part, tracklets)
    query = tuple(test[row] for row in rows)
    asked = set(rows)
    gallery = tuple(t for row, t in enumerate(test) if row not in asked)
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
    used = 0
    for number, (first, last, *labels) in enumerate(rows.tolist()):
        where = f"{row_path}: row {number} (names {first} to {last} of {name_path.name})"
        if not first <= last < len(names):
            raise InputError(f"{where} does not lie within its {len(names)} names, counted from 0. {_ADVICE}")
        if not labels[0] or not labels[2]:
            raise InputError(f"{where} has person {labels[0]} and camera {labels[2]}: both count from 1. {_ADVICE}")
        expected: dict[str, int] = dict(zip(("person", "outfit", "camera"), labels, strict=True))
        expected["tracklet"] = int(fields["tracklet"][first])
        for field, value in expected.items():
            other = np.flatnonzero(fields[field][first : last + 1] != value)
            if len(other):
                name = names[first + other[0]]
                raise InputError(f"{where} is {field} {value}, but it has the frame {name}. {_ADVICE}")
        if (np.diff(fields["frame"][first : last + 1]) <= 0).any():
            raise InputError(f"{where} is not in temporal order. {_ADVICE}")
        used += last - first + 1
    if used < len(names):
        warnings.warn(
            f"{len(names) - used:,} names of {name_path} belong to no tracklet and are not used.", stacklevel=3
        )
    return tuple(
        Tracklet(
            tuple(f"bbox_{part}/{name[:4]}/{name}" for name in names[first : last + 1]), person, camera, outfit + 1
        )
        for first, last, person, outfit, camera in rows.tolist()
    )


def _check_frames(folders: FolderReader, root: Path, part: str, tracklets: tuple[Tracklet, ...]) -> None:
    """Compare the listed frames with the folders, with one directory listing per person."""
    absent: list[str] = []
    listed: dict[str, set[str]] = {}
    for tracklet in tracklets:
        folder = tracklet.frames[0].rpartition("/")[0]
        if folder not in listed:
            listed[folder] = {f"{folder}/{name}" for name in folders.listing(folder).files}
        absent += [frame for frame in tracklet.frames if frame not in listed[folder]]
    folders.check()
    if absent:
        raise InputError(
            f"{len(absent):,} frames that {root} lists for {part} are absent; the first is {root / absent[0]}: unpack "
            f"{part} again, in full. In its place: {beside(root, absent[0])}.",
            [f"{frame} is absent" for frame in absent],
        )
