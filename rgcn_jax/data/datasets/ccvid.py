"""Loader of CCVID, in which persons change clothes: reads its folders and lists, but no images, into a ``Split``.

Published counts: 226 persons in 2,856 tracklets, derived from the gait data set FVG. There are 75 training persons in
948 tracklets, and 151 test persons in 834 queries and 1,074 gallery tracklets. Source: Gu et al., "Clothes-changing
person re-identification with RGB modality only", CVPR 2022. Their code, guxinqian/Simple-CCReID, defines cameras and
protocol.

Layout below the root::

    session1/001_01/00001.jpg           session, person and camera; the frames of one tracklet
    train.txt, query.txt, gallery.txt   lines of a tracklet's folder, its person and a label of its clothes:
                                        session3/001_10 001 u1_l1_s1_c0_a0

Session 3 was recorded in another year with other cameras, so 12 is added to their numbers. ``clothes_id`` is the index
of the label, from 1, among the sorted labels of the person.
"""

import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.listing import FolderReader, natural_order, require_folders
from rgcn_jax.data.datasets.lists import read_list, text_lines
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError, listed
from rgcn_jax.types import Split, Tracklet

_TITLE = "CCVID"
_PUBLISHED = {
    "training identities": 75,
    "training tracklets": 948,
    "test identities": 151,
    "queries": 834,
    "gallery tracklets": 1074,
}
_SMALL = 500
_FOLDER = re.compile(r"session([0-9]{1,2})/([0-9]{1,9})_([0-9]{1,4})")
_LINE = re.compile(r"(\S+)\s+([0-9]{1,9})\s+(\S+)")
_LAST_CAMERA = 12  # of sessions 1 and 2
SUBSETS = ("train", "query", "gallery")


class Line(NamedTuple):
    """A line of a list."""

    folder: str
    person_id: int
    camera_id: int
    clothes: str


def load(root: str | os.PathLike[str], follow_links: bool = False) -> Split:
    """Read CCVID, or a smaller data set in its layout. Arguments and warnings as for ``mars.load``.

    The split is in the order of the lists, and queries are not in the gallery. Frames are sorted by name, with numbers
    in numerical order. Folders that are not in the lists also cause a warning.

    Raises InputError: a folder or file is missing or a symbolic link out of the root (which contains ``session1`` and
    the lists); a line is not in the format above; a tracklet is listed twice or has no frames.
    """
    root = Path(root)
    require_folders(_TITLE, root, ("session1",))
    folders = FolderReader(_TITLE, root, follow_links)
    for subset in SUBSETS:
        folders.has_file(f"{subset}.txt")  # reports a link out of the root
    folders.check()
    lists = {subset: parse_list(read_list(_TITLE, root, f"{subset}.txt"), root / f"{subset}.txt") for subset in SUBSETS}
    lines = [line for of_subset in lists.values() for line in of_subset]
    seen: set[str] = set()
    for line in lines:
        if line.folder in seen:
            folders.wrong(f"{line.folder} is listed twice")
        seen.add(line.folder)
    labels: dict[int, list[str]] = {}
    for person, clothes in sorted({(line.person_id, line.clothes) for line in lines}):
        labels.setdefault(person, []).append(clothes)
    train, query, gallery = (
        tuple(
            Tracklet(
                tuple(f"{line.folder}/{name}" for name in natural_order(folders.frames(line.folder))),
                line.person_id,
                line.camera_id,
                1 + labels[line.person_id].index(line.clothes),
            )
            for line in lists[subset]
        )
        for subset in SUBSETS
    )
    split = Split("ccvid", root, train, query, gallery)
    sessions = sorted({line.folder.partition("/")[0] for line in lines})
    unlisted = [f"{s}/{name}" for s in sessions for name in folders.listing(s).folders if f"{s}/{name}" not in seen]
    folders.check("Take the lists and the folders from one download again.")
    if unlisted:
        warnings.warn(
            f"Folders that belong to no line of the lists and are not used: {listed(unlisted)}.",
            stacklevel=2,
        )
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL)
    return split


def parse_list(text: bytes, path: str | os.PathLike[str]) -> list[Line]:
    """Parse the tracklets of a list; ``path``: path of the file, for messages.

    Raises InputError if a line is not a folder like session1/001_01, the same person and a label, or if there is no
    line.
    """
    found = []
    for number, line in enumerate(text_lines(text, path), 1):
        if not line:
            continue
        fields = _LINE.fullmatch(line)
        place = fields and _FOLDER.fullmatch(fields[1])
        person = int(fields[2]) if fields else 0
        if not fields or not place or not person or int(place[2]) != person or not int(place[3]):
            raise InputError(
                f"{path}: line {number} ({line[:60]!r}) must be a tracklet's folder, its person and a label of the "
                "clothes, such as session1/001_01 001 u0_l0_s0_c0_a0."
            )
        camera = int(place[3]) + (_LAST_CAMERA if int(place[1]) == 3 else 0)
        found.append(Line(fields[1], person, camera, fields[3]))
    if not found:
        raise InputError(f"{path} names no tracklet: take it from the data set again.")
    return found
