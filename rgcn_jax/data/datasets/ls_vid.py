"""Loader of LS-VID: reads its folders and lists, but no images, into a ``Split``.

Published counts: 842 training identities in 2,831 tracklets; 2,730 test identities in 11,333 tracklets, including 3,504
queries; 15 cameras. The validation set (200 identities) is not used.

Layout below the root; forks of the data set keep ``list_sequence`` and ``data`` in ``info``::

    tracklet_train/..., tracklet_test/...                    frames: four fields joined by "_", the third is the camera
    list_sequence/list_seq_train.txt, list_seq_test.txt      lines of a path prefix, a blank and a person id
    test/data/info_test.mat                                  query: lines of list_seq_test.txt, from 1 (MATLAB v7.3)

The frames of a tracklet are the files whose paths begin with the prefix, followed by another field. Thus ``0001_1`` is
not a prefix of ``0001_12_...``.
"""

import os
import warnings
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.listing import (
    IMAGES,
    FolderReader,
    check_relative,
    natural_order,
    require_folders,
)
from rgcn_jax.data.datasets.lists import read_list, split_queries, text_lines
from rgcn_jax.data.datasets.matlab import read_matrices
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

_TITLE = "LS-VID"
_PUBLISHED = {
    "training identities": 842,
    "training tracklets": 2831,
    "test identities": 2730,
    "test tracklets": 11_333,
    "queries": 3504,
}
_SMALL = 500
_FIELDS = 4


class Line(NamedTuple):
    """A line of a list of tracklets: folder, prefix of the frame names, and person id."""

    folder: str
    prefix: str
    person_id: int


def load(root: str | os.PathLike[str], gallery_includes_query: bool = False, follow_links: bool = False) -> Split:
    """Read LS-VID, or a smaller data set in its layout. Arguments and warnings as for ``mars.load``.

    ``gallery_includes_query``: if False, as in public code, the gallery is the test tracklets without queries (7,829).
    If True, it is all test tracklets. The split is in the order of the lists. Frames are sorted by name, with numbers
    in numerical order. Files that are not in the lists also cause a warning.

    Raises InputError: a folder or file is missing or a symbolic link out of the root; a line is not in the format above
    or leads out of its folder; a listed tracklet has no frames, or frames of several cameras; a query is not a line.
    """
    root = Path(root)
    require_folders(_TITLE, root, ("tracklet_train", "tracklet_test"))
    places = {"list_sequence": "test/data", "info/list_sequence": "info/data"}  # of the lists -> of info_test.mat
    lists = next((folder for folder in places if os.path.isdir(root / folder)), None)
    if lists is None:
        raise InputError(
            f"{_TITLE} is incomplete: {root} has no folder list_sequence and no folder info/list_sequence: unpack the "
            "lists there, or give a renamed folder its name back."
        )
    info = places[lists]
    folders = FolderReader(_TITLE, root, follow_links)
    for folder in (lists, info):
        folders.listing(folder)
    folders.check()
    train, test = (
        _read_tracklets(folders, root / lists / f"list_seq_{part}.txt", f"tracklet_{part}")
        for part in ("train", "test")
    )
    folders.check("Take the lists and the folders from one download again.")
    path = root / info / "info_test.mat"
    rows = read_matrices({path: "query"}, _TITLE, "the data set")[0].ravel().tolist()
    query, rest = split_queries(rows, test, 1, path, "list_seq_test.txt")
    split = Split("ls_vid", root, train, query, query + rest if gallery_includes_query else rest)
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL)
    return split


def parse_list(text: bytes, path: str | os.PathLike[str], folder: str) -> list[Line]:
    """Parse the tracklets of a list.

    ``path``: path of the file, for messages. ``folder``: folder of all tracklets.

    Raises InputError if a line is not a path prefix, blanks and a positive number, leads out of the folder, or occurs
    twice. Also raises it if there is no line.
    """
    found: dict[tuple[str, str], Line] = {}
    for number, line in enumerate(text_lines(text, path), 1):
        if not line:
            continue
        where = f"{path}: line {number} ({line[:60]!r})"
        prefix, _, person = line.rpartition(" ")
        prefix = prefix.strip()
        if not (prefix and person.isascii() and person.isdigit() and len(person) <= 9 and int(person)):
            raise InputError(f"{where} must be the beginning of a path, a blank and a person id of 1 or more.")
        wrong = check_relative(prefix.removesuffix("/"))
        if wrong or not prefix.startswith(f"{folder}/"):
            raise InputError(f"{where} {wrong or f'does not lie in {folder}'}: expected a path below {folder}.")
        parent, _, name = prefix.rpartition("/")
        if (parent, name) in found:
            raise InputError(f"{where} names a tracklet a second time.")
        found[parent, name] = Line(parent, name, int(person))
    if not found:
        raise InputError(f"{path} names no tracklet: take it from the data set again.")
    return list(found.values())


def _read_tracklets(folders: FolderReader, path: Path, folder: str) -> tuple[Tracklet, ...]:
    lines = parse_list(read_list(_TITLE, path.parent, path.name), path, folder)
    by_folder: dict[str, dict[str, list[str]]] = {}
    for line in lines:
        by_folder.setdefault(line.folder, {})[line.prefix] = []
    unused = 0
    for parent, frames in by_folder.items():
        for name in folders.listing(parent).files:
            is_image = name.lower().endswith(IMAGES)
            prefixes = [prefix for prefix in _beginnings(name) if prefix in frames and is_image]
            if len(prefixes) > 1:
                folders.wrong(f"{parent}/{name} is of two tracklets, {prefixes[0]} and {prefixes[1]}")
            elif prefixes:
                frames[prefixes[0]].append(name)
            else:
                unused += 1
    if unused:
        warnings.warn(f"Files in {folder} that belong to no line of {path} and are not used: {unused:,}.", stacklevel=3)
    tracklets = [_tracklet(folders, line, natural_order(by_folder[line.folder][line.prefix])) for line in lines]
    return tuple(tracklet for tracklet in tracklets if tracklet)


def _beginnings(name: str) -> list[str]:
    """Possible prefixes of a frame's name: its first fields, with and without a trailing "_". There may be none."""
    fields = name.split("_")
    starts = ["_".join(fields[:count]) for count in range(1, len(fields))]
    return ["", *starts, *(f"{start}_" for start in starts)]


def _tracklet(folders: FolderReader, line: Line, names: list[str]) -> Tracklet | None:
    shown = f"{line.folder}/{line.prefix}"
    if not names:
        folders.wrong(f"{shown} is listed, but has no frames")
        return None
    cameras = set()
    for name in names:
        fields = name.split("_")
        good = len(fields) == _FIELDS and fields[2].isascii() and fields[2].isdigit() and len(fields[2]) < 10
        if not good or not int(fields[2]):
            folders.wrong(f"{line.folder}/{name} has not four fields joined by _, of which the third is the camera")
            return None
        cameras.add(int(fields[2]))
    if len(cameras) > 1:
        folders.wrong(f"{shown} is a tracklet of several cameras, {', '.join(map(str, sorted(cameras)))}")
        return None
    return Tracklet(tuple(f"{line.folder}/{name}" for name in names), line.person_id, cameras.pop())
