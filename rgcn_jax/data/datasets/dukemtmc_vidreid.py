"""Loader of DukeMTMC-VideoReID: reads its folders and lists, but no images, into a ``Split``.

The data set was withdrawn by its authors in 2019, since the persons in it had not consented. See docs/data.md.

Published counts: 702 training identities in 2,196 tracklets (369,656 frames); 702 queries, one per test identity; a
gallery of 2,636 tracklets (445,764 frames) of these identities and of 408 distractors. The gallery folder has all test
tracklets, so it contains the queries a second time.

Layout below the root::

    train/0001/0001/0001_C6_F0001_X30823.jpg     person, tracklet; person, camera, frame of the tracklet, of the video
    query/0002/0004/0002_C1_F0001_X30823.jpg
    gallery/7140/2193/7140_C2_F0044_D200413.jpg  D instead of X: a distractor

An older naming scheme has no underscores before the fields. Names in both schemes are parsed field by field. Frames are
sorted by number, since some tracklets begin at F0002. Images are every twelfth frame of the video.
"""

import os
import re
from pathlib import Path

from rgcn_jax.data.datasets.listing import FolderReader, require_folders
from rgcn_jax.data.datasets.published import compare_with_published
from rgcn_jax.types import DISTRACTOR_ID, Split, Tracklet

_TITLE = "DukeMTMC-VideoReID"
_PUBLISHED = {
    "training identities": 702,
    "training tracklets": 2196,
    "training frames": 369_656,
    "queries": 702,
    "gallery tracklets": 2636,
    "gallery frames": 445_764,
}
_SMALL = 500
_NAME = re.compile(r"([0-9]{4})_?C([1-9])_?F([0-9]{1,9})_?([XD])[0-9]+\.(?:jpg|jpeg|png)", re.IGNORECASE)


def load(root: str | os.PathLike[str], follow_links: bool = False) -> Split:
    """Read DukeMTMC-VideoReID, or a smaller data set in its layout. Arguments and warnings as for ``mars.load``.

    A tracklet with frames marked D gets ``DISTRACTOR_ID`` instead of its own number. A gallery tracklet with the same
    frames as a query is that query, and occurs once, as query and gallery. Each subset is sorted by person and tracklet
    folder; crops differ in size.

    Raises InputError: a folder is missing, empty or a symbolic link out of the root; or a frame's name is not in the
    format above, not of its folder's person, or of another camera or kind than the tracklet's other frames. The message
    lists the first few errors.
    """
    root = Path(root)
    subsets = ("train", "query", "gallery")
    require_folders(_TITLE, root, subsets)
    folders = FolderReader(_TITLE, root, follow_links)
    train, query, gallery = (_read_subset(folders, subset) for subset in subsets)
    folders.check()
    asked = {_content(tracklet): tracklet for tracklet in query}
    gallery = tuple(asked.get(_content(tracklet), tracklet) for tracklet in gallery)
    split = Split("dukemtmc_vidreid", root, train, query, gallery)
    compare_with_published(_TITLE, split, _PUBLISHED, _SMALL)
    return split


def _read_subset(folders: FolderReader, subset: str) -> tuple[Tracklet, ...]:
    tracklets = []
    persons = folders.listing(subset).folders
    if not persons:
        folders.wrong(f"{subset} holds no folder of a person")
    for person in persons:
        tracks = folders.listing(f"{subset}/{person}").folders
        if not tracks:
            folders.wrong(f"{subset}/{person} holds no folder of a tracklet")
        for track in tracks:
            tracklet = _read_tracklet(folders, f"{subset}/{person}/{track}", person)
            if tracklet and tracklet.person_id == DISTRACTOR_ID and subset != "gallery":
                folders.wrong(f"{subset}/{person}/{track} is a distractor (D), which only the gallery may hold")
            elif tracklet:
                tracklets.append(tracklet)
    return tuple(tracklets)


def _read_tracklet(folders: FolderReader, folder: str, person: str) -> Tracklet | None:
    """Read the tracklet in a folder. Returns None after reporting an error to ``folders``."""
    fields: dict[int, tuple[str, int, bool]] = {}  # by frame number: name, camera, whether a distractor
    names = folders.frames(folder)
    for name in names:
        match = _NAME.fullmatch(name)
        if not match:
            folders.wrong(f"{folder}/{name} is no frame name like 0001_C6_F0099_X30823.jpg")
            return None
        if match[1] != person:
            folders.wrong(f"{folder}/{name} is a frame of person {match[1]} in the folder of person {person}")
            return None
        frame = int(match[3])
        if frame in fields:
            folders.wrong(f"{folder} holds frame {frame} twice: {fields[frame][0]} and {name}")
            return None
        fields[frame] = name, int(match[2]), match[4].upper() == "D"
    kinds = {(camera, distractor) for _, camera, distractor in fields.values()}
    if len(kinds) > 1:
        folders.wrong(f"{folder} mixes cameras, or distractors (D) with others (X)")
    if len(kinds) != 1:
        return None
    ((camera, distractor),) = kinds
    if int(person) == 0 and not distractor:
        folders.wrong(f"{folder} is of person 0, which stands for distractors, but is not marked D")
        return None
    frames = tuple(f"{folder}/{fields[frame][0]}" for frame in sorted(fields))
    return Tracklet(frames, DISTRACTOR_ID if distractor else int(person), camera)


def _content(tracklet: Tracklet) -> tuple[int, int, tuple[str, ...]]:
    return tracklet.person_id, tracklet.camera_id, tuple(frame.rpartition("/")[2] for frame in tracklet.frames)
