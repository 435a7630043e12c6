"""Loader of a custom data set in a plain folder layout. Reads no images and needs no TensorFlow.

Layout below the root::

    train/7/1/0001/000001.jpg       subset, person, camera, tracklet, frame
    query/12/1/0001/000001.jpg
    gallery/12/2/0001/000001.jpg

Persons and cameras are whole numbers, with or without leading zeros. In the gallery, person 0 denotes distractors
(persons without a match) and -1 junk (bad detections). Tracklet folders and frames may have any names; frames are
sorted by name, with numbers in numerical order (2.jpg before 10.jpg).

``python -m rgcn_jax.data.mot`` writes this layout from a video and its tracks.

A folder without these subsets is read as unlabelled tracklets: each folder in it that contains images is a tracklet, in
any layout. They can be embedded and searched, but not used for training or scoring.
"""

import os
import re
import warnings
from pathlib import Path

from rgcn_jax.data.datasets.listing import FolderReader, natural_order, require_folders
from rgcn_jax.types import DISTRACTOR_ID, JUNK_ID, UNKNOWN_ID, Split, Tracklet

SUBSETS = ("train", "query", "gallery")

_TITLE = "Data set"
_PERSON = re.compile("-1|[0-9]{1,9}")
_CAMERA = re.compile("[0-9]{1,9}")


def load(root: str | os.PathLike[str], follow_links: bool = False) -> Split:
    """Read a custom folder. Subsets may be missing; training needs all three. Arguments as for ``mars.load``.

    Without any subset, the result is unlabelled tracklets. All of them are in the gallery, with ``UNKNOWN_ID`` and
    camera 0, sorted by folder. Otherwise each subset is sorted by person, camera and tracklet. The gallery is the
    folder ``gallery`` without junk. A query is in the gallery only if it is a folder there too. Persons that occur in
    both training and test cause a warning.

    Raises InputError: there is neither a subset nor an image; a folder's name is not a number, or two are the same
    number; a folder is empty or a symbolic link out of the root; a person in training or query is 0 or -1.
    """
    root = Path(root)
    if not any(os.path.isdir(root / subset) for subset in SUBSETS):
        return Split(name="folder", root=root, train=(), query=(), gallery=_unlabelled(root, follow_links))
    folders = FolderReader(_TITLE, root, follow_links)
    train, query, gallery = (
        _read_subset(folders, subset) if os.path.isdir(root / subset) else () for subset in SUBSETS
    )
    folders.check("Rename the folders, or take away what does not belong there.")
    both = {t.person_id for t in train} & {t.person_id for t in (*query, *gallery)}
    if both:
        warnings.warn(
            f"{len(both)} persons in {root / 'train'} are in query or gallery too, person {min(both)} for one: scores "
            "on persons that were trained on say nothing about others.",
            stacklevel=2,
        )
    return Split(
        name="folder",
        root=root,
        train=train,
        query=query,
        gallery=tuple(t for t in gallery if t.person_id != JUNK_ID),
        junk=tuple(t for t in gallery if t.person_id == JUNK_ID),
    )


def _unlabelled(root: Path, follow_links: bool) -> tuple[Tracklet, ...]:
    """Read each folder that contains images as an unlabelled tracklet."""
    nearby = [root.parent, *sorted(p for p in root.iterdir() if p.is_dir())] if root.is_dir() else []
    if any(os.path.isdir(folder / subset) for folder in nearby for subset in SUBSETS):
        require_folders(_TITLE, root, SUBSETS)  # detects a root one level too deep or too high
    folders = FolderReader(_TITLE, root, follow_links)
    found = folders.images_below() if root.is_dir() else {}
    folders.check("Rename the folders, or take away what does not belong there.")
    if not found:
        require_folders(_TITLE, root, SUBSETS)
    tracklets = []
    for folder in natural_order(found):
        prefix = f"{folder}/" if folder else ""
        frames = tuple(f"{prefix}{name}" for name in natural_order(found[folder]))
        tracklets.append(Tracklet(frames, UNKNOWN_ID, 0))
    return tuple(tracklets)


def _read_subset(folders: FolderReader, subset: str) -> tuple[Tracklet, ...]:
    tracklets = []
    for person_id, person in _numbered(folders, subset, _PERSON, "person").items():
        if person_id in (DISTRACTOR_ID, JUNK_ID) and subset != "gallery":
            kind = "distractors" if person_id == DISTRACTOR_ID else "junk"
            folders.wrong(f"{person} is person {person_id}, which stands for {kind} and may be in the gallery only")
            continue
        for camera_id, camera in _numbered(folders, person, _CAMERA, "camera").items():
            if camera_id < 1:
                folders.wrong(f"{camera} is camera 0, but cameras count from 1")
            names = natural_order(folders.listing(camera).folders)
            if not names:
                folders.wrong(f"{camera} holds no folder of a tracklet")
            for name in names:
                frames = natural_order(folders.frames(f"{camera}/{name}"))
                tracklets.append(Tracklet(tuple(f"{camera}/{name}/{f}" for f in frames), person_id, camera_id))
    return tuple(tracklets)


def _numbered(folders: FolderReader, folder: str, pattern: re.Pattern[str], what: str) -> dict[int, str]:
    """Map numbers to the subfolders with these names, in numerical order."""
    found: dict[int, str] = {}
    for name in folders.listing(folder).folders:
        if not pattern.fullmatch(name):
            folders.wrong(f"{folder}/{name} is no {what}: expected a whole number")
        elif int(name) in found:
            folders.wrong(f"{found[int(name)]} and {folder}/{name} are the same {what}, number {int(name)}")
        else:
            found[int(name)] = f"{folder}/{name}"
    if not found:
        folders.wrong(f"{folder} holds no folder of a {what}")
    return dict(sorted(found.items()))
