"""Annotated attributes of tracklets (clothes, bags, hair): look-alike queries and ranking by attributes only.

The file is CSV with the header ``person-id,camera,tracklet`` followed by attribute names, and one line of whole numbers
per tracklet. This is the format of MARS-Attribute, the public annotation of MARS with twelve attributes of all 16,360
labelled tracklets. ``tracklet`` is the annotation's own number: within a person and camera, lines sorted by it
correspond to tracklets sorted by the name of their first frame.
"""

import csv
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int64, Integer

from rgcn_jax.errors import InputError, as_input_error
from rgcn_jax.evaluation.distance import Blocks
from rgcn_jax.evaluation.protocol import Protocol, Roles
from rgcn_jax.evaluation.rank_protocols import rank_blocks
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.runtime.user_files import read_text
from rgcn_jax.types import Embeddings

KEYS = ("person-id", "camera", "tracklet")
OUTFIT = ("Tops.c", "Tops.l", "Bottoms.c", "Bottoms.l", "Bottoms.t")
"""Attributes that define an outfit: colour and length of the top; colour, length and type of the bottom."""

_LARGEST = 2**26  # bytes
_BLOCK_ROWS = 128


@dataclass(frozen=True)
class Attributes:
    """Values of A named attributes of N tracklets; all -1 for a tracklet without annotation."""

    names: tuple[str, ...]
    values: Int64[np.ndarray, "n a"]

    @property
    def annotated(self) -> Bool[np.ndarray, "n"]:
        """Mask of annotated tracklets."""
        return np.min(self.values, axis=1) >= 0

    def outfits(self, person_ids: Integer[np.ndarray, "n"]) -> Int64[np.ndarray, "n"] | None:
        """Index of the outfit of each tracklet's person: the most frequent value of each attribute of ``OUTFIT`` over
        the person's tracklets, the smallest in case of a tie. -1 without annotation; None if an attribute is missing.
        """
        if not set(OUTFIT) <= set(self.names):
            return None
        columns = self.values[:, [self.names.index(name) for name in OUTFIT]]
        worn = np.full(columns.shape, -1)
        for person in np.unique(person_ids[self.annotated]):
            rows = (person_ids == person) & self.annotated
            worn[rows] = [np.bincount(column).argmax() for column in columns[rows].T]
        return _numbered(worn)

    def combinations(self) -> Int64[np.ndarray, "n"]:
        """Index of each tracklet's combination of all attributes; -1 without annotation."""
        return _numbered(self.values)


def read_attributes(
    path: Path,
    first_frames: Sequence[str],
    person_ids: Integer[np.ndarray, "n"],
    camera_ids: Integer[np.ndarray, "n"],
) -> Attributes:
    """Read the attributes of N tracklets from a file in the format described above.

    Junk and distractors have none; superfluous lines are ignored.

    Raises:
        InputError: the file cannot be read or has another format, or does not have as many lines for a person and
          camera as there are tracklets.
    """
    names, lines = _read_lines(path)
    own: dict[tuple[int, int], list[int]] = {}
    for row in sorted(np.flatnonzero(person_ids > 0).tolist(), key=lambda row: first_frames[row]):
        own.setdefault((int(person_ids[row]), int(camera_ids[row])), []).append(row)
    values = np.full((len(person_ids), len(names)), -1, np.int64)
    differ = []
    persons = {person for person, _ in own}
    keys = sorted({*own, *(key for key in lines if key[0] in persons)})
    for key in keys:
        rows, annotated = own.get(key, []), sorted(lines.get(key, []))
        if len(annotated) != len(rows):
            differ.append((key, len(rows), len(annotated)))
            continue
        for row, (_, of_line) in zip(rows, annotated, strict=True):
            values[row] = of_line
    if differ:
        (person, camera), here, there = differ[0]
        raise InputError(
            f"{path} does not fit the data set: {len(differ)} of {len(keys)} pairs of person and camera have another "
            f"number of tracklets, such as person {person} in camera {camera} with {here} tracklets and {there} lines "
            "of the file. Is it the annotation of this data set?"
        )
    return Attributes(names, values)


def look_alike_queries(
    labels: Integer[np.ndarray, "n"], person_ids: Integer[np.ndarray, "n"], roles: Roles
) -> Bool[np.ndarray, "q"]:
    """Mask of the queries whose label, such as ``Attributes.outfits``, another person in the gallery shares."""
    gallery = roles.gallery & (labels >= 0) & (person_ids > 0)
    pairs = np.unique(np.stack([labels[gallery], person_ids[gallery]]), axis=1)
    persons_wearing = np.bincount(pairs[0], minlength=int(labels.max(initial=0)) + 1)
    of_query, persons = labels[roles.query], person_ids[roles.query]
    with_label = {(int(label), int(person)) for label, person in pairs.T}
    itself = [(int(label), int(person)) in with_label for label, person in zip(of_query, persons, strict=True)]
    return (of_query >= 0) & (persons_wearing[of_query] - np.array(itself, int) > 0)


def group_labels(person_ids: Integer[np.ndarray, "n"], groups: Sequence[Sequence[int]]) -> Int64[np.ndarray, "n"]:
    """Index of the group of each tracklet's person, such as the look-alikes of walkers; -1 for none."""
    number = {person: i for i, group in enumerate(groups) for person in group}
    return np.array([number.get(person, -1) for person in person_ids.tolist()], np.int64)


def shared_outfits(
    groups: Any, person_ids: Integer[np.ndarray, "n"], clothes_ids: Integer[np.ndarray, "n"]
) -> Int64[np.ndarray, "n"]:
    """Index of each tracklet's group and outfit, shared by look-alikes in the same clothes; -1 for none.

    ``groups``: lists of person ids, from the header of a features file; clothes ids agree within a group.

    Raises:
        InputError: the groups are not lists of whole numbers.
    """
    good = isinstance(groups, list) and all(isinstance(group, list) for group in groups)
    if not good or not all(type(person) is int for group in groups for person in group):
        raise InputError("the look_alikes in the header of the features are not lists of person ids.")
    labels = group_labels(person_ids, groups)
    return _numbered(np.stack([labels, np.where(labels < 0, -1, clothes_ids)], axis=1))


def rank_by_attributes(
    attributes: Attributes, embeddings: Embeddings, roles: Roles, protocol: Protocol
) -> RankingMetrics:
    """Metrics of ranking by the number of differing attributes, a baseline that uses annotated clothes only.

    Only annotated tracklets are in the gallery. Nearly all distances are tied.

    Raises:
        InputError: no query has a match.
    """
    annotated = roles._replace(gallery=roles.gallery & attributes.annotated, query=roles.query & attributes.annotated)
    blocks = _blocks(attributes.values, np.flatnonzero(annotated.query))
    return rank_blocks(blocks, embeddings, annotated, {protocol.name: protocol})[protocol.name]


def _blocks(values: np.ndarray, queries: np.ndarray) -> Blocks:
    """Hamming distances of the queries to all tracklets."""
    for start in range(0, len(queries), _BLOCK_ROWS):
        of_block = values[queries[start : start + _BLOCK_ROWS]]
        yield slice(start, start + len(of_block)), (of_block[:, None] != values).sum(axis=2, dtype=np.float32)


def _numbered(values: np.ndarray) -> np.ndarray:
    """Index of the distinct row that each row equals; -1 for a row of -1."""
    numbers = np.unique(values, axis=0, return_inverse=True)[1].reshape(-1).astype(np.int64)
    return np.where((values >= 0).all(axis=1), numbers, -1)


def _read_lines(path: Path) -> tuple[tuple[str, ...], dict[tuple[int, int], list[tuple[int, list[int]]]]]:
    """Read the attribute names and, by person and camera, the number and values of each line."""
    with as_input_error(f"the attributes {path} cannot be read", kinds=(OSError, UnicodeError, csv.Error)):
        reader = csv.reader(io.StringIO(read_text(path, _LARGEST).removeprefix("\ufeff"), newline=""))
        header, *rows = list(reader) or [[]]
    names = tuple(header[len(KEYS) :])
    if tuple(header[: len(KEYS)]) != KEYS or not names or len(set(names)) != len(names):
        raise InputError(
            f"{path}: expected the header {','.join(KEYS)} followed by distinct attribute names, found "
            f"{','.join(header)[:200]!r}."
        )
    lines: dict[tuple[int, int], list[tuple[int, list[int]]]] = {}
    for number, row in enumerate(rows, start=2):
        if not row:
            continue
        if len(row) != len(header) or not all(re.fullmatch("[0-9]{1,9}", value) for value in row):
            raise InputError(
                f"{path}, line {number}: expected {len(header)} whole numbers, found {','.join(row)[:200]!r}."
            )
        person, camera, tracklet, *values = map(int, row)
        lines.setdefault((person, camera), []).append((tracklet, values))
    for (person, camera), found in lines.items():
        if len({tracklet for tracklet, _ in found}) != len(found):
            raise InputError(f"{path}: person {person} in camera {camera} has a tracklet twice.")
    return names, lines
