"""Anatomical plausibility check: whether the keypoints of a source are persons in the assumed skeleton.

The number of keypoints does not determine the skeleton, and coverage does not reveal a wrong one. For example, H36M-17
read as COCO-17 has the knees at the shoulders. In a data set, most persons stand or walk. Then nearly all bodies (at
least 99 % of real and synthetic crops) satisfy these statements:

- The head is above the neck.
- The shoulders are above the hips, the hips above the knees, and the knees above the ankles.
- Left and right are on the same sides at the shoulders and at the hips.
- The neck is near the midpoint of the shoulders.

In addition, the median lengths of the limbs are in proportion to the torso.
"""

import os
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

from rgcn_jax.data.keypoints.skeletons import of_size
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import KEYPOINTS, SKELETONS, to_14

SAMPLE = 2000
"""Approximate number of bodies sampled for the test."""

LEAST_BODIES = 10
"""Minimum number of bodies for a conclusion."""

_WORDS = [keypoint.replace("_", " ") for keypoint in KEYPOINTS]
_ABOVE = ((0, 1), (2, 8), (5, 11), (8, 9), (9, 10), (11, 12), (12, 13))
_LIMBS = ((2, 3), (3, 4), (5, 6), (6, 7), (8, 9), (9, 10), (11, 12), (12, 13))
_PROPORTION = (0.1, 2.0)  # range of a limb's median length relative to the torso's; real ones are 0.4 to 0.8
_FITS, _CLEAR = 0.5, 0.8  # fraction of the bodies for which a statement must hold: to fit at all, and without a remark


class Sample(NamedTuple):
    """Sampled bodies of a source, x and y in pixels.

    ``skeleton``: their assumed skeleton, a key of ``SKELETONS`` with V keypoints. ``named``: whether the file or the
    user states it; otherwise it follows from the number of keypoints.
    """

    people: Float32[np.ndarray, "n v 3"]
    skeleton: str
    named: bool


def sample(people: Float32[np.ndarray, "n v 3"], skeleton: str, named: bool) -> Sample:
    """Sample persons at even intervals."""
    return Sample(people[:: max(len(people) // SAMPLE, 1)][: 2 * SAMPLE], skeleton, named)


class Fit(NamedTuple):
    """How well bodies fit a skeleton.

    ``worst``: fraction of bodies for which the least satisfied statement holds. ``mean``: the same averaged over
    statements. ``broken``: statements that hold for less than half of the bodies.
    """

    worst: float
    mean: float
    broken: tuple[str, ...]


def measure(bodies: Float[np.ndarray, "n 14 3"]) -> Fit | None:
    """Measure how well bodies fit the 14 keypoints, with x and y in equal units. Returns None if there are too few."""
    there = bodies[..., 2] > 0
    y = bodies[..., 1].astype(np.float64)
    shares: dict[str, float] = {}

    def note(sentence: str, holds: Bool[np.ndarray, "m"]) -> None:
        if len(holds) >= LEAST_BODIES:
            shares[sentence] = float(holds.mean())

    for a, b in _ABOVE:
        both = there[:, a] & there[:, b]
        note(f"the {_WORDS[a]} is above the {_WORDS[b]}", y[both, a] < y[both, b])
    trunk = there[:, [1, 2, 5, 8, 11]].all(axis=1)
    points = bodies[trunk, :, :2].astype(np.float64)
    shoulders, hips = points[:, [2, 5]].mean(axis=1), points[:, [8, 11]].mean(axis=1)
    torso = np.linalg.norm(shoulders - hips, axis=1)
    width = np.linalg.norm(points[:, 2] - points[:, 5], axis=1)
    off = np.linalg.norm(points[:, 1] - shoulders, axis=1)
    note("the neck is near the shoulders", off <= np.maximum(torso, width) / 2)
    across = (points[:, 5, 0] - points[:, 2, 0], points[:, 11, 0] - points[:, 8, 0])
    wide = (np.abs(across[0]) > torso / 8) & (np.abs(across[1]) > torso / 8)
    note("shoulders and hips have left and right on the same sides", (across[0] * across[1] > 0)[wide])
    for a, b in _LIMBS:
        both = there[trunk][:, [a, b]].all(axis=1) & (torso > 0)
        if np.count_nonzero(both) >= LEAST_BODIES:
            median = np.median(np.linalg.norm(points[both, a] - points[both, b], axis=1) / torso[both])
            name = f"the distance of {_WORDS[a]} and {_WORDS[b]} is in proportion to the torso"
            shares[name] = float(_PROPORTION[0] <= median <= _PROPORTION[1])
    if not any(" above " in sentence for sentence in shares):
        return None
    broken = tuple(sentence for sentence, share in shares.items() if share < _FITS)
    return Fit(min(shares.values()), float(np.mean(list(shares.values()))), broken)


def check(path: str | os.PathLike[str], bodies: Sample) -> list[str]:
    """Test bodies in the source's format against the assumed skeleton.

    Args:
      path: the source, for messages.
      bodies: bodies of the source.

    Returns:
      Remarks on doubtful findings.

    Raises:
      InputError: the bodies do not fit. The message names the skeleton that they fit, or another likely cause. If none
        is found and the skeleton was named, this is only a remark.
    """
    people, skeleton, named = bodies
    fit = measure(to_14(people, skeleton))
    if fit is None or fit.worst >= _CLEAR:
        return []
    doubtful = (
        f"{path}: for {1 - fit.worst:.0%} of the bodies the order of the joints is not that of the skeleton "
        f"{skeleton}: look at some of them."
    )
    candidates = {name: measure(to_14(people, name)) for name in of_size(SKELETONS[skeleton]) if name != skeleton}
    fitting = {name: other.mean for name, other in candidates.items() if other and other.worst >= _CLEAR}
    wrong = f"{path}: these are not people in the skeleton {skeleton}"
    if fit.broken:
        wrong += f" (of most bodies it is not true that {' or that '.join(fit.broken[:2])})"
    if fitting:
        likely = max(fitting, key=lambda name: fitting[name])
        raise InputError(f"{wrong}, but probably in {likely}: convert them with --skeleton={likely}.")
    if not fit.broken:
        return [doubtful]
    if (swapped := measure(to_14(people[..., [1, 0, 2]], skeleton))) and swapped.worst >= _CLEAR:
        raise InputError(f"{wrong}. They fit with x and y exchanged: write x before y.")
    inverted = measure(to_14(people * np.array([1, -1, 1], people.dtype), skeleton))
    if inverted and inverted.worst >= _CLEAR:
        raise InputError(f"{wrong}. They stand on their heads: y must count from the upper border of the crop down.")
    if named:
        return [f"{wrong}, nor in any other skeleton of {SKELETONS[skeleton]} keypoints that is read."]
    raise InputError(
        f"{wrong}, nor in any other skeleton of {SKELETONS[skeleton]} keypoints that is read: reorder the keypoints, "
        f"or name the skeleton, --skeleton={skeleton}, if it is right and these people do not stand."
    )
