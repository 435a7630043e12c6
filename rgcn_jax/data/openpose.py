"""A folder of OpenPose files (BODY_25 or COCO-18, one JSON file a frame) in, the 14 keypoints of each frame out."""

import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from jaxtyping import Float, Float32, Int
from tqdm import tqdm

from rgcn_jax.skeleton import to_14
from rgcn_jax.types import InputError

SUFFIX = "_keypoints.json"
_OPENPOSE = {75: "openpose_body25", 54: "openpose_coco18"}
_OTHERS = {
    42: "14 keypoints",
    45: "OpenPose's MPI, 15 keypoints",
    48: "MPII, 16 keypoints",
    51: "COCO-17, as AlphaPose writes it",
    63: "a hand, 21 keypoints",
    78: "Halpe-26",
    99: "BlazePose, 33 keypoints",
    210: "a face, 70 keypoints",
    399: "COCO-WholeBody, 133 keypoints",
    405: "OpenPose's BODY_135",
}
LARGEST = 1e6  # no pixel coordinate and no confidence is larger than this
_CHUNK = 512  # files that a thread reads at a time
_SHOWN = 3  # bad files that a message names


def read_folder(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]) -> Float32[np.ndarray, "n 14 3"]:
    """Read the subject's keypoints of these frames: x and y in pixels of the crop, confidence; zeros where nobody is.

    Args:
      path: the folder, flat or with the folders of the frames, as ``keypoints.load`` describes it.
      frames: paths relative to the data set's root, each once.
      sizes: height and width of the crop in pixels, of each frame or one for all.

    Raises:
      InputError: frames have no file, or files cannot be used; all are read before the bad ones are reported.
    """
    files = _find_files(path, frames)
    heights_widths = np.broadcast_to(sizes, (len(files), 2)).tolist()
    starts = range(0, len(files), _CHUNK)
    chunks = [(files[s : s + _CHUNK], heights_widths[s : s + _CHUNK]) for s in starts]
    problems: list[str] = []
    skeletons: dict[str, str] = {}
    pixels = np.zeros((len(files), 14, 3), np.float32)
    # Threads hide the latency of a disk or a network; the parsing itself takes one core.
    with ThreadPoolExecutor(4) as pool:
        done = pool.map(lambda chunk: _read_chunk(path, *chunk), chunks)
        progress = tqdm(done, "keypoints", len(chunks), disable=None, leave=False)
        for start, (part, bad, seen) in zip(starts, progress, strict=True):
            pixels[start : start + len(part)] = part
            problems += bad
            skeletons = seen | skeletons
    if problems:
        more = f"; and {len(problems) - _SHOWN:,} more" if len(problems) > _SHOWN else ""
        raise InputError(
            f"{len(problems):,} of the {len(files):,} keypoint files in {path} cannot be used: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Run OpenPose (BODY_25 or COCO) again on these frames."
        )
    if len(skeletons) > 1:
        found = " and ".join(f"{file} is {source}" for source, file in sorted(skeletons.items()))
        raise InputError(f"{path} mixes skeletons: {found}. Run OpenPose with one model on all frames.")
    return pixels


def parse_openpose(text: bytes) -> Float32[np.ndarray, "p v 3"]:
    """The p people of one OpenPose file, with v = 25 (BODY_25) or 18 (COCO) keypoints: x, y, confidence as they stand.

    p may be 0. Raises InputError, whose message is the reason alone, without the file's name.
    """
    if not text:
        raise InputError("is empty, zero bytes")
    try:
        contents = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"is not JSON or is cut off: {error}") from error
    people = contents.get("people") if isinstance(contents, dict) else None
    if not isinstance(people, list):
        raise InputError('has no list "people", so OpenPose did not write it')
    rows = []
    for person in people:
        numbers = person.get("pose_keypoints_2d") if isinstance(person, dict) else None
        if not isinstance(numbers, list):
            raise InputError('has a person without a list "pose_keypoints_2d"')
        if len(numbers) not in _OPENPOSE:
            looks = f" (that is {_OTHERS[len(numbers)]})" if len(numbers) in _OTHERS else ""
            raise InputError(f"has {len(numbers)} numbers a person{looks}, expected 75 (BODY_25) or 54 (COCO-18)")
        if set(map(type, numbers)) - {int, float}:
            raise InputError("has something other than numbers among the keypoints")
        rows.append(numbers)
    if len(set(map(len, rows))) > 1:
        raise InputError("has people of different skeletons")
    try:
        values = np.array(rows, np.float64)
    except OverflowError:
        values = np.array(np.inf)
    if not np.all(np.abs(values) <= LARGEST):
        raise InputError("has a number that is not finite or above 1e6")
    return values.reshape(len(rows), len(rows[0]) // 3 if rows else 25, 3).astype(np.float32)


def choose_subject(people: Float[np.ndarray, "p 14 3"], height: int, width: int) -> int:
    """Which of several people a crop is of: the index of the one with the highest score, the first one among equals.

    The score is the sum over the keypoints inside the crop of confidence * (1 - |2 x / width - 1|): a keypoint counts
    fully on the vertical middle line and not at all at the left and right border. Bystanders are cut off by the border,
    so they have fewer keypoints, and these off the middle. (Decision: the paper does not say how it chose.)

    Args:
      people: x and y in pixels, confidence; at least one person.
      height: height of the crop in pixels.
      width: width of the crop in pixels.
    """
    x, y, confidence = np.moveaxis(people, -1, 0)
    inside = (x >= 0) & (x <= width) & (y >= 0) & (y <= height) & (confidence > 0)
    return int(np.argmax(np.sum(np.where(inside, confidence * (1 - np.abs(2 * x / width - 1)), 0.0), axis=1)))


def _find_files(path: Path, frames: Sequence[str]) -> list[str]:
    """For each frame its file relative to the path. Folders are listed once each; no file is touched by itself."""
    listed = os.listdir(path)
    if not listed:
        raise InputError(f"The keypoint folder {path} is empty: expected OpenPose files (*{SUFFIX}) in it.")
    stems = [frame.rpartition(".")[0] for frame in frames]
    mirrored = [stem + SUFFIX for stem in stems]
    flat = [file.rpartition("/")[2] for file in mirrored]
    files = flat if any(name.endswith(SUFFIX) for name in listed) else mirrored
    if files is flat and len(set(flat)) < len(flat):
        first: dict[str, int] = {}
        i, j = next((first[f], j) for j, f in enumerate(flat) if first.setdefault(f, j) != j)
        raise InputError(
            f"{path} cannot hold the keypoints of both {frames[i]} and {frames[j]} in {flat[i]}: keep the files in the "
            f"folders of the frames ({mirrored[i]})."
        )
    folders = {file.rpartition("/")[0] for file in files}
    present = {
        f"{folder}/{name}" if folder else name
        for folder in folders
        if (path / folder).is_dir()
        for name in os.listdir(path / folder)
    }
    absent = [i for i, file in enumerate(files) if file not in present]
    if len(absent) == len(files):
        raise InputError(
            f"{path} has no keypoints for any of the {len(files):,} frames: expected {path / flat[0]} or "
            f"{path / mirrored[0]}, found {sorted(listed)[0]}; give the folder that OpenPose wrote to."
        )
    if absent:
        raise InputError(
            f"Keypoints are missing for {len(absent):,} of the {len(files):,} frames; the first is {frames[absent[0]]} "
            f"(no file {path / files[absent[0]]}): run OpenPose on these frames too; where it finds nobody it writes a "
            "file with an empty list."
        )
    return files


def _read_chunk(
    path: Path, files: Sequence[str], sizes: Sequence[tuple[int, int] | list[int]]
) -> tuple[Float32[np.ndarray, "n 14 3"], list[str], dict[str, str]]:
    """Keypoints of some files, what is wrong with which of them, and each skeleton met with a file that has it."""
    problems: list[str] = []
    skeletons: dict[str, str] = {}
    subjects: dict[str, list[tuple[int, np.ndarray]]] = {}
    for i, (file, (height, width)) in enumerate(zip(files, sizes, strict=True)):
        try:
            with open(path / file, "rb") as handle:
                people = parse_openpose(handle.read())
        except InputError as error:
            problems.append(f"{file} {error}")
            continue
        except OSError as error:
            problems.append(f"{file} cannot be read ({error.strerror})")
            continue
        if len(people) == 0:
            continue
        source = _OPENPOSE[3 * people.shape[1]]
        skeletons.setdefault(source, file)
        subject = choose_subject(to_14(people, source), height, width) if len(people) > 1 else 0
        subjects.setdefault(source, []).append((i, people[subject]))
    pixels = np.zeros((len(files), 14, 3), np.float32)
    for source, found in subjects.items():
        pixels[[i for i, _ in found]] = to_14(np.stack([person for _, person in found]), source)
    return pixels, problems, skeletons
