"""Reader of keypoints in a CSV file of GaitGraph or GAF-Net: one row per frame, COCO-17, in pixels of the crop.

The header is required, since it defines the order of the keypoints::

    image_name,nose_x,nose_y,nose_conf,left_eye_x,left_eye_y,left_eye_conf,...,right_ankle_conf
    cam1_person001_00319.png,30.04,22.35,0.278,29.14,20.0,0.046,...,0.457

Frames without persons have no row. A keypoint with three empty fields was not detected. (GAF-Net's own reader drops the
whole frame if one field is empty. Here nothing is dropped.)
"""

import csv
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import numpy as np
from jaxtyping import Int
from tqdm import tqdm

from rgcn_jax.data.keypoints.detections import Detections, shown
from rgcn_jax.data.keypoints.people_list import PeopleList
from rgcn_jax.data.keypoints.skeletons import COCO
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.user_files import open_file

_PARTS = ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle")
_COCO17 = ["nose", *(f"{side}_{part}" for part in _PARTS for side in ("left", "right"))]


def read(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"], skeleton: str | None = None) -> Detections:
    """Read the keypoints of these frames; arguments as for ``formats.read``. The file contains their paths, or base
    names.

    Raises InputError for unusable rows, after reading the whole file.
    """
    if skeleton not in (None, COCO[17]):
        raise InputError(f"{path} names the columns of {COCO[17]} in its first line: leave out --skeleton={skeleton}.")
    people = PeopleList(path, COCO, COCO[17], "unknown", "Fix or drop these lines")
    lines: dict[str, int] = {}  # of a name
    try:
        with TextIOWrapper(open_file(path), encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            _check_header(path, next(reader, []))
            for name, *fields in tqdm(filter(None, reader), "poses", disable=None, leave=False):
                line = reader.line_num
                if lines.setdefault(name, line) != line:
                    people.problems.append(f"lines {lines[name]:,} and {line:,} are both of {shown(name)}")
                try:
                    people.add(f"line {line:,}", name, _numbers(fields))
                except ValueError as error:
                    people.problems.append(f"line {line:,} has a field that is not a number ({shown(error)})")
    except UnicodeDecodeError as error:
        raise InputError(f"The keypoint file {path} is not text in UTF-8 ({error.reason}): write it again.") from error
    except csv.Error as error:
        raise InputError(f"The keypoint file {path} is not CSV ({error}): write it again.") from error
    except OSError as error:
        raise InputError(f"The keypoint file {path} cannot be read ({error.strerror}).") from error
    return people.detections(frames, sizes)


def _check_header(path: Path, header: Sequence[str]) -> None:
    found = [name.strip().lower() for name in header]
    if found[1::3] != [f"{name}_x" for name in _COCO17] or found[2::3] != [f"{name}_y" for name in _COCO17]:
        raise InputError(
            f"The first line of {path} must name the columns of COCO's 17 keypoints in their order, image_name,nose_x,"
            f"nose_y,nose_conf,left_eye_x,...,right_ankle_conf; found {shown(','.join(header)) or 'nothing'}: add it "
            "if the columns are in this order."
        )


def _numbers(fields: Sequence[str]) -> list[float]:
    """Convert fields, where three empty ones stand for a keypoint that was not detected. Raises ValueError."""
    triples = [fields[i : i + 3] for i in range(0, len(fields), 3)]
    filled = [field for triple in triples for field in (triple if any(triple) else "0" * len(triple))]
    if "_" in "".join(filled):
        raise ValueError("with _")  # Python would accept 1_0 as 10
    return [float(field) for field in filled]
