"""Skeletons by their number of keypoints, and their conversion to the 14 keypoints of this project."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Float32

from rgcn_jax.skeleton import to_14

OPENPOSE: Mapping[int, str] = {25: "openpose_body25", 18: "openpose_coco18"}
"""Number of keypoints -> skeleton of OpenPose's files."""

COCO: Mapping[int, str] = {17: "coco17", 26: "halpe26", 133: "coco_wholebody133", 136: "halpe136"}
"""Likewise of the detectors trained on COCO or a larger set; the first 17 keypoints of each are those of COCO."""

ARRAYS: Mapping[int, str] = {14: "rgcn_jax14", **OPENPOSE, **COCO, 33: "blazepose33"}
"""Likewise of arrays: 14 is this project's own (``rgcn_jax.skeleton.KEYPOINTS``)."""

_OTHERS = {
    14: "14 keypoints",
    15: "OpenPose's MPI, 15 keypoints",
    16: "MPII, 16 keypoints",
    17: "COCO-17, as AlphaPose writes it",
    18: "COCO-18 or BODY_25, as OpenPose writes it",
    21: "a hand, 21 keypoints",
    25: "OpenPose's BODY_25",
    26: "Halpe-26",
    33: "BlazePose, 33 keypoints",
    70: "a face, 70 keypoints",
    133: "COCO-WholeBody, 133 keypoints",
    135: "OpenPose's BODY_135",
    136: "Halpe's full body, 136 keypoints",
}


def looks_like(numbers: int) -> str:
    """What so many numbers a person probably are, in brackets for a message; "" if nothing is known of them."""
    what = _OTHERS.get(numbers // 3) if numbers % 3 == 0 else None
    return f" (that is {what})" if what else ""


def convert(keypoints: Float[np.ndarray, "*batch v 3"], skeleton: str) -> Float32[np.ndarray, "*batch 14 3"]:
    """Keypoints of a skeleton in ``ARRAYS`` as the 14; (0, 0, 0) where the confidence is not above 0."""
    if skeleton == ARRAYS[14]:
        return np.where(keypoints[..., 2:] > 0, keypoints, 0).astype(np.float32)
    if skeleton in COCO.values():
        return to_14(keypoints[..., :17, :], "coco17")
    return to_14(keypoints, skeleton)
