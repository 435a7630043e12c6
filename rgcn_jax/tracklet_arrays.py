"""Validation of tracklets given as in-memory arrays, and reading of their batches."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32, UInt8

from rgcn_jax.config import Config
from rgcn_jax.data.clips.reader import read_without_frames
from rgcn_jax.data.clips.resize import fit
from rgcn_jax.data.clips.sampling import BatchPlan
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import detected
from rgcn_jax.types import UNKNOWN_ID, Batch, Tracklet

LARGEST_COORDINATE = 3.0
"""Bound on normalised coordinates, which are in or near [0, 1]; larger ones are rejected as pixels."""


class TrackletArrays:
    """Validated tracklets of any lengths: ``tracklets`` are their handles in plans, ``read`` returns the batch of a
    plan.

    Args:
      config: config of the model that embeds them.
      frames: one array per tracklet: RGB, uint8 [T, H, W, 3] of any size; f_a [D] if the appearance is precomputed.
        Ignored, and may be None, for a model without an appearance branch.
      keypoints: one array per tracklet: [T, 14, 3], normalised coordinates and confidence; None for a model without a
        pose branch.

    Raises:
      InputError: an array has the wrong shape or type, coordinates are not normalised, or lengths differ.
    """

    def __init__(self, config: Config, frames: Sequence[Any] | None, keypoints: Sequence[Any] | None):
        self._size, precomputed = config.frame_size, config.model.appearance in ("precomputed", "none")
        if config.with_pose and keypoints is None:
            raise InputError("the model has a pose branch: expected keypoints [T, 14, 3] in addition to the frames.")
        if not config.with_appearance:
            frames = [np.zeros(0, np.float32)] * len(keypoints or ())
        if frames is None:
            raise InputError("the model has an appearance branch: expected frames, found None.")
        if keypoints is not None and len(keypoints) != len(frames):
            raise InputError(
                f"expected one keypoint array per tracklet: found {len(frames)} tracklets, {len(keypoints)} arrays."
            )
        self._frames = [_checked_features(i, x) if precomputed else _checked_frames(i, x) for i, x in enumerate(frames)]
        if keypoints is None:
            lengths = [1 if precomputed else len(x) for x in self._frames]
            self._keypoints = [np.zeros((length, 14, 3), np.float32) for length in lengths]
        else:
            self._keypoints = [_checked_keypoints(i, x) for i, x in enumerate(keypoints)]
        for i, (x, k) in enumerate(zip(self._frames, self._keypoints, strict=True)):
            if not precomputed and len(x) != len(k):
                raise InputError(f"tracklet {i} has {len(x)} frames, but keypoints of {len(k)} frames.")
        self.tracklets = [
            Tracklet(tuple(f"{i}/{t}" for t in range(len(k))), UNKNOWN_ID, 0) for i, k in enumerate(self._keypoints)
        ]

    def read(self, plan: BatchPlan) -> Batch:
        """Read the batch of a plan."""
        which = [int(tracklet.frames[0].split("/")[0]) for tracklet in plan.tracklets]
        frames = np.stack([self._shown(i, frames) for i, frames in zip(which, plan.frames, strict=True)])
        return {**self.read_keypoints(plan), "frames": frames}

    def read_keypoints(self, plan: BatchPlan) -> Batch:
        """Read the batch of a plan without frames."""
        return read_without_frames(plan, self)

    def of(self, tracklet: Tracklet) -> Float32[np.ndarray, "f 14 3"]:
        """The keypoints of a tracklet."""
        return self._keypoints[int(tracklet.frames[0].split("/")[0])]

    def _shown(self, i: int, positions: np.ndarray) -> np.ndarray:
        if self._frames[i].ndim == 1:
            return self._frames[i]
        return np.stack([fit(self._frames[i][p], *self._size) for p in positions])


def _checked_frames(i: int, frames: Any) -> UInt8[np.ndarray, "t h w 3"]:
    found = np.asarray(frames)
    if found.dtype != np.uint8 or found.ndim != 4 or found.shape[-1] != 3 or 0 in found.shape:
        raise InputError(
            f"the frames of tracklet {i} are {found.dtype} {list(found.shape)}: expected RGB, uint8 [T, H, W, 3]."
        )
    return found


def _checked_features(i: int, features: Any) -> Float32[np.ndarray, "d"]:
    found = np.asarray(features)
    if found.dtype.kind != "f" or found.ndim != 1:
        raise InputError(
            f"the model takes precomputed appearance features: expected floats [D] for tracklet {i}, found "
            f"{found.dtype} {list(found.shape)}."
        )
    return found.astype(np.float32)


def _checked_keypoints(i: int, keypoints: Any) -> Float32[np.ndarray, "t 14 3"]:
    found = np.asarray(keypoints)
    if found.dtype.kind not in "fiu" or found.ndim != 3 or found.shape[1:] != (14, 3) or not len(found):
        raise InputError(
            f"the keypoints of tracklet {i} are {found.dtype} {list(found.shape)}: expected floats [T, 14, 3], x, y "
            "and confidence of the 14 keypoints of rgcn_jax.skeleton.KEYPOINTS (to_14 converts other skeletons)."
        )
    found = found.astype(np.float32)
    if not np.isfinite(found).all():
        raise InputError(f"the keypoints of tracklet {i} contain NaN or Inf: set undetected keypoints to (0, 0, 0).")
    largest = np.abs(found[..., :2]).max()
    if largest > LARGEST_COORDINATE:
        raise InputError(
            f"the keypoints of tracklet {i} reach {largest:g}: expected normalised coordinates, x divided by the width "
            "and y by the height of the crop."
        )
    return np.where(detected(found)[..., None], found, 0.0).astype(np.float32)
