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

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from rgcn_jax.data.keypoints.detections import Detections, shown
from rgcn_jax.data.keypoints.json_stream import entries
from rgcn_jax.data.keypoints.people_list import PeopleList
from rgcn_jax.data.keypoints.skeletons import COCO, OPENPOSE
from rgcn_jax.errors import InputError

_ADVICE = "Run AlphaPose again on these images"
_FORMATS = (("bodies", "joints"), ("people", "pose_keypoints_2d"))  # key of an image's list, key of a person's values


def read_results(
    path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read AlphaPose's list of results: COCO-17, Halpe-26, Halpe-136 or COCO-WholeBody unless another is named.

    Arguments as for ``formats.read``; the file contains the frames' paths, or base names. Raises InputError for
    unusable entries, after reading the whole file.
    """
    people = PeopleList(path, COCO, skeleton, "alphapose", _ADVICE)
    for number, (key, entry) in enumerate(tqdm(entries(path), "poses", disable=None, leave=False), 1):
        if key is not None:
            raise InputError(f"{path} holds a JSON object, but AlphaPose's results are a list: give its own file.")
        name = entry.get("image_id") if isinstance(entry, dict) else None
        if isinstance(name, str):
            people.add(f"entry {number:,} ({shown(name)})", name, entry.get("keypoints"))
        else:
            people.problems.append(f'entry {number:,} has no "image_id" that is a file\'s name')
    return people.detections(frames, sizes)


def read_images(
    path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None
) -> Detections:
    """Read AGRL's ``pose.json``, or AlphaPose's output with ``--format cmu`` or ``open``; COCO-18.

    Arguments and errors as for ``read_results``; the file may also contain the joined names of AGRL.
    """
    people = PeopleList(path, {18: OPENPOSE[18]}, skeleton, "alphapose", _ADVICE)
    for key, entry in tqdm(entries(path), "poses", disable=None, leave=False):
        if key is None:
            raise InputError(f"{path} holds a JSON list, but poses by image are an object: give its own file.")
        name = shown(key)
        fields = next((f for f in _FORMATS if isinstance(entry, dict) and isinstance(entry.get(f[0]), list)), None)
        if fields is None:
            people.problems.append(f'{name} has no list "bodies" or "people"')
            continue
        if key in people.images:
            people.problems.append(f"{name} is in it twice")
        people.images[key] = None
        for body in entry[fields[0]]:
            people.add(name, key, body.get(fields[1]) if isinstance(body, dict) else None)
    return people.detections(frames, sizes, joined_folders=True)
