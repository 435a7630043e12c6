"""Reader of MMPose's results (RTMPose, ViTPose, HRNet, ...): a folder with one JSON file per frame.

With ``pred_out_dir=...``, ``MMPoseInferencer`` writes ``<frame's stem>.json``, a list of persons in pixels of the
crop::

    [{"keypoints": [[x, y], ...], "keypoint_scores": [confidence, ...], "bbox": ..., "bbox_score": ...}, ...]

The same list under "predictions" or "instance_info" is read too, in files ``results_<frame's stem>.json`` as written by
MMPose's demo scripts. These name the data set of the model, ``{"meta_info": {"dataset_name": "h36m", ...}, ...}``,
which determines the skeleton; otherwise the number of keypoints does: COCO-17, or a superset that begins with these
(Halpe-26, COCO-WholeBody).
"""

from collections.abc import Mapping
from itertools import chain
from typing import Any

from rgcn_jax.data.keypoints import skeletons
from rgcn_jax.data.keypoints.frame_files import People, Program
from rgcn_jax.data.keypoints.numbers import check_numbers, parse_json, people_array
from rgcn_jax.data.keypoints.skeletons import COCO, advice
from rgcn_jax.errors import InputError

SUFFIX = ".json"


def parse_mmpose(text: bytes, skeleton: str | None = None) -> People:
    """Parse the persons of one MMPose file: x, y and confidence as stored.

    Args:
      text: contents of the file.
      skeleton: a key of ``SKELETONS`` named by the user; None: from ``dataset_name``, else from the number of
        keypoints, which must be 17, 26, 133 or 136.

    Raises:
      InputError: with the reason only, without the file's name.
    """
    contents = parse_json(text)
    named = skeleton
    if isinstance(contents, dict):
        named = _named(contents.get("meta_info"), skeleton)
        contents = contents.get("predictions", contents.get("instance_info"))
        if isinstance(contents, list) and len(contents) == 1 and isinstance(contents[0], list):
            contents = contents[0]  # "predictions" of one image
    if not isinstance(contents, list):
        raise InputError("has no list of people, so MMPose did not write it")
    known = skeletons.expected(COCO, named)
    people = people_array([_numbers(person, known, named) for person in contents])
    return People(people, known.get(people.shape[1], ""), named is not None)


def _named(meta: object, wanted: str | None) -> str | None:
    """Return the skeleton of the model's data set. It must agree with the one named by the user."""
    name = meta.get("dataset_name") if isinstance(meta, dict) else None
    try:
        named = skeletons.find(name) if isinstance(name, str) else None
    except InputError:  # a custom data set, with an unknown skeleton
        named = None
    if named and wanted and named != wanted:
        raise InputError(f'is of the data set {name!a} ({named}) by its "meta_info": leave out --skeleton={wanted}')
    return wanted or named


def _numbers(person: Any, known: Mapping[int, str], named: str | None) -> list[int | float]:
    points = person.get("keypoints") if isinstance(person, dict) else None
    scores = person.get("keypoint_scores") if isinstance(person, dict) else None
    if not isinstance(points, list) or not isinstance(scores, list):
        raise InputError('has a person without lists "keypoints" and "keypoint_scores"')
    if len(points) != len(scores):
        raise InputError(f"has a person with {len(points)} keypoints and {len(scores)} scores")
    if len(points) not in known:
        raise InputError(
            f"has {len(points)} keypoints a person, expected one of "
            f"{', '.join(f'{v} ({name})' for v, name in known.items())}{advice(3 * len(points), named)}"
        )
    check_numbers(scores)
    for point in points:
        check_numbers(point)
        if len(point) != 2:
            raise InputError(f"has a keypoint of {len(point)} numbers, expected x and y")
    return list(chain.from_iterable((x, y, score) for (x, y), score in zip(points, scores, strict=True)))


PROGRAM = Program("MMPose", "COCO-17, Halpe-26 or COCO-WholeBody", SUFFIX, parse_mmpose)
