"""Matching of the rows of a features file to the tracklets of a data set, by frame names or by order."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from rgcn_jax.data.features.files import Rows
from rgcn_jax.errors import InputError, listed
from rgcn_jax.types import Split, Tracklet

_TOLERANCE = 1e-3
"""Tolerance between two rows of a tracklet, relative to the largest value, since GPUs round differently."""


class Matched(NamedTuple):
    """Features by tracklet, and notes on how they were matched."""

    features: dict[Tracklet, Float32[np.ndarray, "d"]]
    notes: list[str]


def match(parts: Mapping[str, Rows], split: Split) -> Matched:
    """Match every row to a tracklet, and compare person and camera.

    Rows with names are matched by these, in any order. Rows without names are matched by the order of the data set's
    lists if persons and cameras agree. The gallery may contain the queries, follow them, or exclude them. Cameras may
    be counted from 0. Test persons may be numbered from 0 in the order of their ids (as in torchreid). Training persons
    may have other, unique numbers.

    Args:
      parts: rows by part, from ``read_features``.
      split: the data set.

    Raises:
      InputError: a row belongs to no tracklet, to another person or camera, or to a tracklet that already has another
        row; the order does not match, or cannot be verified; or a query or gallery tracklet has no row.
    """
    tracklets: dict[str, Sequence[Tracklet]] = {}
    notes, index = [], None
    offset = int(any(0 in rows.camera_ids for rows in parts.values() if rows.camera_ids is not None))
    if counted := _counted_persons(parts, split):
        parts = counted
        notes.append("test persons are numbered from 0 in the file, in the order of their ids")
    for part, rows in parts.items():
        label = part or "all"
        if rows.names is not None:
            index = index or _by_frame([*split.train, *split.query, *split.gallery, *split.junk])
            tracklets[part] = [_named(name, label, index) for name in rows.names]
            if problem := _mismatch(rows, tracklets[part], offset, part == "train"):
                raise InputError(f"{label}: {problem}.")
            notes.append(f"{label}: {len(rows.names):,} rows, matched by names")
        else:
            order, tracklets[part] = _in_order(part, rows, split, offset)
            notes += [
                f"{label}: {len(tracklets[part]):,} rows, matched by order ({order})",
                *_unchecked(tracklets[part]),
            ]
    if offset:
        notes.append("cameras count from 0 in the file")
    found = _features(parts, tracklets)
    for part, wanted in (("query", split.query), ("gallery", split.gallery)):
        if absent := [t.frames[0] for t in wanted if t not in found]:
            raise InputError(
                f"{len(absent):,} of the {len(wanted):,} {part} tracklets have no features, such as that of "
                f"{absent[0]}: expected features of all of them."
            )
    return Matched(found, notes)


def _features(
    parts: Mapping[str, Rows], tracklets: Mapping[str, Sequence[Tracklet]]
) -> dict[Tracklet, Float32[np.ndarray, "d"]]:
    widths = {rows.features.shape[1] for rows in parts.values()}
    if len(widths) > 1:
        raise InputError(
            f"the parts have features of {', '.join(map(str, sorted(widths)))} dimensions: expected equal dimensions."
        )
    found: dict[Tracklet, np.ndarray] = {}
    for part, rows in parts.items():
        for row, (tracklet, value) in enumerate(zip(tracklets[part], rows.features, strict=True), 1):
            other = found.setdefault(tracklet, value)
            if np.abs(other - value).max() > _TOLERANCE * np.abs(other).max():
                raise InputError(
                    f"{part or 'all'}: row {row} is the tracklet that begins with {tracklet.frames[0]}, which has "
                    "different features in another row."
                )
    return found


def _counted_persons(parts: Mapping[str, Rows], split: Split) -> dict[str, Rows] | None:
    """Return the parts with the data set's person ids if the file numbers the P test persons from 0 to P - 1, else
    None.
    """
    persons = np.array(sorted({t.person_id for t in (*split.query, *split.gallery)}), np.int64)
    tested = {p: rows.person_ids for p, rows in parts.items() if p in ("query", "gallery")}
    numbers = {part: ids for part, ids in tested.items() if ids is not None}
    found = {person for ids in numbers.values() for person in ids.tolist()}
    if not len(persons) or found != set(range(len(persons))) or persons[0] <= 0:
        return None
    return dict(parts) | {part: parts[part]._replace(person_ids=persons[ids]) for part, ids in numbers.items()}


def _mismatch(rows: Rows, tracklets: Sequence[Tracklet], offset: int, renumbered: bool) -> str:
    """Describe the first row whose person or camera differs from that of its tracklet, as a clause; "" if there is
    none.

    ``renumbered``: whether persons may have other, unique numbers.
    """
    theirs: dict[int, int] = {}
    ours: dict[int, int] = {}
    people = [t.person_id for t in tracklets] if rows.person_ids is None else rows.person_ids.tolist()
    cameras = [t.camera_id - offset for t in tracklets] if rows.camera_ids is None else rows.camera_ids.tolist()
    for row, (person, camera, tracklet) in enumerate(zip(people, cameras, tracklets, strict=True), 1):
        same = person == tracklet.person_id
        if renumbered:
            same = (
                theirs.setdefault(person, tracklet.person_id) == tracklet.person_id
                and ours.setdefault(tracklet.person_id, person) == person
            )
        if not same or camera + offset != tracklet.camera_id:
            return (
                f"row {row} is person {person}, camera {camera}, but its tracklet, which begins with "
                f"{tracklet.frames[0]}, is person {tracklet.person_id}, camera {tracklet.camera_id}"
            )
    return ""


def _orders(part: str, split: Split) -> dict[str, tuple[Tracklet, ...]]:
    """Map descriptions of the usual orders of a part in files to the tracklets in this order."""
    query, gallery = tuple(split.query), tuple(split.gallery)
    queries = set(query)
    rest = tuple(t for t in gallery if t not in queries)
    together = {"the queries, then the gallery without them": query + rest}
    return {
        "query": {"the queries": query},
        "train": {"the training tracklets": tuple(split.train)},
        "gallery": {"the gallery": gallery, "the gallery without the queries": rest, **together},
        "": {**together, "the queries, then the gallery": query + gallery},
    }[part]


def _in_order(part: str, rows: Rows, split: Split, offset: int) -> tuple[str, tuple[Tracklet, ...]]:
    label = part or "all"
    if rows.person_ids is None or rows.camera_ids is None:
        raise InputError(
            f"{label}: the features have neither frame names nor both persons and cameras, so their tracklets are "
            "unknown: provide these, or names by --names."
        )
    orders = {order: words for words, order in reversed(_orders(part, split).items())}
    of_length = [(words, order) for order, words in orders.items() if len(order) == len(rows.features)]
    if not of_length:
        lengths = "; ".join(f"{words} {len(order):,}" for order, words in orders.items())
        raise InputError(
            f"{label}: there are {len(rows.features):,} rows, but the data set has: {lengths}. Set names by --names, "
            "or provide the features of all of one of these."
        )
    problems = [_mismatch(rows, order, offset, part == "train") for _, order in of_length]
    fitting = [candidate for candidate, problem in zip(of_length, problems, strict=True) if not problem]
    if not fitting:
        raise InputError(f"{label}: the rows are not in the data set's order: {problems[0]}. Set names by --names.")
    if len(fitting) > 1:
        raise InputError(
            f"{label}: the rows fit several orders ({listed([w for w, _ in fitting])}): set names by --names."
        )
    return fitting[0]


def _unchecked(tracklets: Sequence[Tracklet]) -> list[str]:
    """Return a note on tracklets of the same person and camera, whose order cannot be verified."""
    counts = Counter((t.person_id, t.camera_id) for t in {*tracklets})
    several = sum(count for count in counts.values() if count > 1)
    if not several:
        return []
    return [
        f"  {several:,} of these share person and camera with another one, so their order cannot be verified without "
        "frame names (--names)"
    ]


def _by_frame(tracklets: Sequence[Tracklet]) -> dict[str, Tracklet | None]:
    """Map frame paths to tracklets. File names alone are mapped too; those of several tracklets map to None."""
    index: dict[str, Tracklet | None] = {}
    for tracklet in dict.fromkeys(tracklets):
        for frame in tracklet.frames:
            index[frame] = tracklet
            name = frame.rpartition("/")[2]
            if name != frame:
                index[name] = tracklet if index.get(name, tracklet) == tracklet else None
    return index


def _named(name: str, label: str, index: Mapping[str, Tracklet | None]) -> Tracklet:
    """Find the tracklet of a frame, by its path relative to the data set's root, or below any other folder."""
    path, ambiguous = name.strip().replace("\\", "/"), False
    while path:
        if found := index.get(path):
            return found
        ambiguous |= path in index
        path = path.partition("/")[2]
    if ambiguous:
        raise InputError(f"{label}: {name} is a frame of several tracklets: expected paths from the data set's root.")
    raise InputError(
        f"{label}: {name} is not a frame of the data set, which has names like {next(iter(index), '(none)')}."
    )
