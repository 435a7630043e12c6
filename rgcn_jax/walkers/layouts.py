"""Folder layouts of the real data sets, for walkers: image files, lists and annotations of each tracklet.

A layout plans the files; ``write.py`` writes them.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.types import DISTRACTOR_ID, Tracklet
from rgcn_jax.walkers.generation import Walkers


@dataclass(frozen=True)
class Plan:
    """Files of a data set to be written; all paths are relative to its root."""

    files: tuple[tuple[Tracklet, tuple[str, ...]], ...]
    """Each tracklet with the paths of its frames."""
    texts: Mapping[str, str]
    """Text files with their contents."""
    matrices: Mapping[str, Mapping[str, np.ndarray]]
    """MATLAB files with their named matrices."""
    hdf5: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
    """The same in the format of MATLAB 7.3."""


def _track_info(tracklets: list[Tracklet]) -> np.ndarray:
    """Rows of first line, last line (both counted from 1), person, camera."""
    last = np.cumsum([len(t.frames) for t in tracklets])
    first = last - [len(t.frames) for t in tracklets] + 1
    return np.stack([first, last, [t.person_id for t in tracklets], [t.camera_id for t in tracklets]], 1).astype(
        np.int32
    )


def mars(walkers: Walkers) -> Plan:
    """MARS: ``bbox_train``, ``bbox_test`` and ``info``; junk in ``00-1``, distractors in ``0000``."""
    split = walkers.split
    train = list(split.train)
    # Rows are sorted by person id: -1, 0, then labelled persons.
    test = sorted((*split.junk, *split.gallery), key=lambda t: (t.person_id, t.frames[0]))
    row = {tracklet: i for i, tracklet in enumerate(test, 1)}
    queries = np.array([[row[t] for t in split.query]], np.uint16)

    def names(tracklets: list[Tracklet]) -> str:
        return "".join(f"{PurePosixPath(frame).name}\n" for t in tracklets for frame in t.frames)

    return Plan(
        files=tuple((t, t.frames) for t in train + test),
        texts={"info/train_name.txt": names(train), "info/test_name.txt": names(test)},
        matrices={
            "info/tracks_train_info.mat": {"track_train_info": _track_info(train)},
            "info/tracks_test_info.mat": {"track_test_info": _track_info(test)},
            "info/query_IDX.mat": {"query_IDX": queries},
        },
    )


def dukemtmc_vidreid(walkers: Walkers) -> Plan:
    """DukeMTMC-VideoReID: ``{train,query,gallery}/person/track``, one query per person, no junk.

    The gallery contains the queries again, in agreement with the published counts. Every distractor has its own person
    id, marked by a D in the names. Absolute frame numbers increase by 12, as in the original. One track in twenty
    starts at F0002, an irregularity of the original that readers must handle.
    """
    split = walkers.split
    rng = np.random.default_rng([walkers.spec.seed, 101])
    queries: dict[int, list[Tracklet]] = {}
    for tracklet in split.query:
        queries.setdefault(tracklet.person_id, []).append(tracklet)
    chosen = {options[rng.integers(len(options))] for options in queries.values()}
    next_person = 1 + max(walkers.people)
    tracks: Counter[int] = Counter()
    files = []
    parts = {"train": set(split.train), "query": chosen, "gallery": set(split.gallery)}
    for tracklet in (*split.train, *split.gallery):
        person, letter = tracklet.person_id, "X"
        if person == DISTRACTOR_ID:
            person, letter, next_person = next_person, "D", next_person + 1
        tracks[person] += 1
        start, skip = int(rng.integers(1000, 80000)), int(rng.random() < 0.05)
        names = tuple(
            f"{person:04}/{tracks[person]:04}/"
            f"{person:04}_C{tracklet.camera_id}_F{f + 1 + skip:04}_{letter}{start + 12 * f}.jpg"
            for f in range(len(tracklet.frames))
        )
        files += [(tracklet, tuple(f"{part}/{name}" for name in names)) for part in parts if tracklet in parts[part]]
    return Plan(tuple(files), {}, {})


def _check_halves(walkers: Walkers, title: str, most: int) -> None:
    count = len(walkers.people)
    if count % 2 or count > most:
        raise InputError(
            f"{title} needs an even number of persons, at most {most}: found {count} (train_identities + "
            "test_identities); change these."
        )


def _first_tracklets(walkers: Walkers) -> list[Tracklet]:
    """The first tracklet of every person in cameras 1 and 2; no distractors."""
    first: dict[tuple[int, int], Tracklet] = {}
    for tracklet in (*walkers.split.train, *walkers.split.gallery):
        if tracklet.person_id != DISTRACTOR_ID and tracklet.camera_id <= 2:
            first.setdefault((tracklet.person_id, tracklet.camera_id), tracklet)
    return list(first.values())


def _random_splits(walkers: Walkers, rng: np.random.Generator) -> np.ndarray:
    """Ten random splits that keep look-alikes together, [10, people]: indices in the sorted person ids, from 0."""
    position = {person_id: i for i, person_id in enumerate(sorted(walkers.people))}
    groups = np.array([[position[person_id] for person_id in group] for group in walkers.look_alikes])
    return np.stack([rng.permutation(groups).ravel() for _ in range(10)])


def ilids_vid(walkers: Walkers) -> Plan:
    """iLIDS-VID: every person once in cameras 1 and 2, person numbers with gaps, ten random splits that keep
    look-alikes together.

    Raises InputError if the number of persons is odd, or above 900 (names have three digits).
    """
    _check_halves(walkers, "iLIDS-VID", 900)
    count = len(walkers.people)
    rng = np.random.default_rng([walkers.spec.seed, 102])
    numbers = np.sort(rng.choice(np.arange(1, count + count // 10 + 2), count, replace=False)).tolist()
    number = dict(zip(sorted(walkers.people), numbers, strict=True))
    files = []
    for tracklet in _first_tracklets(walkers):
        camera, person = f"cam{tracklet.camera_id}", f"person{number[tracklet.person_id]:03}"
        start = int(rng.integers(1, 20000))
        names = tuple(
            f"i-LIDS-VID/sequences/{camera}/{person}/{camera}_{person}_{start + f:05}.png"
            for f in range(len(tracklet.frames))
        )
        files.append((tracklet, names))
    # Values are indices in the sorted list of person folders, from 1.
    splits = (1 + _random_splits(walkers, rng)).astype(np.uint16)
    matrices = {"train-test people splits/train_test_splits_ilidsvid.mat": {"ls_set": splits}}
    return Plan(tuple(files), {}, matrices)


def prid2011(walkers: Walkers) -> Plan:
    """PRID2011: every person once in cameras a and b, repeated file names, ten random splits as lists of folder names.

    Splits keep look-alikes together. Distractors are persons in one camera that no split contains. Raises InputError if
    the number of persons is odd, or above 8,999 (names have four digits).
    """
    _check_halves(walkers, "PRID2011", 8999)
    rng = np.random.default_rng([walkers.spec.seed, 103])
    distractors = [t for t in walkers.split.gallery if t.person_id == DISTRACTOR_ID and t.camera_id <= 2]
    numbered = [(t, t.person_id) for t in _first_tracklets(walkers)]
    numbered += [(t, number) for number, t in enumerate(distractors, 1 + max(walkers.people))]
    files = []
    for tracklet, number in numbered:
        folder = f"prid_2011/multi_shot/cam_{'ab'[tracklet.camera_id - 1]}/person_{number:04}"
        files.append((tracklet, tuple(f"{folder}/{f:04}.png" for f in range(1, len(tracklet.frames) + 1))))
    people = [f"person_{person_id:04}" for person_id in sorted(walkers.people)]
    splits = []
    for order in _random_splits(walkers, rng).tolist():
        names = [people[i] for i in order]
        splits.append({"train": names[len(names) // 2 :], "test": names[: len(names) // 2]})
    return Plan(tuple(files), {"splits_prid2011.json": json.dumps(splits)}, {})


def ls_vid(walkers: Walkers) -> Plan:
    """LS-VID: ``tracklet_{train,test}/person``, lists of path prefixes, queries in a MATLAB 7.3 file; no distractors,
    no junk.

    Tracklets are numbered without leading zeros, so one prefix may be a prefix of another.
    """
    split = walkers.split
    test = [t for t in split.gallery if t.person_id != DISTRACTOR_ID]
    tracks: Counter[int] = Counter()
    files, texts = [], {}
    for part, tracklets in (("train", split.train), ("test", test)):
        lines = []
        for tracklet in tracklets:
            person = tracklet.person_id
            tracks[person] += 1
            prefix = f"tracklet_{part}/{person:04}/{person:04}_{tracks[person]}"
            frames = range(1, len(tracklet.frames) + 1)
            files.append((tracklet, tuple(f"{prefix}_{tracklet.camera_id:02}_{f:06}.jpg" for f in frames)))
            lines.append(f"{prefix} {person}\n")
        texts[f"list_sequence/list_seq_{part}.txt"] = "".join(lines)
    row = {tracklet: i for i, tracklet in enumerate(test, 1)}
    queries = np.array([[row[t] for t in split.query]], np.float64)
    return Plan(tuple(files), texts, {}, {"test/data/info_test.mat": {"query": queries}})


def ccvid(walkers: Walkers) -> Plan:
    """CCVID: ``session1/person_camera``, lists of folder, person and clothes label; no distractors, no junk.

    The second tracklet of a person in a camera is in session 2. Raises InputError if there are more than two.
    """
    if walkers.spec.tracklets_per_camera > 2:
        raise InputError(
            f"the layout ccvid has at most two tracklets of a person in a camera: found tracklets_per_camera="
            f"{walkers.spec.tracklets_per_camera}; set it to 1 or 2."
        )
    split = walkers.split
    asked = set(split.query)
    gallery = [t for t in split.gallery if t not in asked and t.person_id != DISTRACTOR_ID]
    seen: set[str] = set()
    files, texts = [], {}
    for part, tracklets in (("train", split.train), ("query", split.query), ("gallery", gallery)):
        lines = []
        for tracklet in tracklets:
            name = f"{tracklet.person_id:03}_{tracklet.camera_id:02}"
            place = f"session1/{name}" if f"session1/{name}" not in seen else f"session2/{name}"
            seen.add(place)
            files.append((tracklet, tuple(f"{place}/{f:05}.jpg" for f in range(1, len(tracklet.frames) + 1))))
            worn = tracklet.clothes_id
            lines.append(f"{place}\t{tracklet.person_id:03}\tu{worn}_l{worn}_s0_c0_a0\n")
        texts[f"{part}.txt"] = "".join(lines)
    return Plan(tuple(files), texts, {})


def mevid(walkers: Walkers) -> Plan:
    """MEVID: ``bbox_{train,test}/person``, lists of names, rows and queries counted from 0, as NumPy writes them; no
    distractors, no junk.
    """
    split = walkers.split
    test = [t for t in split.gallery if t.person_id != DISTRACTOR_ID]
    tracks: Counter[tuple[int, int, int]] = Counter()
    files, texts = [], {}
    for part, tracklets in (("train", split.train), ("test", test)):
        names, rows = [], []
        for tracklet in tracklets:
            key = tracklet.person_id, max(tracklet.clothes_id - 1, 0), tracklet.camera_id
            number, first = tracks[key], len(names)
            tracks[key] += 1
            stem = f"{key[0]:04}O{key[1]:03}C{key[2]:03}T{number:03}"
            own = [f"{stem}F{f:05}.jpg" for f in range(len(tracklet.frames))]
            files.append((tracklet, tuple(f"bbox_{part}/{stem[:4]}/{name}" for name in own)))
            names += own
            rows.append(" ".join(f"{value:.18e}" for value in (first, len(names) - 1, *key)))
        texts[f"{part}_name.txt"] = "".join(f"{name}\n" for name in names)
        texts[f"track_{part}_info.txt"] = "".join(f"{row}\n" for row in rows)
    row = {tracklet: i for i, tracklet in enumerate(test)}
    texts["query_IDX.txt"] = "".join(f"{row[t]:.18e}\n" for t in split.query)
    return Plan(tuple(files), texts, {})


def folder(walkers: Walkers) -> Plan:
    """A custom folder: ``{train,query,gallery}/person/camera/tracklet``; distractors are person 0, junk is person -1,
    and the gallery does not contain the queries.
    """
    split = walkers.split
    asked = set(split.query)
    rest = [t for t in (*split.junk, *split.gallery) if t not in asked]
    files = []
    for part, tracklets in (("train", split.train), ("query", split.query), ("gallery", rest)):
        tracks: Counter[tuple[int, int]] = Counter()
        for tracklet in tracklets:
            key = tracklet.person_id, tracklet.camera_id
            tracks[key] += 1
            place = f"{part}/{tracklet.person_id}/{tracklet.camera_id}/{tracks[key]}"
            files.append((tracklet, tuple(f"{place}/{f}.jpg" for f in range(1, len(tracklet.frames) + 1))))
    return Plan(tuple(files), {}, {})


LAYOUTS: Mapping[str, Any] = MappingProxyType(
    {
        "mars": mars,
        "ilids_vid": ilids_vid,
        "dukemtmc_vidreid": dukemtmc_vidreid,
        "prid2011": prid2011,
        "ls_vid": ls_vid,
        "ccvid": ccvid,
        "mevid": mevid,
        "folder": folder,
    }
)
"""Layouts: name -> planning function, ``Walkers`` -> ``Plan``."""
