"""Keypoints as arrays in one ``.npz`` file, for a detector that is called from Python (RTMPose, ViTPose, BlazePose).

``names`` [N], text: paths of the frames relative to the root, or their base names. ``keypoints`` [N, V, 3]: x, y and
confidence of the subject; zeros where nobody was found. V tells the skeleton: 17 COCO, 25 or 18 OpenPose, 26 Halpe, 133
COCO-WholeBody, 33 BlazePose, 14 this project's own. ``units``, a text: "pixels" of the crop (the default) or "shares"
of its width and height; BlazePose must say, because MediaPipe gives both::

    np.savez("poses.npz", names=names, keypoints=keypoints, units="shares")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int, Real

from rgcn_jax.data.keypoints.detections import Detections, names_wanted, others, shown
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.skeletons import ARRAYS, convert
from rgcn_jax.errors import InputError
from rgcn_jax.runtime import npz

UNITS = ("pixels", "shares")


def read(path: Path, frames: Sequence[str], sizes: Int[np.ndarray, "#n 2"]) -> Detections:
    """Read the keypoints of these frames.

    Args:
      path: the file.
      frames: paths relative to the data set's root, each once.
      sizes: height and width of the crop in pixels, of each frame or one for all; needed for shares.

    Raises:
      InputError: the file is damaged or holds something else, or a frame is not in it.
    """
    arrays = open_arrays(path)
    names, keypoints = names_and_keypoints(path, arrays)
    skeleton = ARRAYS[keypoints.shape[1]]
    units = arrays.get("units")
    if units is not None and (units.ndim or units.item() not in UNITS):
        raise InputError(f'{path}: units must be "pixels" or "shares", found {shown(units)}.')
    if units is None and skeleton == "blazepose33":
        raise InputError(
            f"{path} holds BlazePose's 33 keypoints without saying in which units: MediaPipe's pose_landmarks are "
            'shares of width and height. Add units="shares", or units="pixels" if they were multiplied, to the file.'
        )
    chosen = rows_of(path, names, keypoints, frames)
    if units is not None and units.item() == "shares":
        chosen = chosen * np.concatenate([sizes[:, ::-1], np.ones((len(sizes), 1))], axis=1)[:, None]
    pixels = convert(chosen.astype(np.float32), skeleton)
    return Detections(pixels, np.ones(len(frames), bool), skeleton, others(names, names_wanted(path, names, frames)))


def open_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """The arrays ``names`` and ``keypoints`` of an ``.npz`` file, and ``header`` and ``units`` where they are there.

    Raises:
      InputError: it is not such a file, it is cut off or damaged, or its arrays would not fit in memory.
    """
    try:
        arrays, there = npz.read_arrays(path, ("header", "names", "keypoints", "units"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The keypoint store {path} cannot be read ({error}), it may be cut off: write it again."
        ) from error
    if not {"names", "keypoints"} <= set(arrays):
        found = ", ".join(map(shown, there)) or "nothing"
        raise InputError(f"The keypoint store {path} must hold names and keypoints, found {found}.")
    return arrays


def names_and_keypoints(path: Path, arrays: Mapping[str, np.ndarray]) -> tuple[list[str], Real[np.ndarray, "n v 3"]]:
    """The names, each once, and the keypoints of such a file; their shapes and types are checked."""
    names, keypoints = arrays["names"], arrays["keypoints"]
    right = (
        names.ndim == 1
        and names.dtype.kind == "U"
        and keypoints.dtype.kind in "fiu"
        and keypoints.ndim == 3
        and (len(keypoints), keypoints.shape[2]) == (len(names), 3)
        and keypoints.shape[1] in ARRAYS
    )
    if not right:
        raise InputError(
            f"The keypoint store {path} must hold names [N], text, and keypoints [N, V, 3], numbers, with V one of "
            f"{', '.join(map(str, sorted(ARRAYS)))}; found names {list(names.shape)} of {names.dtype} and keypoints "
            f"{list(keypoints.shape)} of {keypoints.dtype}."
        )
    try:
        texts = names.tolist()
    except (ValueError, SystemError) as error:  # a number that is no character
        raise InputError(f"The keypoint store {path} has names that are not text: write it again.") from error
    if len(set(texts)) < len(texts):
        seen: set[str] = set()
        twice = next(name for name in texts if name in seen or seen.add(name))
        raise InputError(f"{path}: the frame {shown(twice)} is in it twice: write the keypoint store again.")
    return texts, keypoints


def rows_of(
    path: Path, names: Sequence[str], keypoints: Real[np.ndarray, "m v 3"], frames: Sequence[str]
) -> Float32[np.ndarray, "n v 3"]:
    """The keypoints of these frames, all of which must be there, with finite numbers."""
    rows = {name: row for row, name in enumerate(names)}
    wanted = names_wanted(path, names, frames)
    absent = [i for i, name in enumerate(wanted) if name not in rows]
    if absent:
        raise InputError(
            f"Keypoints are missing in {path} for {len(absent):,} of the {len(frames):,} frames; the first is "
            f"{frames[absent[0]]}, looked for as {wanted[absent[0]]}, while the store has names like "
            f"{shown(names[0]) if names else '(none)'}: add these frames, with zeros where nobody was found.",
            [f"{frames[i]} has no keypoints" for i in absent],
        )
    with np.errstate(over="ignore"):  # becomes infinite, which is told below
        chosen = keypoints[[rows[name] for name in wanted]].astype(np.float32)
    wrong = np.flatnonzero(~np.all((chosen >= -LARGEST) & (chosen <= LARGEST), axis=(1, 2)))
    if len(wrong):
        raise InputError(
            f"{path}: the keypoints of {len(wrong):,} of the {len(frames):,} frames have a number that is not finite "
            f"or above 1e6; the first is {frames[wrong[0]]}: write zeros where a keypoint was not found.",
            [f"{frames[i]} has a number that is not finite or above 1e6" for i in wrong.tolist()],
        )
    return chosen
