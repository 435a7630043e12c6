"""Reader and writer of OpenPose folders: one JSON file per frame, BODY_25 or COCO-18, in pixels of the crop.

Run OpenPose with ``--keypoint_scale 0``. A file is ``<frame's stem>_keypoints.json``::

    {"version": 1.3, "people": [{"pose_keypoints_2d": [x, y, confidence, x, y, ...]}, ...]}

Before version 1.2 the key was ``pose_keypoints``. BODY_25B (``--model_pose BODY_25B``) has 25 keypoints in another
order, which the file does not state: set ``--skeleton=body25b``.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from tqdm import tqdm

from rgcn_jax.data.keypoints.detections import shown
from rgcn_jax.data.keypoints.frame_files import People, Program
from rgcn_jax.data.keypoints.numbers import check_numbers, parse_json, people_array
from rgcn_jax.data.keypoints.skeletons import OPENPOSE, advice, expected
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.files import atomic_folder, writing
from rgcn_jax.skeleton import to_14

SUFFIX = "_keypoints.json"
_MID_HIP, _RIGHT_HIP, _LEFT_HIP = 8, 9, 12  # of BODY_25


def parse_openpose(text: bytes, skeleton: str | None = None) -> People:
    """Parse the persons of one OpenPose file, with 25 (BODY_25) or 18 (COCO) keypoints: x, y, confidence as stored.

    There may be none. Raises InputError with the reason only, without the file's name.

    Args:
      text: contents of the file.
      skeleton: a key of ``SKELETONS`` named by the user; None: by the number of keypoints.
    """
    known = expected(OPENPOSE, skeleton)
    contents = parse_json(text)
    people = contents.get("people") if isinstance(contents, dict) else None
    if not isinstance(people, list):
        raise InputError('has no list "people", so OpenPose did not write it')
    rows = []
    for person in people:
        numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        if numbers is None and isinstance(person, dict):
            numbers = person.get("pose_keypoints") or None
        if not isinstance(numbers, list):
            raise InputError('has a person without a list "pose_keypoints_2d"')
        if len(numbers) % 3 or len(numbers) // 3 not in known:
            wanted = "75 (BODY_25) or 54 (COCO-18)" if skeleton is None else f"{3 * min(known)} ({skeleton})"
            raise InputError(f"has {len(numbers)} numbers a person, expected {wanted}{advice(len(numbers), skeleton)}")
        check_numbers(numbers)
        rows.append(numbers)
    people = people_array(rows)
    return People(people, known.get(people.shape[1], ""), skeleton is not None)


PROGRAM = Program("OpenPose", "BODY_25 or COCO", SUFFIX, parse_openpose)


def write_folder(path: Path, frames: Sequence[str], pixels: Float32[np.ndarray, "n 14 3"]) -> None:
    """Write keypoints as OpenPose's files, BODY_25, in the folders of the frames, atomically.

    Reading them returns the same values. A frame without keypoints gets an empty list of persons. The midpoint of the
    hips is written if both are detected. Eyes, ears and feet, which the 14 keypoints lack, are zeros.

    Args:
      path: a folder that does not exist.
      frames: distinct paths relative to the data set's root.
      pixels: x and y in pixels of the crop, and confidence; (0, 0, 0) if not detected.

    Raises:
      InputError: the path already exists or cannot be written, or a frame would be outside of it.
    """
    if path.exists():
        raise InputError(f"{path} is there already: give a folder that is not, nothing is overwritten.")
    if not path.parent.is_dir():
        raise InputError(f"{path} cannot be written: there is no folder {path.parent}, make it first.")
    outside = [frame for frame in frames if frame.startswith("/") or ".." in frame.split("/")]
    if outside:
        raise InputError(f"{shown(outside[0])} would lie outside of {path}: frames must be relative to the root.")
    folders = {frame.rpartition("/")[0] for frame in frames}
    with writing(path), atomic_folder(path) as part:
        for folder in sorted(folders):
            (part / folder).mkdir(parents=True, exist_ok=True)
        for frame, body in zip(tqdm(frames, "OpenPose files", disable=None, leave=False), pixels, strict=True):
            file = part / (frame.rpartition(".")[0] + SUFFIX)
            file.write_text(json.dumps(_contents(body)), encoding="ascii")


def _body25_order() -> list[int]:
    """Index in BODY_25 of each of the 14 keypoints, computed by ``to_14`` from keypoints that carry their index."""
    indices = np.arange(25, dtype=np.float64)
    return to_14(np.stack([indices, indices, np.ones(25)], axis=-1), "openpose_body25")[:, 0].astype(int).tolist()


def _contents(pixels: Float32[np.ndarray, "14 3"]) -> dict:
    body = np.zeros((25, 3), np.float32)
    body[_body25_order()] = pixels
    hips = body[[_RIGHT_HIP, _LEFT_HIP]]
    if (hips[:, 2] > 0).all():
        body[_MID_HIP] = [*hips[:, :2].mean(axis=0), hips[:, 2].min()]
    # The fewest digits that round-trip to the same float32.
    numbers = [float(str(number)) for number in body.ravel()]
    return {"version": 1.3, "people": [{"pose_keypoints_2d": numbers}] if pixels[:, 2].any() else []}
