"""Skeletons of detectors' files: by name (MMPose's data sets, ``--skeleton``), else by their number of keypoints.

The number alone does not decide: COCO, H36M and PoseTrack have 17 keypoints, CrowdPose, AIC, LSP and this project 14,
BODY_25 and BODY_25B 25. So every source is tested by ``anatomy.py`` as well.
"""

import re
from collections.abc import Mapping

from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import SKELETONS

OPENPOSE: Mapping[int, str] = {25: "openpose_body25", 18: "openpose_coco18"}
"""Number of keypoints -> skeleton of OpenPose's files, unless the user names another one."""

COCO: Mapping[int, str] = {17: "coco17", 26: "halpe26", 133: "coco_wholebody133", 136: "halpe136"}
"""The same for the detectors trained on COCO or a larger set; the first 17 keypoints of each are those of COCO."""

ARRAYS: Mapping[int, str] = {14: "rgcn_jax14", **OPENPOSE, **COCO, 33: "blazepose33"}
"""The same for arrays: 14 is this project's own (``rgcn_jax.skeleton.KEYPOINTS``)."""

_NAMES: Mapping[str, str] = {
    **{re.sub("[^a-z0-9]", "", name): name for name in SKELETONS},
    **{"coco": "coco17", "yolopose": "coco17", "yolo": "coco17", "posetrack18": "posetrack17", "h36m": "h36m17"},
    **{"posetrack": "posetrack17", "crowdpose": "crowdpose14", "aic": "aic14", "lsp": "lsp14", "mpii": "mpii16"},
    **{"body25": "openpose_body25", "body25b": "openpose_body25b", "coco18": "openpose_coco18"},
    **{"mpi15": "openpose_mpi15", "halpe": "halpe26", "body8halpe": "halpe26", "blazepose": "blazepose33"},
    **{"cocowholebody": "coco_wholebody133", "wholebody": "coco_wholebody133", "wholebody133": "coco_wholebody133"},
    **{"mediapipe": "blazepose33", "mediapipe33": "blazepose33", "human36m": "h36m17", "yolopose17": "coco17"},
}
"""Names in use, lower case, letters and digits alone (as MMPose's ``dataset_name`` or ``--skeleton`` have them)."""


def find(name: str) -> str:
    """The skeleton of a name as users and files write it: "H36M-17", "h36m", "BODY_25B", "yolo-pose".

    Raises:
      InputError: whose message is the reason alone: no such skeleton is known.
    """
    skeleton = _NAMES.get(re.sub("[^a-z0-9]", "", name.lower()))
    if skeleton is None:
        raise InputError(f"{name[:60]!r} is no skeleton that is read: expected one of {', '.join(SKELETONS)}")
    return skeleton


def expected(skeletons: Mapping[int, str], named: str | None) -> Mapping[int, str]:
    """Which numbers of keypoints a reader takes: those of its format, or only that of the skeleton that was named."""
    return skeletons if named is None else {SKELETONS[named]: named}


def of_size(size: int) -> list[str]:
    """The names of all skeletons with so many keypoints."""
    return [name for name, keypoints in SKELETONS.items() if keypoints == size]


def advice(numbers: int, named: str | None) -> str:
    """The end of a message about so many numbers a person: how to read them; "" where nothing is known."""
    names = of_size(numbers // 3) if numbers % 3 == 0 and named is None else []
    return f"; if the model is right, name its skeleton: --skeleton={' or '.join(names)}" if names else ""
