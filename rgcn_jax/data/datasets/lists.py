"""List files of the data sets: reading, frame names that contain ids, and comparison with rows and with folders."""

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NoReturn

import numpy as np
from jaxtyping import Int64, UInt8

from rgcn_jax.data.datasets.absent import beside
from rgcn_jax.data.datasets.listing import FolderReader
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.user_files import LARGEST_LIST, read_file
from rgcn_jax.types import DISTRACTOR_ID, JUNK_ID, Tracklet


def read_list(title: str, root: Path, name: str, advice: str = "") -> bytes:
    """Read a list file below a root, without a byte order mark.

    Args:
      title: name of the data set in messages.
      root: folder of the data set.
      name: path of the file below the root.
      advice: where to obtain the file.

    Raises:
      InputError: the file cannot be read; the message lists what is there instead.
    """
    try:
        return read_file(root / name, LARGEST_LIST).removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise InputError(
            f"{title} is incomplete: cannot read {root / name} ({error.strerror}); {beside(root, name)}. {advice}"
        ) from error


def text_lines(text: bytes, path: str | os.PathLike[str]) -> list[str]:
    """Lines of a text in UTF-8, stripped. Raises InputError with the path for another encoding."""
    try:
        return [line.strip() for line in text.decode("utf-8-sig").split("\n")]
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is no text in UTF-8 ({error.reason} at byte {error.start}).") from error


def parse_names(
    lines: Sequence[bytes], like: str, fields: Mapping[str, slice], path: Path, junk: bytes = b""
) -> tuple[list[str], dict[str, Int64[np.ndarray, "lines"]]]:
    """Parse frame names of a fixed form, and the numbers in them.

    Args:
      lines: lines with one name each.
      like: an example of such a name, whose digits stand for any digits.
      fields: name of a number -> its position in the frame name.
      path: path of the list, for the message.
      junk: beginning of the names whose first field is ``JUNK_ID``; empty for none.

    Raises:
      InputError: a line does not have this form.
    """
    form, size = np.frombuffer(like.encode(), np.uint8), len(like)
    wrong = None
    if {*map(len, lines)} - {size}:
        wrong = next(i for i, line in enumerate(lines) if len(line) != size)
    text = b"\n".join([*lines[:wrong], b""])
    characters = np.frombuffer(text, np.uint8).reshape(-1, size + 1)[:, :size]
    is_junk = np.all(characters[:, : len(junk)] == np.frombuffer(junk, np.uint8), axis=1) & bool(junk)
    any_digit, is_digit = ((c >= ord("0")) & (c <= ord("9")) for c in (form, characters))
    fits = np.where(any_digit, is_digit, characters == form)
    fits[is_junk, : len(junk)] = True
    if not fits.all():
        wrong = int(np.argmin(fits.all(axis=1)))
    if wrong is not None:
        raise InputError(
            f"{path}: line {wrong + 1} must be a frame name like {like} ({', '.join(fields)}), found "
            f"{lines[wrong][:60].decode('utf-8', 'replace')!r}."
        )
    numbers = {field: _number(characters[:, s]) for field, s in fields.items()}
    numbers[next(iter(fields))][is_junk] = JUNK_ID
    # Decoded as one text, which for a million names takes a quarter of the time of decoding them one by one.
    return text.decode().splitlines(), numbers


def _number(digits: UInt8[np.ndarray, "lines digits"]) -> Int64[np.ndarray, "lines"]:
    """Convert rows of decimal digit characters to numbers."""
    return (digits - np.uint8(ord("0"))).astype(np.int64) @ 10 ** np.arange(digits.shape[1])[::-1]


def check_rows(
    first: Int64[np.ndarray, "rows"],
    last: Int64[np.ndarray, "rows"],
    labels: Mapping[str, Int64[np.ndarray, "rows"]],
    names: Sequence[str],
    fields: Mapping[str, Int64[np.ndarray, "lines"]],
    fail: Callable[[int, str], NoReturn],
) -> int:
    """Check that each row of a list is one tracklet of its own, in temporal order.

    Returns the number of names in all rows. ``first``, ``last``: lines of a row's names, from 0, inclusive. ``labels``:
    numbers of a row that its names must have. ``names``, ``fields``: from ``parse_names``. ``fail``: raises the error,
    given a row, from 0, and the end of a sentence.
    """
    beyond = np.flatnonzero((first < 0) | (last < first) | (last >= len(names)))
    if len(beyond):
        fail(int(beyond[0]), f"does not lie within the {len(names)} lines of the name file.")
    order = np.argsort(first, kind="stable")
    overlap = np.flatnonzero(first[order][1:] <= last[order][:-1])
    if len(overlap):
        other, row = order[overlap[0] : overlap[0] + 2].tolist()
        fail(row, f"shares lines with the row of lines {first[other] + 1} to {last[other] + 1}.")
    lengths = last - first + 1
    row_of = np.repeat(np.arange(len(first)), lengths)
    line_of = np.arange(len(row_of)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + first[row_of]
    for field, of_row in {**labels, "tracklet": fields["tracklet"][first]}.items():
        differs = np.flatnonzero(fields[field][line_of] != of_row[row_of])
        if len(differs):
            line = int(line_of[differs[0]])
            fail(int(row_of[differs[0]]), f"is a tracklet that mixes {field}s: line {line + 1} is {names[line]}.")
    disorder = np.flatnonzero((np.diff(fields["frame"][line_of]) <= 0) & (np.diff(row_of) == 0))
    if len(disorder):
        before, after = (names[int(line_of[disorder[0] + i])] for i in (0, 1))
        fail(int(row_of[disorder[0]]), f"is not in temporal order: {before} is followed by {after}.")
    return len(line_of)


def split_queries(
    rows: Sequence[int], test: Sequence[Tracklet], first: int, path: Path, list_name: str
) -> tuple[tuple[Tracklet, ...], tuple[Tracklet, ...]]:
    """Split the test tracklets into the queries, in their order, and the others.

    ``rows``: rows of the queries in the list of test tracklets, ``list_name``, whose first row has the number
    ``first``. ``path``: the file with the queries. Raises InputError: there is no query, one is not a row or occurs
    twice, or one is junk or a distractor.
    """
    seen: set[int] = set()
    for row in rows:
        where = f"{path}: a query is row {row} of {list_name}"
        if not 0 <= row - first < len(test):
            last = len(test) - 1 + first
            raise InputError(f"{where}, which has rows {first} to {last}: the two files must come from one download.")
        person = test[row - first].person_id
        if person in (JUNK_ID, DISTRACTOR_ID):
            kind = "junk" if person == JUNK_ID else "a distractor"
            raise InputError(
                f"{where}, which is {kind} (person id {person}), but a query must be a person: the two files must come "
                "from one download."
            )
        if row in seen:
            raise InputError(f"{path}: row {row} of {list_name} is a query twice: download the file again.")
        seen.add(row)
    if not seen:
        raise InputError(f"{path} names no query, but without one nothing can be evaluated: download it again.")
    query = tuple(test[row - first] for row in rows)
    return query, tuple(t for row, t in enumerate(test, first) if row not in seen)


def present_frames(
    title: str, root: Path, lists: Path, part: str, tracklets: Sequence[Tracklet], follow_links: bool
) -> tuple[Tracklet, ...]:
    """Compare listed frames with the folders, by one directory listing per person, without access to single frames.

    Returns the tracklets with the names of the frames on disk: ``.JPG`` and ``.jpeg`` are accepted for ``.jpg``.
    ``lists``: folder of the lists, for messages. ``part``: folder of the persons. Raises InputError: a frame is absent.
    """
    folders = FolderReader(title, root, follow_links)
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
            f"{len(missing):,} of the {total:,} frames that {lists} lists for {part} are absent; the first is "
            f"{root / missing[0]}: unpack {part} again, in full. In its place: {beside(root, missing[0])}.",
            [f"{frame} is absent" for frame in missing],
        )
    return tuple(found)


def numbered_frames(folders: FolderReader, folder: str, pattern: re.Pattern[str], like: str) -> tuple[str, ...]:
    """Paths of the frames in a folder in the order of their numbers, the only group of ``pattern``.

    Names of another form (``like`` is an example) and duplicate numbers are recorded in ``folders``.
    """
    frames: dict[int, str] = {}
    for name in folders.frames(folder):
        match = pattern.fullmatch(name)
        if not match:
            folders.wrong(f"{folder}/{name} is no frame name like {like}")
        elif frames.setdefault(int(match[1]), name) != name:
            folders.wrong(f"{folder} holds frame {int(match[1])} twice")
    return tuple(f"{folder}/{frames[number]}" for number in sorted(frames))
