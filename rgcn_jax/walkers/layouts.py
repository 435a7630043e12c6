"""The folder layouts of the real data sets: which of the walkers' tracklets lie in which files, and the lists beside
them.

A layout only plans; ``write.py`` does the writing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import numpy as np

from rgcn_jax.types import DISTRACTOR_ID, InputError, Tracklet
from rgcn_jax.walkers.generate import Walkers


@dataclass(frozen=True)
class Plan:
    """A data set on disk, before it is written; all paths are relative to its root."""

    files: tuple[tuple[Tracklet, tuple[str, ...]], ...]
    """Each tracklet with the image files of its frames."""
    texts: Mapping[str, str]
    """Text files and their contents."""
    matrices: Mapping[str, Mapping[str, np.ndarray]]
    """MATLAB files, each with its named matrices."""


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
    # Rows are sorted by person: -1, 0, then the labelled.
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
    """DukeMTMC-VideoReID: ``{train,query,gallery}/person/track``, one query for each person, no junk.

    Every distractor is a person of its own, marked by a D in the names. The absolute frame number counts up by 12,
    as in the original. One track in twenty starts at F0002, a flaw of the original that readers must survive.
    """
    split = walkers.split
    rng = np.random.default_rng([walkers.spec.seed, 101])
    queries: dict[int, list[Tracklet]] = {}
    for tracklet in split.query:
        queries.setdefault(tracklet.person_id, []).append(tracklet)
    chosen = {options[rng.integers(len(options))] for options in queries.values()}
    next_person = 1 + max(walkers.people)
    tracks: dict[int, int] = {}
    files = []
    for tracklet in (*split.train, *split.gallery):
        person, letter = tracklet.person_id, "X"
        if person == DISTRACTOR_ID:
            person, letter, next_person = next_person, "D", next_person + 1
        part = "query" if tracklet in chosen else "gallery" if tracklet in split.gallery else "train"
        tracks[person] = tracks.get(person, 0) + 1
        start, skip = int(rng.integers(1000, 80000)), int(rng.random() < 0.05)
        folder = f"{part}/{person:04}/{tracks[person]:04}"
        names = tuple(
            f"{folder}/{person:04}_C{tracklet.camera_id}_F{f + 1 + skip:04}_{letter}{start + 12 * f}.jpg"
            for f in range(len(tracklet.frames))
        )
        files.append((tracklet, names))
    return Plan(tuple(files), {}, {})


def ilids_vid(walkers: Walkers) -> Plan:
    """iLIDS-VID: every person once in cameras 1 and 2, person numbers with gaps, ten random halvings that keep
    look-alikes together.

    Raises:
      InputError: the number of people is odd, or above 900 (names have three digits).
    """
    spec, split = walkers.spec, walkers.split
    count = len(walkers.people)
    if count % 2 or count > 900:
        raise InputError(
            f"iLIDS-VID has an even number of people, at most 900: found {count} (train_identities + test_identities); "
            "choose other numbers."
        )
    rng = np.random.default_rng([spec.seed, 102])
    numbers = np.sort(rng.choice(np.arange(1, count + count // 10 + 2), count, replace=False)).tolist()
    number = dict(zip(sorted(walkers.people), numbers, strict=True))
    files, seen = [], set()
    for tracklet in (*split.train, *split.gallery):
        key = (tracklet.person_id, tracklet.camera_id)
        if tracklet.person_id == DISTRACTOR_ID or tracklet.camera_id > 2 or key in seen:
            continue
        seen.add(key)
        camera, person = f"cam{tracklet.camera_id}", f"person{number[tracklet.person_id]:03}"
        start = int(rng.integers(1, 20000))
        names = tuple(
            f"i-LIDS-VID/sequences/{camera}/{person}/{camera}_{person}_{start + f:05}.png"
            for f in range(len(tracklet.frames))
        )
        files.append((tracklet, names))
    # Values are positions in the sorted list of person folders, from 1.
    position = {person_id: i for i, person_id in enumerate(sorted(walkers.people), 1)}
    groups = np.array([[position[person_id] for person_id in group] for group in walkers.look_alikes])
    halvings = np.stack([rng.permutation(groups).ravel() for _ in range(10)]).astype(np.uint16)
    matrices = {"train-test people splits/train_test_splits_ilidsvid.mat": {"ls_set": halvings}}
    return Plan(tuple(files), {}, matrices)


LAYOUTS: Mapping[str, Any] = MappingProxyType(
    {"mars": mars, "ilids_vid": ilids_vid, "dukemtmc_vidreid": dukemtmc_vidreid}
)
"""Names of the layouts and their planning functions, ``Walkers`` -> ``Plan``."""
