"""Reader of AlphaPose's results: one JSON file for all images, in pixels of the crop, in two formats.

``alphapose-results.json``, a list with one entry per person (``read_results``)::

    [{"image_id": "0001C1T0001F001.jpg", "keypoints": [x, y, confidence, ...], "score": ..., "box": ...}, ...]

With ``--format cmu``, an object with one entry per image, COCO-18 (``read_images``), like AGRL's ``pose.json``::

    {"0001C1T0001F001.jpg": {"bodies": [{"joints": [x, y, confidence, ...], "score": ...}, ...]}, ...}

``--format open`` is the same with "people" and "pose_keypoints_2d". All three omit images without persons. AGRL's keys
are base names. For PRID2011 and DukeMTMC-VideoReID they are the last three parts of the path, joined:
``cam_a-person_0001-0001.png``. AGRL uses the first of several bodies, unless a later one has 1.1 times its score. Here
the rule of ``subject.py`` applies, as for all formats.
"""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from rgcn_jax.data.keypoints.anatomy import sample
from rgcn_jax.data.keypoints.detections import Detections, others, shown
from rgcn_jax.data.keypoints.json_stream import entries
from rgcn_jax.data.keypoints.names import match
from rgcn_jax.data.keypoints.numbers import LARGEST, check_numbers
from rgcn_jax.data.keypoints.skeletons import COCO, OPENPOSE, advice, expected
from rgcn_jax.data.keypoints.subject import choose_subjects
from rgcn_jax.errors import InputError, listed
from rgcn_jax.skeleton import to_14

_FORMATS = (("bodies", "joints"), ("people", "pose_keypoints_2d"))  # key of an image's list, key of a person's values


def read_results(
    path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read AlphaPose's list of results: COCO-17, Halpe-26, Halpe-136 or COCO-WholeBody unless another is named.

    Arguments as for ``formats.read``; the file contains the frames' paths, or base names. Raises InputError for
    unusable entries, after reading the whole file.
    """
    people = _People(path, COCO, skeleton)
    for number, (key, entry) in enumerate(tqdm(entries_of(path), "poses", disable=None, leave=False), 1):
        if key is not None:
            raise InputError(f"{path} holds a JSON object, but AlphaPose's results are a list: give its own file.")
        name = entry.get("image_id") if isinstance(entry, dict) else None
        if isinstance(name, str):
            people.add(f"entry {number:,} ({shown(name)})", name, entry.get("keypoints"))
        else:
            people.problems.append(f'entry {number:,} has no "image_id" that is a file\'s name')
    return people.of(frames, sizes, joined_folders=False)


def read_images(
    path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read AGRL's ``pose.json``, or AlphaPose's output with ``--format cmu`` or ``open``; COCO-18.

    Arguments and errors as for ``read_results``; the file may also contain the joined names of AGRL.
    """
    people = _People(path, {18: OPENPOSE[18]}, skeleton)
    for key, entry in tqdm(entries_of(path), "poses", disable=None, leave=False):
        if key is None:
            raise InputError(f"{path} holds a JSON list, but poses by image are an object: give its own file.")
        name = shown(key)
        fields = next((f for f in _FORMATS if isinstance(entry, dict) and isinstance(entry.get(f[0]), list)), None)
        if fields is None:
            people.problems.append(f'{name} has no list "bodies" or "people"')
            continue
        if key in people.images:
            people.problems.append(f"{name} is in it twice")
        people.images.add(key)
        for body in entry[fields[0]]:
            people.add(name, key, body.get(fields[1]) if isinstance(body, dict) else None)
    return people.of(frames, sizes, joined_folders=True)


def entries_of(path: Path) -> Iterator[tuple[str | None, Any]]:
    """Yield the entries of the JSON file one by one; an InputError names the file."""
    try:
        yield from entries(path)
    except InputError as error:
        raise InputError(f"The keypoint file {path} {error}: write it again.") from error


class _People:
    """Persons of a file while it is read, stored in 12 bytes per keypoint."""

    def __init__(self, path: Path, skeletons: Mapping[int, str], named: str | None):
        self.problems: list[str] = []
        self.images: set[str] = set()  # including those without persons
        self._path, self._named, self._skeletons = path, named, expected(skeletons, named)
        self._names: list[str] = []
        self._numbers = array("f")
        self._size = 0  # numbers per person
        self._first = ""

    def add(self, where: str, name: str, numbers: object) -> None:
        """Add a person, or an error."""
        self.images.add(name)
        try:
            if not isinstance(numbers, list):
                raise InputError("has a person without a list of keypoints")
            if len(numbers) // 3 not in self._skeletons or len(numbers) % 3:
                known = ", ".join(f"{3 * v} ({skeleton})" for v, skeleton in self._skeletons.items())
                raise InputError(
                    f"has {len(numbers)} numbers a person, expected one of {known}{advice(len(numbers), self._named)}"
                )
            check_numbers(numbers)
            if self._size and len(numbers) != self._size:
                raise InputError(f"has {len(numbers)} numbers a person, but {self._first} has {self._size}")
            if not all(-LARGEST <= number <= LARGEST for number in numbers):
                raise InputError("has a number that is not finite or above 1e6")
        except InputError as error:
            self.problems.append(f"{where} {error}")
            return
        self._size, self._first = len(numbers), self._first or where
        self._names.append(name)
        self._numbers.extend(numbers)

    def of(self, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], joined_folders: bool) -> Detections:
        """Choose the subjects of these frames."""
        if self.problems:
            raise InputError(
                f"{len(self.problems):,} entries of the keypoint file {self._path} cannot be used: "
                f"{listed(self.problems, separator='; ')}. Run AlphaPose again on these images.",
                self.problems,
            )
        wanted, remark = match(self._path, self.images, frames, joined_folders)
        row = {name: i for i, name in enumerate(dict.fromkeys(wanted))}
        of_name = np.array([row[name] for name in wanted], int)  # frame -> row of its name
        has_entry = np.array([name in self.images for name in row], bool)
        pixels = np.zeros((len(row), 14, 3), np.float32)
        unused = others(sorted(self.images), row)
        skeleton, some = "", None
        if self._names:
            skeleton = self._skeletons[self._size // 3]
            mine = np.array([row.get(name, -1) for name in self._names])
            people = np.frombuffer(self._numbers, np.float32).reshape(-1, self._size // 3, 3)[mine >= 0]
            bodies = to_14(people, skeleton)
            first = np.unique(of_name, return_index=True)[1]  # one frame of each name, for its size
            crop_sizes = np.broadcast_to(sizes, (len(frames), 2))[first]
            subject, found = choose_subjects(bodies, mine[mine >= 0], crop_sizes, len(row))
            pixels[found] = bodies[subject[found]]
            some = sample(people[subject[found]], skeleton, self._named is not None)
        return Detections(
            pixels[of_name],
            has_entry[of_name],
            skeleton,
            unused,
            "alphapose",
            sample=some,
            remarks=(remark,) if remark else (),
        )
