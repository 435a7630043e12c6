"""Standing people in any skeleton, for the tests of keypoint files. Placed by hand from published joint orders."""

import numpy as np

# As fractions of a crop's width and height, seen from the front: their right is at the left.
PLACES = {
    "nose": (0.50, 0.10),
    "head_top": (0.50, 0.04),
    "neck": (0.50, 0.20),
    "pelvis": (0.50, 0.50),
    "spine": (0.50, 0.35),
    "right_eye": (0.47, 0.08),
    "right_ear": (0.43, 0.09),
    "right_shoulder": (0.36, 0.20),
    "right_elbow": (0.30, 0.34),
    "right_wrist": (0.28, 0.47),
    "right_hip": (0.42, 0.50),
    "right_knee": (0.41, 0.70),
    "right_ankle": (0.40, 0.92),
}
PLACES |= {f"left{name[5:]}": (1 - x, y) for name, (x, y) in PLACES.items() if name.startswith("right")}

SIDES = ("left", "right")
COCO17 = [
    "nose",
    *(f"{s}_{p}" for p in ("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle") for s in SIDES),
]
ARM, LEG = ("shoulder", "elbow", "wrist"), ("hip", "knee", "ankle")
ORDERS = {
    "rgcn_jax14": [
        *("nose", "neck"),
        *(f"{s}_{p}" for parts in (ARM, LEG) for s in ("right", "left") for p in parts),
    ],
    "coco17": COCO17,
    # MMPose's configs/_base_/datasets/h36m.py, crowdpose.py, aic.py, mpii.py
    "h36m17": [
        *("pelvis", *(f"{s}_{p}" for s in ("right", "left") for p in LEG), "spine", "neck", "nose", "head_top"),
        *(f"{s}_{p}" for s in ("left", "right") for p in ARM),
    ],
    "crowdpose14": [*(f"{s}_{p}" for p in (*ARM, *LEG) for s in SIDES), "head_top", "neck"],
    "aic14": [*(f"{s}_{p}" for parts in (ARM, LEG) for s in ("right", "left") for p in parts), "head_top", "neck"],
    "mpii16": [
        *("right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "pelvis", "neck"),
        *("neck", "head_top", "right_wrist", "right_elbow", "right_shoulder"),
        *(f"left_{p}" for p in ARM),
    ],
    # OpenPose's output.md
    "openpose_body25": [
        *("nose", "neck", *(f"{s}_{p}" for s in ("right", "left") for p in ARM), "pelvis"),
        *(f"{s}_{p}" for s in ("right", "left") for p in LEG),
        *("right_eye", "left_eye", "right_ear", "left_ear", *["left_ankle"] * 3, *["right_ankle"] * 3),
    ],
    "openpose_body25b": [*COCO17, "neck", "head_top", *["left_ankle"] * 3, *["right_ankle"] * 3],
    "halpe26": [*COCO17, "head_top", "neck", "pelvis", *["left_ankle", "right_ankle"] * 3],
}
"""Skeleton -> the places of its keypoints in their order."""


def people(skeleton: str, number: int, size: tuple[int, int] = (256, 128), seed: int = 0) -> np.ndarray:
    """[number, V, 3] in pixels of crops of this height and width, with noise of a hundredth; confidences from 0.3."""
    rng = np.random.default_rng(seed)
    places = np.array([PLACES[name] for name in ORDERS[skeleton]])
    noise = rng.normal(0, 0.01, (number, *places.shape))
    xy = (places + noise) * (size[1], size[0])
    return np.concatenate([xy, rng.uniform(0.3, 1, (number, len(places), 1))], axis=-1).astype(np.float32)
