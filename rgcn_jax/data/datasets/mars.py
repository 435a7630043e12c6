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
from dataclasses import replace
from pathlib import Path

import numpy as np

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.lists import parse_names, read_list
from rgcn_jax.data.datasets.matlab import read_matrix
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.errors import InputError
from rgcn_jax.types import DISTRACTOR_ID, JUNK_ID, Split, Tracklet

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
    train = _read_tracklets(root, "bbox_train", "train_name.txt", "tracks_train_info.mat", "track_train_info")
    test = _read_tracklets(root, "bbox_test", "test_name.txt", "tracks_test_info.mat", "track_test_info")
    for row, tracklet in enumerate(train, 1):
        if tracklet.person_id <= 0:
            raise InputError(
                f"{root / 'info' / 'tracks_train_info.mat'}: row {row} has person id {tracklet.person_id}, but a "
                "training tracklet must have a positive one; junk and distractors are for the test set."
            )
    queries = _read_queries(root / "info" / "query_IDX.mat", test)
    if check_files:
        train = _present_frames(root, "bbox_train", train, follow_links)
        test = _present_frames(root, "bbox_test", test, follow_links)
    is_query = set(queries)
    query = tuple(test[i] for i in queries)
    rest = tuple(t for i, t in enumerate(test) if i not in is_query and t.person_id != JUNK_ID)
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


def _read_names(root: Path, name: str) -> tuple[list[str], dict[str, np.ndarray]]:
    """Read the frame names, and their fields as arrays: person, camera, tracklet, frame."""
    lines = read_list("MARS", root / "info", name, "It comes with the info folder, copy it there.").splitlines()
    while lines and not lines[-1].strip():
        lines.pop()
    return parse_names(lines, "0065C1T0002F016.jpg", _FIELDS, root / "info" / name, junk=b"00-1")


def _read_tracklets(root: Path, folder: str, name_file: str, row_file: str, key: str) -> tuple[Tracklet, ...]:
    name_path, row_path = root / "info" / name_file, root / "info" / row_file
    rows = read_matrix(row_path, key, "MARS", "the info folder")
    if rows.shape[1] != 4 or len(rows) == 0:
        raise InputError(
            f"{row_path}: {key} must have 4 columns (first line, last line, person, camera) and at least one row, "
            f"found shape {rows.shape}: download the info folder again."
        )
    names, fields = _read_names(root, name_file)
    _check_rows(rows, names, fields, row_path, name_path)
    tracklets = []
    for first, last, person, camera in rows.tolist():  # Python integers, since NumPy integers would keep their type
        of_person = f"{folder}/{names[first - 1][:4]}/"
        tracklets.append(Tracklet(tuple([of_person + name for name in names[first - 1 : last]]), person, camera))
    return tuple(tracklets)


def _check_rows(
    rows: np.ndarray, names: list[str], fields: dict[str, np.ndarray], row_path: Path, name_path: Path
) -> None:
    first, last = rows[:, 0], rows[:, 1]

    def fail(row: int, problem: str) -> None:
        raise InputError(
            f"{row_path}: row {row + 1} (lines {first[row]} to {last[row]} of {name_path.name}, person {rows[row, 2]}, "
            f"camera {rows[row, 3]}) {problem} The two files must come from one download: take both from there again."
        )

    beyond = np.flatnonzero((first < 1) | (last < first) | (last > len(names)))
    if len(beyond):
        fail(int(beyond[0]), f"does not lie within the {len(names)} lines of the name file, counted from 1.")
    order = np.argsort(first, kind="stable")
    overlap = np.flatnonzero(first[order][1:] <= last[order][:-1])
    if len(overlap):
        fail(int(order[overlap[0] + 1]), f"shares lines with row {order[overlap[0]] + 1}.")

    lengths = last - first + 1
    row_of = np.repeat(np.arange(len(rows)), lengths)
    line_of = np.arange(len(row_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + (first - 1)[row_of]
    expected = {"person": rows[:, 2], "camera": rows[:, 3], "tracklet": fields["tracklet"][first - 1]}
    for field, of_row in expected.items():
        differs = np.flatnonzero(fields[field][line_of] != of_row[row_of])
        if len(differs):
            at = differs[0]
            name = names[line_of[at]]
            fail(int(row_of[at]), f"is a tracklet that mixes {field}s: line {line_of[at] + 1} is {name}.")
    frames = fields["frame"][line_of]
    disorder = np.flatnonzero((np.diff(frames) <= 0) & (np.diff(row_of) == 0))
    if len(disorder):
        at = disorder[0]
        pair = f"{names[line_of[at]]} is followed by {names[line_of[at + 1]]}"
        fail(int(row_of[at]), f"is not in temporal order: {pair}.")
    if np.any(rows[:, 3] < 1):
        fail(int(np.argmax(rows[:, 3] < 1)), "has no camera: cameras count from 1.")
    if len(line_of) < len(names):
        warnings.warn(
            f"{len(names) - len(line_of)} of the {len(names)} lines of {name_path} belong to no row of {row_path.name} "
            "and are not used.",
            stacklevel=4,
        )


def _read_queries(path: Path, test: tuple[Tracklet, ...]) -> list[int]:
    """Positions of the queries in ``test``, from 0, in the order of the file."""
    matrix = read_matrix(path, "query_IDX", "MARS", "the info folder")
    if 1 not in matrix.shape or matrix.size == 0:
        raise InputError(
            f"{path}: query_IDX must be one row of test tracks, at least one, found shape {matrix.shape}: without a "
            "query nothing can be evaluated; download the info folder again."
        )
    rows = matrix.ravel().tolist()
    seen: set[int] = set()
    for row in rows:
        if not 1 <= row <= len(test):
            raise InputError(
                f"{path}: a query is row {row} of tracks_test_info.mat, which has rows 1 to {len(test)}: the two files "
                "must come from one download."
            )
        person = test[row - 1].person_id
        if person in (JUNK_ID, DISTRACTOR_ID):
            kind = "junk" if person == JUNK_ID else "a distractor"
            raise InputError(
                f"{path}: a query is row {row} of tracks_test_info.mat, which is {kind} (person id {person}), but a "
                "query must be a person: the two files must come from one download."
            )
        if row in seen:
            raise InputError(
                f"{path}: row {row} of tracks_test_info.mat is a query twice: download the info folder again."
            )
        seen.add(row)
    return [row - 1 for row in rows]


def _present_frames(
    root: Path, folder: str, tracklets: tuple[Tracklet, ...], follow_links: bool
) -> tuple[Tracklet, ...]:
    """Compare the listed frames with the folders, by one directory listing per person, without access to single frames.

    Returns:
      The tracklets with the names of the frames on disk: ``.JPG`` and ``.jpeg`` are accepted for ``.jpg``.
    """
    folders = FolderReader("MARS", root, follow_links)
    present: dict[str, dict[str, str]] = {}  # person -> stem -> path of the JPEG file
    exact: set[str] = set()
    for person in dict.fromkeys(t.frames[0].rpartition("/")[0] for t in tracklets):
        files = [f"{person}/{name}" for name in (folders.listing(person).files if (root / person).is_dir() else ())]
        exact |= set(files)
        present[person] = {f.rpartition(".")[0]: f for f in files if f.lower().endswith((".jpg", ".jpeg"))}
    folders.check()
    found, missing = [], []
    for tracklet in tracklets:
        stems = present[tracklet.frames[0].rpartition("/")[0]]
        names = tuple(f if f in exact else stems.get(f.rpartition(".")[0], f) for f in tracklet.frames)
        missing += [name for name in names if name not in exact]
        found.append(tracklet if names == tracklet.frames else replace(tracklet, frames=names))
    if missing:
        total = sum(len(t.frames) for t in tracklets)
        raise InputError(
            f"{len(missing):,} of the {total:,} frames that {root / 'info'} lists for {folder} are absent; the first "
            f"is {root / missing[0]}: unpack {folder} again, in full. In its place: {beside(root, missing[0])}.",
            [f"{frame} is absent" for frame in missing],
        )
    return tuple(found)
