"""Reader of keypoint arrays in an ``.npz`` file, for detectors called from Python (RTMPose, ViTPose, BlazePose).

Arrays of the file:

- ``names`` [N], text: paths of the frames relative to the root, or base names.
- ``keypoints`` [N, V, 3]: x, y and confidence of the subject; zeros if no person was found.
- ``skeleton``, text, optional: name of the skeleton, such as "h36m17". By default V determines it: 17 COCO, 25 or 18
  OpenPose, 26 Halpe, 133 COCO-WholeBody, 33 BlazePose, 14 this project's own.
- ``units``, text, optional: "pixels" of the crop (the default), or "shares" ("normalised"): fractions of its width and
  height. It is required for BlazePose, since MediaPipe provides both.

Example::

    np.savez("poses.npz", names=names, keypoints=keypoints, units="shares", skeleton="blazepose33")
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, Real

from rgcn_jax.data.datasets.absent import difference, nearest
from rgcn_jax.data.keypoints import names as frame_names
from rgcn_jax.data.keypoints import skeletons
from rgcn_jax.data.keypoints.anatomy import sample
from rgcn_jax.data.keypoints.detections import Detections, others, shown
from rgcn_jax.data.keypoints.numbers import LARGEST
from rgcn_jax.data.keypoints.skeletons import ARRAYS
from rgcn_jax.errors import InputError
from rgcn_jax.runtime import npz
from rgcn_jax.skeleton import SKELETONS, to_14

UNITS = {"pixels": "pixels", "shares": "normalised", "normalised": "normalised"}
"""Values of ``units`` -> values of ``coordinates.UNITS``."""


def read(
    path: Path,
    frames: Sequence[str],
    sizes: Int[np.ndarray, "#n 2"],
    skeleton: str | None = None,
    units: str | None = None,
) -> Detections:
    """Read the keypoints of these frames; arguments as for ``formats.read``, ``sizes`` for normalised coordinates.

    Raises InputError if the file is damaged or has other contents, contradicts the named skeleton or units, or lacks a
    frame.
    """
    arrays = open_arrays(path)
    named = skeleton or _skeleton(path, arrays)
    names, keypoints = names_and_keypoints(path, arrays, named)
    skeleton_found = named or ARRAYS[keypoints.shape[1]]
    found_units = _units(path, arrays, skeleton_found, units)
    scale = None
    if found_units == "normalised":
        scale = np.concatenate([sizes[:, ::-1], np.ones((len(sizes), 1))], axis=1)[:, None]
    found = detections_of(path, names, keypoints, frames, skeleton_found, named is not None, scale)
    return found._replace(units=found_units)


def _units(path: Path, arrays: Mapping[str, np.ndarray], skeleton: str, named: str | None) -> str:
    units = arrays.get("units")
    if units is not None and (units.ndim or units.item() not in UNITS):
        raise InputError(f'{path}: units must be "pixels" or "shares", found {shown(units)}.')
    if units is not None and named is not None and UNITS[units.item()] != named:
        raise InputError(f"{path} has the units {units.item()!r}: leave out --units={named}.")
    if units is None and named is None and skeleton == "blazepose33":
        raise InputError(
            f"{path} holds BlazePose's 33 keypoints without saying in which units: MediaPipe's pose_landmarks are "
            'shares of width and height. Add units="shares", or units="pixels" if they were multiplied, to the file, '
            "or convert it with --units=normalised or --units=pixels."
        )
    return named or (UNITS[units.item()] if units is not None else "pixels")


def _skeleton(path: Path, arrays: Mapping[str, np.ndarray]) -> str | None:
    text = arrays.get("skeleton")
    if text is None:
        return None
    try:
        return skeletons.find(str(text.item()) if text.ndim == 0 else shown(text))
    except InputError as error:
        raise InputError(f"{path}: its skeleton {error}.") from error


def open_arrays(path: Path) -> Mapping[str, np.ndarray]:
    """Return the arrays ``names`` and ``keypoints`` of an ``.npz`` file, and ``header``, ``units`` and ``skeleton``, if
    present.

    Raises:
      InputError: it is not such a file, is truncated or damaged, or its arrays would not fit in memory.
    """
    try:
        arrays, there = npz.read_arrays(path, ("header", "names", "keypoints", "units", "skeleton"))
    except (OSError, ValueError) as error:
        raise InputError(
            f"The keypoint store {path} cannot be read ({error}), it may be cut off: write it again."
        ) from error
    if not {"names", "keypoints"} <= set(arrays):
        found = ", ".join(map(shown, there)) or "nothing"
        raise InputError(f"The keypoint store {path} must hold names and keypoints, found {found}.")
    return arrays


def names_and_keypoints(
    path: Path, arrays: Mapping[str, np.ndarray], skeleton: str | None = None
) -> tuple[list[str], Real[np.ndarray, "n v 3"]]:
    """Return the distinct names and the keypoints of such a file, with validated shapes and types.

    ``skeleton``: required skeleton; None: one of ``ARRAYS``.
    """
    sizes = sorted(ARRAYS) if skeleton is None else [SKELETONS[skeleton]]
    names, keypoints = arrays["names"], arrays["keypoints"]
    right = (
        names.ndim == 1
        and names.dtype.kind == "U"
        and keypoints.dtype.kind in "fiu"
        and keypoints.ndim == 3
        and (len(keypoints), keypoints.shape[2]) == (len(names), 3)
        and keypoints.shape[1] in sizes
    )
    if not right:
        raise InputError(
            f"The keypoint store {path} must hold names [N], text, and keypoints [N, V, 3], numbers, with V one of "
            f"{', '.join(map(str, sizes))}; found names {list(names.shape)} of {names.dtype} and keypoints "
            f"{list(keypoints.shape)} of {keypoints.dtype}"
            f"{skeletons.advice(3 * keypoints.shape[1], skeleton) if keypoints.ndim == 3 else ''}."
        )
    try:
        texts = names.tolist()
    except (ValueError, SystemError) as error:  # an invalid code point
        raise InputError(f"The keypoint store {path} has names that are not text: write it again.") from error
    if len(set(texts)) < len(texts):
        seen: set[str] = set()
        twice = next(name for name in texts if name in seen or seen.add(name))
        raise InputError(f"{path}: the frame {shown(twice)} is in it twice: write the keypoint store again.")
    return texts, keypoints


def detections_of(
    path: Path,
    names: Sequence[str],
    keypoints: Real[np.ndarray, "m v 3"],
    frames: Sequence[str],
    skeleton: str,
    named: bool,
    scale: Float[np.ndarray, "#n 1 3"] | None = None,
) -> Detections:
    """The keypoints of these frames, multiplied by ``scale``. All frames must be in the file, with finite values.

    ``named``: whether the file or the user names the skeleton.
    """
    rows = {name: row for row, name in enumerate(names)}
    wanted = frame_names.match(path, names, frames)
    absent = [i for i, name in enumerate(wanted.names) if name not in rows]
    if absent:
        looked_for = wanted.names[absent[0]]
        raise InputError(
            f"Keypoints are missing in {path} for {len(absent):,} of the {len(frames):,} frames; the first is "
            f"{frames[absent[0]]}, looked for as {looked_for}, while the store has names like "
            f"{shown(names[0]) if names else '(none)'}; nearest: "
            f"{difference(looked_for, nearest(looked_for, names))}: add these frames, with "
            "zeros where nobody was found.",
            [f"{frames[i]} has no keypoints" for i in absent],
        )
    with np.errstate(over="ignore"):  # overflow becomes infinite, which is reported below
        chosen = keypoints[[rows[name] for name in wanted.names]].astype(np.float32)
    wrong = np.flatnonzero(~np.all((chosen >= -LARGEST) & (chosen <= LARGEST), axis=(1, 2)))
    if len(wrong):
        raise InputError(
            f"{path}: the keypoints of {len(wrong):,} of the {len(frames):,} frames have a number that is not finite "
            f"or above 1e6; the first is {frames[wrong[0]]}: write zeros where a keypoint was not found.",
            [f"{frames[i]} has a number that is not finite or above 1e6" for i in wrong.tolist()],
        )
    people = chosen if scale is None else (chosen * scale).astype(np.float32)
    return Detections(
        to_14(people, skeleton),
        np.ones(len(frames), bool),
        skeleton,
        others(names, wanted.names),
        sample=sample(people[people[..., 2].any(axis=1)], skeleton, named),
        remarks=wanted.remarks,
    )
