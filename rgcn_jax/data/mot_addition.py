"""Addition of the tracklets of another camera to a data set in the layout "folder"; resumable after a kill.

Crops are written to ``OUT/.tracks-SUBSET-CAMERA-DIGEST``, which gets this name when complete. They are then moved to
``OUT/SUBSET/PERSON/CAMERA``. Rerunning the same command finishes the moves; the digest identifies it.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from rgcn_jax.data.datasets.custom import SUBSETS
from rgcn_jax.errors import InputError


def staging_folder(out: Path, subset: str, camera: int, what: bytes) -> Path:
    """Return the folder in which the crops of an addition are collected before they are moved.

    Args:
      out: the data set.
      subset: "train", "query" or "gallery".
      camera: the camera to add.
      what: identifies the addition: contents of the track file, and numbering of its persons.

    Raises:
      InputError: there is no data set, or it already has this camera in this subset.
    """
    if not any((out / name).is_dir() for name in SUBSETS):
        raise InputError(
            f"{out} is not a data set that can be extended (it has no folder {', '.join(SUBSETS[:-1])} or "
            f"{SUBSETS[-1]}): omit --add for the first camera."
        )
    staged = out / f".tracks-{subset}-{camera}-{hashlib.sha256(what).hexdigest()[:16]}"
    if not staged.is_dir() and (there := next(_of_camera(out / subset, camera), None)):
        raise InputError(f"{there} already exists, and nothing in it is overwritten: set another --camera.")
    return staged


def move_tracklets(staged: Path, folder: Path, camera: int) -> None:
    """Move the tracklets of a camera to a subset. After a kill, a second call moves the rest. Raises OSError."""
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
