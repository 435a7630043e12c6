"""Loader of MARS, from its folders and lists to a ``Split``. Does not decode images.

Published counts: 625 training identities in 8,298 tracklets (509,914 frames), and 12,180 test tracklets (681,089
frames). Of the test tracklets, 870 are junk (id -1), 3,248 are distractors (id 0) and 1,980 are queries. These are
20,478 tracklets in total; table II of the paper says 20,751.

Layout below the root::

    bbox_train/0001/0001C1T0001F001.jpg     person (4 characters, junk is "00-1"), camera, tracklet, frame
    bbox_test/0002/...
    info/train_name.txt, test_name.txt      one frame name per line
    info/tracks_train_info.mat              [8298, 4]: first line, last line (both from 1, inclusive), person, camera
    info/tracks_test_info.mat               [12180, 4], the same
    info/query_IDX.mat                      [1, 1980]: rows of tracks_test_info, from 1
"""

import os
import warnings
from pathlib import Path
from typing import NoReturn

import numpy as np

from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import check_rows, parse_names, present_frames, read_list, split_queries
from rgcn_jax.data.datasets.matlab import read_matrices
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError
from rgcn_jax.types import JUNK_ID, Split, Tracklet

FRAME_SIZE = (256, 128)
"""Height and width in pixels of every crop."""

_PUBLISHED = {
    "training identities": 625,
    "training tracklets": 8298,
    "training frames": 509_914,
    "test tracklets": 12_180,
    "test frames": 681_089,
    "junk tracklets": 870,
    "distractor tracklets": 3248,
    "queries": 1980,
}
_SMALL = 1000
_FIELDS = {"person": slice(0, 4), "camera": slice(5, 6), "tracklet": slice(7, 11), "frame": slice(12, 15)}


def load(
    root: str | os.PathLike[str],
    gallery_includes_query: bool = True,
    check_files: bool | None = None,
    follow_links: bool = False,
) -> Split:
    """Read the official split of MARS, or of a smaller data set in its layout.

    Args:
      root: the folder that contains ``bbox_train``, ``bbox_test`` and ``info``.
      gallery_includes_query: True, the official protocol: the gallery consists of the queries and all other test
        tracklets except junk, in the order of the file (11,310). False, the other protocol in use: without the queries
        (9,330); 140 queries then have no match.
      check_files: whether to compare the listed frames with the contents of the folders, with one directory listing per
        person. None: only if a folder of images exists, so that the split files can be studied alone. Training sets
        True.
      follow_links: whether to read folders and files that are symbolic links to outside the root.

    Returns:
      The split: ``train`` in the order of the file, ``query``, ``gallery``, ``junk``; ``frame_size`` is (256, 128).

    Raises:
      InputError: a folder or file is missing, unreadable or a symbolic link to outside the root; a row is not one
        tracklet of one person in one camera in temporal order; a query is invalid; or a listed frame is absent.

    Warns:
      UserWarning: the data set is as large as MARS (more than 1,000 training tracklets) but a count differs from the
        published one; or the name file has lines that belong to no tracklet.
    """
    root = Path(root)
    if check_files is None:
        check_files = any(os.path.isdir(root / part) for part in ("bbox_train", "bbox_test"))
    _check_layout(root, check_files, follow_links)
    matrices = {
        "tracks_train_info.mat": "track_train_info",
        "tracks_test_info.mat": "track_test_info",
        "query_IDX.mat": "query_IDX",
    }
    train_rows, test_rows, query_rows = read_matrices(
        {root / "info" / name: key for name, key in matrices.items()}, "MARS", "the info folder"
    )
    train = _read_tracklets(root, "train", train_rows)
    test = _read_tracklets(root, "test", test_rows)
    for row, tracklet in enumerate(train, 1):
        if tracklet.person_id <= 0:
            raise InputError(
                f"{root / 'info' / 'tracks_train_info.mat'}: row {row} has person id {tracklet.person_id}, but a "
                "training tracklet must have a positive one; junk and distractors are for the test set."
            )
    query_path = root / "info" / "query_IDX.mat"
    if 1 not in query_rows.shape:
        raise InputError(
            f"{query_path}: query_IDX must be one row of test tracks, found shape {query_rows.shape}: download the "
            "info folder again."
        )
    if check_files:
        train = present_frames("MARS", root, root / "info", "bbox_train", train, follow_links)
        test = present_frames("MARS", root, root / "info", "bbox_test", test, follow_links)
    query, others = split_queries(query_rows.ravel().tolist(), test, 1, query_path, "tracks_test_info.mat")
    rest = tuple(t for t in others if t.person_id != JUNK_ID)
    gallery = query + rest if gallery_includes_query else rest
    junk = tuple(t for t in test if t.person_id == JUNK_ID)
    split = Split("mars", root, train, query, gallery, junk, FRAME_SIZE)
    compare_with_published("MARS", split, _PUBLISHED, _SMALL)
    return split


def _check_layout(root: Path, check_files: bool, follow_links: bool) -> None:
    parts = ("bbox_train", "bbox_test", "info") if check_files else ("info",)
    advice = "Expected bbox_train, bbox_test and info in it: unpack what is missing there."
    if [part for part in parts if not os.path.isdir(root / part)] == ["info"]:
        advice = (
            "MARS's info is a separate download, from the authors' MARS-evaluation repository: put its folder info at "
            f"{root / 'info'}."
        )
    require_folders("MARS", root, parts, advice)
    folders = FolderReader("MARS", root, follow_links)
    for part in parts:
        folders.listing(part)
    folders.check()


def _read_tracklets(root: Path, part: str, rows: np.ndarray) -> tuple[Tracklet, ...]:
    name_path, row_path = root / "info" / f"{part}_name.txt", root / "info" / f"tracks_{part}_info.mat"
    if rows.shape[1] != 4 or len(rows) == 0:
        raise InputError(
            f"{row_path}: track_{part}_info must have 4 columns (first line, last line, person, camera) and at least "
            f"one row, found shape {rows.shape}: download the info folder again."
        )
    text = read_list("MARS", root / "info", name_path.name, "It comes with the info folder, copy it there.")
    names, fields = parse_names(text.rstrip().splitlines(), "0065C1T0002F016.jpg", _FIELDS, name_path, junk=b"00-1")
    _check_rows(rows, names, fields, row_path, name_path)
    tracklets = []
    for first, last, person, camera in rows.tolist():  # Python integers, since NumPy integers would keep their type
        of_person = f"bbox_{part}/{names[first - 1][:4]}/"
        tracklets.append(Tracklet(tuple([of_person + name for name in names[first - 1 : last]]), person, camera))
    return tuple(tracklets)


def _check_rows(
    rows: np.ndarray, names: list[str], fields: dict[str, np.ndarray], row_path: Path, name_path: Path
) -> None:
    first, last = rows[:, 0], rows[:, 1]

    def fail(row: int, problem: str) -> NoReturn:
        raise InputError(
            f"{row_path}: row {row + 1} (lines {first[row]} to {last[row]} of {name_path.name}, person {rows[row, 2]}, "
            f"camera {rows[row, 3]}) {problem} The two files must come from one download: take both from there again."
        )

    labels = {"person": rows[:, 2], "camera": rows[:, 3]}
    used = check_rows(first - 1, last - 1, labels, names, fields, fail)
    if np.any(rows[:, 3] < 1):
        fail(int(np.argmax(rows[:, 3] < 1)), "has no camera: cameras count from 1.")
    if used < len(names):
        warnings.warn(
            f"{len(names) - used} of the {len(names)} lines of {name_path} belong to no row of {row_path.name} "
            "and are not used.",
            stacklevel=4,
        )
