"""Skeletons of keypoint files: by name (MMPose's data sets, ``--skeleton``), else by the number of keypoints.

The number is ambiguous: COCO, H36M and PoseTrack have 17 keypoints, CrowdPose, AIC, LSP and this project 14, and
BODY_25 and BODY_25B 25. Therefore, every source is also tested by ``anatomy.py``.
"""

import re
from collections.abc import Mapping

from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import SKELETONS

OPENPOSE: Mapping[int, str] = {25: "openpose_body25", 18: "openpose_coco18"}
"""Skeletons of OpenPose's files by number of keypoints, unless the user names another one."""

COCO: Mapping[int, str] = {17: "coco17", 26: "halpe26", 133: "coco_wholebody133", 136: "halpe136"}
"""Skeletons of detectors trained on COCO or a superset, by number of keypoints; the first 17 are those of COCO."""

ARRAYS: Mapping[int, str] = {14: "rgcn_jax14", **OPENPOSE, **COCO, 33: "blazepose33"}
"""Skeletons of arrays by number of keypoints; 14 is this project's own (``rgcn_jax.skeleton.KEYPOINTS``)."""

_NAMES: Mapping[str, str] = {
    **{re.sub("[^a-z0-9]", "", name): name for name in SKELETONS},
    **{"coco": "coco17", "yolopose": "coco17", "yolo": "coco17", "posetrack18": "posetrack17", "h36m": "h36m17"},
    **{"posetrack": "posetrack17", "crowdpose": "crowdpose14", "aic": "aic14", "lsp": "lsp14", "mpii": "mpii16"},
    **{"body25": "openpose_body25", "body25b": "openpose_body25b", "coco18": "openpose_coco18"},
    **{"mpi15": "openpose_mpi15", "halpe": "halpe26", "body8halpe": "halpe26", "blazepose": "blazepose33"},
    **{"cocowholebody": "coco_wholebody133", "wholebody": "coco_wholebody133", "wholebody133": "coco_wholebody133"},
    **{"mediapipe": "blazepose33", "mediapipe33": "blazepose33", "human36m": "h36m17", "yolopose17": "coco17"},
}
"""Known names, with lower-case letters and digits only (as in MMPose's ``dataset_name`` or ``--skeleton``)."""


def find(name: str) -> str:
    """Find the skeleton of a name in any spelling: "H36M-17", "h36m", "BODY_25B", "yolo-pose".

    Raises:
      InputError: the skeleton is unknown; the message has only the reason.
    """
    skeleton = _NAMES.get(re.sub("[^a-z0-9]", "", name.lower()))
    if skeleton is None:
        raise InputError(f"{name[:60]!r} is no skeleton that is read: expected one of {', '.join(SKELETONS)}")
    return skeleton


def expected(skeletons: Mapping[int, str], named: str | None) -> Mapping[int, str]:
    """Numbers of keypoints that a reader accepts, which are those of its format, or that of the named skeleton."""
    return skeletons if named is None else {SKELETONS[named]: named}


def of_size(size: int) -> list[str]:
    """Names of all skeletons with this number of keypoints."""
    return [name for name, keypoints in SKELETONS.items() if keypoints == size]


def advice(numbers: int, named: str | None) -> str:
    """End of a message about this many numbers per person, with advice on how to read them; "" if unknown."""
    names = of_size(numbers // 3) if numbers % 3 == 0 and named is None else []
    return f"; if the model is right, name its skeleton: --skeleton={' or '.join(names)}" if names else ""
