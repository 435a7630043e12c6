"""Folder of a gallery's crops and audit log, paths of its entries' frames, and deletion of crops of videos."""

import shutil
from pathlib import Path

from rgcn_jax.data.datasets.listing import check_relative
from rgcn_jax.errors import InputError
from rgcn_jax.gallery.entry import Entry
from rgcn_jax.runtime.files import refuse_link, writing

CROPS_FOLDER = "crops"
"""Subfolder of the gallery for crops of videos. The gallery owns these files."""


def is_milvus(uri: str) -> bool:
    """Whether a gallery is in Milvus, by the form of its address."""
    return "://" in uri or uri.endswith(".db")


def files_folder(uri: str, files: Path | None) -> Path | None:
    """Return the folder of a gallery's crops and audit log. None if it is unknown, which is so only in Milvus."""
    if files is not None or "://" in uri:
        return files
    return Path(f"{uri}.files" if uri.endswith(".db") else uri).expanduser()


def known_folder(folder: Path | None) -> Path:
    """Return the folder of crops and audit log. Raises InputError if it is unknown."""
    if folder is None:
        raise InputError("a gallery in Milvus needs a folder for crops and its audit log: --files=DIR.")
    return folder


def frame_paths(folder: Path | None, entry: Entry) -> list[Path]:
    """Return the paths of an entry's frames; empty if their folder is unknown.

    Args:
      folder: folder of the gallery; None if unknown.
      entry: an entry of the gallery, or a query.

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
    """Delete the folder of a tracklet if it is inside the gallery's own crops.

    Raises:
      InputError: the folder cannot be deleted, or the crops folder is a link.
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
        for parent in tracklet.relative_to(root).parents[:-2]:  # folders of the person and the camera, if empty
            if (root / parent).is_dir() and not any((root / parent).iterdir()):
                (root / parent).rmdir()
