"""MMPose (RTMPose, ViTPose, HRNet, ...): a folder with one JSON file a frame, as ``MMPoseInferencer`` writes it.

With ``pred_out_dir=...`` a file is ``<frame's stem>.json``, a list of people in pixels of the crop::

    [{"keypoints": [[x, y], ...], "keypoint_scores": [confidence, ...], "bbox": ..., "bbox_score": ...}, ...]

The same list under "predictions" or "instance_info" (what MMPose's demo scripts write) is read too. The model must be
one of COCO's 17 keypoints, or of a larger set that begins with them (Halpe-26, COCO-WholeBody).
"""

from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Int

from rgcn_jax.data.keypoints.detections import Detections
from rgcn_jax.data.keypoints.frame_files import Program, read_folder
from rgcn_jax.data.keypoints.numbers import check_numbers, parse_json, people_array
from rgcn_jax.data.keypoints.skeletons import COCO, looks_like
from rgcn_jax.errors import InputError

SUFFIX = ".json"


def parse_mmpose(text: bytes) -> Float32[np.ndarray, "p v 3"]:
    """The p people of one MMPose file, with v keypoints, one of 17, 26, 133 and 136: x, y, confidence as they stand.

    p may be 0. Raises InputError, whose message is the reason alone, without the file's name.
    """
    contents = parse_json(text)
    if isinstance(contents, dict):
        contents = contents.get("predictions", contents.get("instance_info"))
        if isinstance(contents, list) and len(contents) == 1 and isinstance(contents[0], list):
            contents = contents[0]  # "predictions" of one image
    if not isinstance(contents, list):
        raise InputError("has no list of people, so MMPose did not write it")
    return people_array([_numbers(person) for person in contents])


def _numbers(person: Any) -> list[int | float]:
    points = person.get("keypoints") if isinstance(person, dict) else None
    scores = person.get("keypoint_scores") if isinstance(person, dict) else None
    if not isinstance(points, list) or not isinstance(scores, list):
        raise InputError('has a person without lists "keypoints" and "keypoint_scores"')
    if len(points) != len(scores):
        raise InputError(f"has a person with {len(points)} keypoints and {len(scores)} scores")
    if len(points) not in COCO:
        raise InputError(
            f"has {len(points)} keypoints a person{looks_like(3 * len(points))}, expected one of "
            f"{', '.join(f'{v} ({name})' for v, name in COCO.items())}"
        )
    check_numbers(scores)
    for point in points:
        check_numbers(point)
        if len(point) != 2:
            raise InputError(f"has a keypoint of {len(point)} numbers, expected x and y")
    return list(chain.from_iterable((x, y, score) for (x, y), score in zip(points, scores, strict=True)))


PROGRAM = Program("MMPose", "COCO-17, Halpe-26 or COCO-WholeBody", SUFFIX, COCO, parse_mmpose)


def read(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]) -> Detections:
    """Read the subject's keypoints of these frames from MMPose's files, as ``folder.read_folder`` does."""
    return read_folder(PROGRAM, path, frames, sizes)
