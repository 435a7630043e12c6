"""Writing of a planned walkers data set: images, lists and annotations, and OpenPose files for every frame."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import cv2
import numpy as np
from jaxtyping import Float32, UInt8
from scipy.io import savemat
from tqdm import tqdm

from rgcn_jax.errors import InputError, as_input_error, needs_extra
from rgcn_jax.runtime.files import INCOMPLETE
from rgcn_jax.walkers.generation import Walkers
from rgcn_jax.walkers.layouts import LAYOUTS, Plan

OPENPOSE_FOLDER = "openpose"

# Index of each of the 14 keypoints in BODY_25, whose index 8 is the midpoint of the hips.
_BODY_25 = (0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14)
_MID_HIP, _RIGHT_HIP, _LEFT_HIP = 8, 9, 12


def openpose_people(keypoints: Float32[np.ndarray, "14 3"], height: int, width: int) -> dict:
    """OpenPose's JSON for one frame, BODY_25, in pixels of a crop of this size.

    ``keypoints``: x and y in normalised coordinates, and confidence; zeros where not detected. There is one person, or
    none if no keypoint was detected. MidHip is the midpoint of the hips if both were detected; eyes, ears and feet are
    zeros.
    """
    body = np.zeros((25, 3))
    body[list(_BODY_25)] = keypoints * (width, height, 1.0)
    hips = body[[_RIGHT_HIP, _LEFT_HIP]]
    if (hips[:, 2] > 0).all():
        body[_MID_HIP] = [*hips[:, :2].mean(axis=0), hips[:, 2].min()]
    rest = {f"{part}_keypoints_{d}d": [] for d in (2, 3) for part in ("face", "hand_left", "hand_right")}
    person = {"person_id": [-1], "pose_keypoints_2d": body.round(4).ravel().tolist(), "pose_keypoints_3d": [], **rest}
    return {"version": 1.3, "people": [person] if keypoints[:, 2].any() else []}


def _write_image(path: Path, image: UInt8[np.ndarray, "h w 3"]):
    path.parent.mkdir(parents=True, exist_ok=True)
    options = [cv2.IMWRITE_JPEG_QUALITY, 92] if path.suffix == ".jpg" else []
    if not cv2.imwrite(str(path), image[..., ::-1], options):
        raise InputError(f"the image {path} cannot be written: check that there is disk space.")


def _write_lists(root: Path, plan: Plan):
    for name, text in plan.texts.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text, encoding="ascii")
    for name, matrices in plan.matrices.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        savemat(root / name, dict(matrices))
    for name, matrices in plan.hdf5.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        _save_hdf5(root / name, matrices)


def _save_hdf5(path: Path, matrices: Mapping[str, np.ndarray]):
    """Write a file as MATLAB 7.3 does: HDF5 after a header of 512 bytes, with reversed axes."""
    with needs_extra("data", f"writing {path.name} needs h5py"):
        import h5py
    with h5py.File(path, "w", userblock_size=512) as file:
        for key, matrix in matrices.items():
            file[key] = matrix.T
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM")


def write(walkers: Walkers, root: Path, layout: str, image_height: int = 256, image_width: int = 128) -> int:
    """Write the data in a layout of ``LAYOUTS``, with OpenPose files under ``openpose/`` in the same folders as frames.

    Until the end a file in the folder marks it as incomplete, so that no data set is read from it. ``root`` must not
    exist or be empty; sizes are in pixels. Returns the number of images.

    Raises:
      InputError: the folder is not empty or cannot be written, or the data do not fit the layout.
      ValueError: the layout is unknown, or a size is not positive.
    """
    if layout not in LAYOUTS:
        raise ValueError(f"unknown layout {layout!r}: expected one of {', '.join(LAYOUTS)}.")
    plan = LAYOUTS[layout](walkers)
    images = 0
    with as_input_error(f"{root} cannot be written", "choose another --out"):
        root.mkdir(parents=True, exist_ok=True)
        if any(root.iterdir()):
            left = " (left by a killed command: delete it)" if (root / INCOMPLETE).exists() else ""
            raise InputError(
                f"the folder {root} is not empty{left}, and nothing in it is overwritten: choose a new folder."
            )
        (root / INCOMPLETE).touch()
        for tracklet, names in tqdm(plan.files, desc="tracklets", unit="tracklet", disable=None):
            crops = walkers.frames(tracklet, image_height, image_width)
            for name, crop, keypoints in zip(names, crops, walkers.keypoints(tracklet), strict=True):
                _write_image(root / name, crop)
                path = PurePosixPath(OPENPOSE_FOLDER) / name
                file = root / path.with_name(f"{path.stem}_keypoints.json")
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(json.dumps(openpose_people(keypoints, image_height, image_width)), encoding="ascii")
            images += len(names)
        _write_lists(root, plan)
        (root / INCOMPLETE).unlink()
    return images
