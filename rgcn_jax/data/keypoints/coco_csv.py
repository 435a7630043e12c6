"""Reader of keypoints in a CSV file of GaitGraph or GAF-Net: one row per frame, COCO-17, in pixels of the crop.

The header is required, since it defines the order of the keypoints::

    image_name,nose_x,nose_y,nose_conf,left_eye_x,left_eye_y,left_eye_conf,...,right_ankle_conf
    cam1_person001_00319.png,30.04,22.35,0.278,29.14,20.0,0.046,...,0.457

Frames without persons have no row. A keypoint with three empty fields was not detected. (GAF-Net's own reader drops the
whole frame if one field is empty. Here nothing is dropped.)
"""

import csv
from collections.abc import Iterator, Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from rgcn_jax.data.keypoints.anatomy import sample
from rgcn_jax.data.keypoints.detections import Detections, others, shown
from rgcn_jax.data.keypoints.names import match
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.skeletons import COCO
from rgcn_jax.errors import InputError, listed
from rgcn_jax.runtime.user_files import open_file
from rgcn_jax.skeleton import to_14

_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO17 = ["nose", *(f"{side}_{part}" for part in _PARTS for side in ("left", "right"))]


def read(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None) -> Detections:
    """Read the keypoints of these frames; arguments as for ``formats.read``. The file contains their paths, or base
    names.

    Raises InputError for unusable rows, after reading the whole file.
    """
    del sizes
    if skeleton not in (None, COCO[17]):
        raise InputError(f"{path} names the columns of {COCO[17]} in its first line: leave out --skeleton={skeleton}.")
    names: dict[str, int] = {}  # name -> line
    rows: list[np.ndarray] = []
    problems: list[str] = []
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            _check_header(path, next(reader, []))
            for row in tqdm(_not_empty(reader), "poses", disable=None, leave=False):
                try:
                    rows.append(_keypoints(row[1:]))
                except InputError as error:
                    problems.append(f"line {reader.line_num:,} {error}")
                    continue
                if names.setdefault(row[0], reader.line_num) != reader.line_num:
                    problems.append(f"lines {names[row[0]]:,} and {reader.line_num:,} are both of {shown(row[0])}")
    except UnicodeDecodeError as error:
        raise InputError(f"The keypoint file {path} is not text in UTF-8 ({error.reason}): write it again.") from error
    except csv.Error as error:
        raise InputError(f"The keypoint file {path} is not CSV ({error}): write it again.") from error
    except OSError as error:
        raise InputError(f"The keypoint file {path} cannot be read ({error.strerror}).") from error
    if problems:
        raise InputError(
            f"{len(problems):,} lines of the keypoint file {path} cannot be used: {listed(problems, separator='; ')}. "
            "Fix or drop them.",
            problems,
        )
    wanted, remark = match(path, names, frames)
    row = {name: i for i, name in enumerate(names)}
    index = np.array([row.get(name, -1) for name in wanted], int)
    pixels = np.zeros((len(frames), 14, 3), np.float32)
    some = None
    if rows:
        people = np.stack(rows)[index[index >= 0]]
        pixels[index >= 0], some = to_14(people, COCO[17]), sample(people, COCO[17], named=True)
    return Detections(
        pixels,
        index >= 0,
        COCO[17] if rows else "",
        others(names, wanted),
        sample=some,
        remarks=(remark,) if remark else (),
    )


def _check_header(path: Path, header: Sequence[str]) -> None:
    found = [name.strip().lower() for name in header]
    if found[1::3] != [f"{name}_x" for name in _COCO17] or found[2::3] != [f"{name}_y" for name in _COCO17]:
        raise InputError(
            f"The first line of {path} must name the columns of COCO's 17 keypoints in their order, image_name,nose_x,"
            f"nose_y,nose_conf,left_eye_x,...,right_ankle_conf; found {shown(','.join(header)) or 'nothing'}: add it "
            "if the columns are in this order."
        )


def _not_empty(reader: Iterator[list[str]]) -> Iterator[list[str]]:
    return (row for row in reader if row)


def _keypoints(fields: Sequence[str]) -> np.ndarray:
    if len(fields) != 51:
        raise InputError(f"has {len(fields)} fields after the name, expected 51 (x, y, confidence of 17 keypoints)")
    filled = list(fields)
    for i in range(0, 51, 3):
        if not any(fields[i : i + 3]):
            filled[i : i + 3] = "000"
    if "_" in "".join(filled):
        raise InputError("has a field that is not a number")  # Python would accept 1_0 as 10
    try:
        values = np.array([float(field) for field in filled])
    except ValueError as error:
        raise InputError(f"has a field that is not a number ({shown(error)})") from error
    if not np.all(np.abs(values) <= LARGEST):
        raise InputError("has a number that is not finite or above 1e6")
    return values.reshape(17, 3).astype(np.float32)
