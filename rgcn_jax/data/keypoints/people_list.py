"""Persons of a file with the keypoints of all images: ``PeopleList``, filled while the file is read."""

from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int

from rgcn_jax.data.keypoints.anatomy import sample
from rgcn_jax.data.keypoints.detections import Detections, others
from rgcn_jax.data.keypoints.names import match
from rgcn_jax.data.keypoints.numbers import LARGEST, check_numbers
from rgcn_jax.data.keypoints.skeletons import advice, expected
from rgcn_jax.data.keypoints.subject import choose_subjects
from rgcn_jax.errors import InputError, listed
from rgcn_jax.skeleton import to_14


class PeopleList:
    """Persons of a file while it is read, stored in 12 bytes per keypoint.

    Args:
      path: the file, for messages.
      skeletons: skeletons by number of keypoints, unless one is named.
      named: the skeleton that the file or the user names, or None.
      detector: what wrote the file.
      todo: what to do about unusable entries.
    """

    def __init__(self, path: Path, skeletons: Mapping[int, str], named: str | None, detector: str, todo: str):
        self.problems: list[str] = []
        self.images: dict[str, None] = {}  # an ordered set, including images without persons
        self._path, self._named, self._skeletons = path, named, expected(skeletons, named)
        self._detector, self._todo = detector, todo
        self._names: list[str] = []
        self._numbers = array("f")
        self._size = 0  # numbers per person
        self._first = ""

    def add(self, where: str, name: str, numbers: object) -> None:
        """Add a person of the image ``name``, or an error. ``where``: the entry, for the message."""
        self.images[name] = None
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

    def detections(
        self, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], joined_folders: bool = False
    ) -> Detections:
        """Choose the subjects of these frames. Arguments as for ``formats.read`` and ``names.match``.

        Raises InputError if there were errors.
        """
        if self.problems:
            raise InputError(
                f"The keypoint file {self._path} cannot be used, because of {len(self.problems):,} of its entries: "
                f"{listed(self.problems, separator='; ')}. {self._todo}.",
                self.problems,
            )
        wanted, remarks = match(self._path, self.images, frames, joined_folders)
        row = {name: i for i, name in enumerate(dict.fromkeys(wanted))}
        of_name = np.array([row[name] for name in wanted], int)  # frame -> row of its name
        has_entry = np.array([name in self.images for name in row], bool)
        pixels = np.zeros((len(row), 14, 3), np.float32)
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
            others(self.images, row),
            self._detector,
            sample=some,
            remarks=remarks,
        )
