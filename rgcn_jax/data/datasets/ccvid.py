"""Loader of CCVID, whose persons change clothes: from its folders and lists to a ``Split``. Decodes no image.

Published counts: 226 persons in 2,856 tracklets, made from the gait data set FVG: 75 training persons in 948 tracklets;
151 test persons in 834 queries and 1,074 gallery tracklets (Gu et al., "Clothes-changing person re-identification with
RGB modality only", CVPR 2022; their code, guxinqian/Simple-CCReID, defines cameras and protocol).

Layout below the root::

    session1/001_01/00001.jpg           session, person and camera; the frames of one tracklet
    train.txt, query.txt, gallery.txt   lines of a tracklet's folder, its person and a label of its clothes:
                                        session3/001_10 001 u1_l1_s1_c0_a0

Cameras of session 3, which was filmed in another year, are others: 12 is added to their numbers. ``clothes_id`` is the
position of the label, from 1, in the sorted labels of the person.
"""

import os
import re
import warnings
from pathlib import Path
from typing import NamedTuple

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader, natural_order, require_folders
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.handed_over import LARGEST_LIST, read_file
from rgcn_jax.types import Split, Tracklet

_TITLE = "CCVID"
_PUBLISHED = {"training persons": 75, "training tracklets": 948, "test persons": 151, "queries": 834, "gallery": 1074}
_SMALL = 500  # up to so many training tracklets a data set only has this layout: its counts are not compared
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
    """Read CCVID, or a smaller data set in its layout.

    Args:
      root: the folder that holds ``session1`` and the lists.
      follow_links: read folders and files that are symbolic links out of the root, too.

    Returns:
      The split in the order of the lists; the queries are not in the gallery. Frames are sorted by their names, numbers
      as numbers.

    Raises:
      InputError: a folder or file is missing or a symbolic link out of the root; a line is not of the form above; a
        tracklet is listed twice or has no frames.

    Warns:
      UserWarning: the data set is as large as CCVID, but a count is not the published one; or folders belong to no
        line.
    """
    root = Path(root)
    require_folders(_TITLE, root, ("session1",))
    folders = FolderReader(_TITLE, root, follow_links)
    for subset in SUBSETS:
        folders.has_file(f"{subset}.txt")  # notes a link out of the root
    folders.check()
    lists = {subset: _read_list(root, f"{subset}.txt") for subset in SUBSETS}
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
            f"{len(unlisted):,} folders belong to no line of the lists and are not used, such as {unlisted[0]}.",
            stacklevel=2,
        )
    if len(split.train) > _SMALL:
        found = {
            "training persons": len(split.train_person_ids),
            "training tracklets": len(split.train),
            "test persons": len({t.person_id for t in (*split.query, *split.gallery)}),
            "queries": len(split.query),
            "gallery": len(split.gallery),
        }
        compare_with_published(_TITLE, _PUBLISHED, found)
    return split


def _read_list(root: Path, name: str) -> list[Line]:
    path = root / name
    try:
        text = read_file(path, LARGEST_LIST)
    except OSError as error:
        raise InputError(
            f"{_TITLE} is incomplete: cannot read {path} ({error.strerror}); {beside(root, name)}."
        ) from error
    return parse_list(text, path)


def parse_list(text: bytes, path: str | os.PathLike[str]) -> list[Line]:
    """The tracklets that a list names.

    Args:
      text: contents of the file.
      path: of the file, for messages.

    Raises:
      InputError: a line is not a folder like session1/001_01, the same person and a label; or there is none.
    """
    try:
        lines = [line.strip() for line in text.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from error
    found = []
    for number, line in enumerate(lines, 1):
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
