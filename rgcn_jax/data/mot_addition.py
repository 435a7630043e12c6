"""Adds the tracklets of another camera to a data set in the layout "folder"; what a killed process left is finished.

The crops are written to ``OUT/.tracks-SUBSET-CAMERA-DIGEST``, which gets this name when all are there, and moved
to ``OUT/SUBSET/PERSON/CAMERA`` from there. The same addition, rerun, finishes the moves; the digest says what is the
same.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rgcn_jax.data.datasets.custom import SUBSETS
from rgcn_jax.errors import InputError


def staging_folder(out: Path, subset: str, camera: int, what: bytes) -> Path:
    """Where the crops of an addition are collected before they are moved.

    Args:
      out: the data set.
      subset: "train", "query" or "gallery".
      camera: that is added.
      what: is added: contents of the track file, and how its persons are numbered.

    Raises:
      InputError: there is no data set, or it has this camera in this subset already.
    """
    if not any((out / name).is_dir() for name in SUBSETS):
        raise InputError(
            f"{out} is no data set that can be added to (it has no folder {', '.join(SUBSETS[:-1])} or {SUBSETS[-1]}): "
            "leave out --add for the first camera."
        )
    staged = out / f".tracks-{subset}-{camera}-{hashlib.sha256(what).hexdigest()[:16]}"
    if not staged.is_dir() and (there := next(_of_camera(out / subset, camera), None)):
        raise InputError(f"{there} exists already, and nothing in it will be overwritten: give another --camera.")
    return staged


def move_tracklets(staged: Path, folder: Path, camera: int) -> None:
    """Moves the tracklets of a camera into a subset; called again after a kill it moves the rest. Raises OSError."""
    folder.mkdir(exist_ok=True)
    persons = {int(path.name): path for path in folder.iterdir() if path.name.isdecimal()}  # "0007" is person 7
    for source in sorted(staged.iterdir()):
        target = persons.get(int(source.name), folder / source.name)
        target.mkdir(exist_ok=True)
        if (source / str(camera)).exists():
            os.rename(source / str(camera), target / str(camera))
        source.rmdir()
    staged.rmdir()


def _of_camera(folder: Path, camera: int) -> Iterator[Path]:
    for person in sorted(folder.iterdir()) if folder.is_dir() else ():
        for path in person.iterdir() if person.is_dir() else ():
            if path.name.isdecimal() and int(path.name) == camera:
                yield path
