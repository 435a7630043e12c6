"""Frames of the entries of a gallery: where they lie, and erasing those that the gallery has cut out of a video."""

import shutil
from pathlib import Path

from rgcn_jax.data.datasets.listing import check_relative
from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.runtime.files import refuse_link, writing

CROPS_FOLDER = "crops"
"""In the gallery's folder: the crops of videos, which belong to the gallery."""


def frame_paths(folder: Path | None, entry: Entry) -> list[Path]:
    """Where the frames that an entry names lie; none where that is unknown.

    Args:
      folder: of the gallery; None: not known.
      entry: of it, or a query.

    Raises:
      InputError: a name leads out of the entry's folder.
    """
    if not entry.root or (folder is None and not Path(entry.root).is_absolute()):
        return []
    for name in entry.frames:
        if problem := check_relative(name):
            raise InputError(f"the frame {name!r} of {entry.tracklet!r} {problem}.")
    return [(folder or Path()) / entry.root / name for name in entry.frames]


def erase_crops(folder: Path, entry: Entry) -> None:
    """Deletes the folder of a tracklet, if it lies among the gallery's own crops.

    Raises:
      InputError: it cannot be deleted, or the crops are a link to elsewhere.
    """
    if Path(entry.root).is_absolute() or not (paths := frame_paths(folder, entry)):
        return
    tracklet, root = paths[0].parent, folder / entry.root
    refuse_link(folder / CROPS_FOLDER)
    if (folder / CROPS_FOLDER).resolve() not in tracklet.resolve().parents:
        return
    with writing(tracklet):
        if tracklet.exists():
            shutil.rmtree(tracklet)
        for parent in tracklet.relative_to(root).parents[:-2]:  # of the person and the camera, where they are empty
            if (root / parent).is_dir() and not any((root / parent).iterdir()):
                (root / parent).rmdir()
