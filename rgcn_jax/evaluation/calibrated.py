"""Quality-aware score fusion: the distance ``calibrated``, based on log-likelihood ratios of both branches.

A pair of tracklets has the distances d_a and d_p of the kind ``standardized`` and the quality x, the mean over both
tracklets of (1, fraction of keypoints detected, their mean confidence, log frames / log 1000). With the parameters of a
``Fusion``:

    LLR_a = a - b d_a
    LLR_p = beta . x - exp(gamma . x) d_p;   0 if either tracklet has no detected keypoint
    d     = (c - LLR_a - LLR_p) / b

LLR_a and LLR_p estimate log P(d | same person) / P(d | different persons). They are fitted by logistic regression on
pairs of training persons with equal class weights (``learn_fusion``) and summed as independent evidence. c is a
constant of the parameters that makes all distances non-negative. Without any pose d = d_a + constant.
"""

from collections.abc import Mapping
from copy import copy
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Float64, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import BLOCK_ELEMENTS, Blocks, Euclidean, FeatureStatistics, fuse
from rgcn_jax.evaluation.pose_quality import PoseQuality
from rgcn_jax.types import Embeddings

QUALITIES = ("constant", "keypoint_share", "keypoint_confidence", "log_frames")
_LONGEST = 1000  # frames; longer tracklets count as this long


@dataclass(frozen=True)
class Fusion:
    """Parameters: ``appearance``: a and b; ``pose_bias``: beta; ``pose_log_slope``: gamma, in the order of
    ``QUALITIES``.
    """

    appearance: tuple[float, float]
    pose_bias: tuple[float, ...]
    pose_log_slope: tuple[float, ...]

    def to_json(self) -> dict[str, Any]:
        """The parameters as lists."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_json(cls, found: Any) -> "Fusion":
        """Inverse of ``to_json``. Raises ValueError for invalid parameters."""
        counts = {"appearance": 2, "pose_bias": len(QUALITIES), "pose_log_slope": len(QUALITIES)}
        if not isinstance(found, Mapping) or set(found) != set(counts):
            raise ValueError(f"expected {', '.join(counts)}")
        for name, count in counts.items():
            values = found[name]
            numbers = isinstance(values, list) and all(type(v) in (int, float) and np.isfinite(v) for v in values)
            if not numbers or len(values) != count:
                raise ValueError(f"{name}: expected {count} finite numbers")
        if found["appearance"][1] <= 0:
            raise ValueError("appearance: expected a positive slope")
        a, b = map(float, found["appearance"])
        return cls((a, b), *(tuple(map(float, found[name])) for name in ("pose_bias", "pose_log_slope")))


def qualities(quality: PoseQuality, num_frames: Integer[np.ndarray, "n"]) -> Float64[np.ndarray, "n 4"]:
    """Quality x of each tracklet, as defined above."""
    frames = np.log(np.clip(num_frames, 1, _LONGEST)) / np.log(_LONGEST)
    return np.stack([np.ones(len(num_frames)), quality.share, quality.confidence, frames], axis=1)


class CalibratedDistances:
    """``Distances`` of the fused row of N tracklets.

    Raises:
      InputError: a feature is not finite, or quality, lengths or statistics are missing.
    """

    def __init__(
        self,
        embeddings: Embeddings,
        statistics: FeatureStatistics | None,
        quality: PoseQuality | None,
        num_frames: Integer[np.ndarray, "n"],
        fusion: Fusion,
    ):
        if quality is None or not np.isfinite(quality.share).all() or not (num_frames > 0).all():
            raise InputError(
                'the distance "calibrated" needs keypoint_share, keypoint_confidence and num_frames of every tracklet, '
                "which these features lack: embed again, rgcn-jax embed."
            )
        branches = (fuse(embeddings, row, "standardized", 1.0, statistics) for row in ("appearance", "pose"))
        x = qualities(quality, num_frames) / 2  # so that the sum over a pair is its mean
        self._appearance, self._pose = (Euclidean(branch) for branch in branches)
        self._seen: Bool[np.ndarray, "n"] = quality.share > 0
        self._bias = (x @ np.array(fusion.pose_bias)).astype(np.float32)
        self._slope = np.where(self._seen, np.exp(x @ np.array(fusion.pose_log_slope)), 0).astype(np.float32)
        bias = np.array(fusion.pose_bias)
        most = max(bias[0] + np.maximum(bias[1:], 0).sum(), 0)  # all components of x except the first are in [0, 1]
        self._scale, self._shift = np.float32(1 / fusion.appearance[1]), np.float32(most / fusion.appearance[1])

    def take(self, rows: np.ndarray) -> "CalibratedDistances":
        """Distances among a subset of the tracklets."""
        taken = copy(self)
        taken._appearance, taken._pose = self._appearance.take(rows), self._pose.take(rows)
        taken._seen, taken._bias, taken._slope = self._seen[rows], self._bias[rows], self._slope[rows]
        return taken

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances between two ranges of tracklets."""
        found = self._unshifted(rows, columns)
        found += self._shift
        return np.maximum(found, 0, out=found)

    def _unshifted(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances without the constant, which would round away small differences."""
        of_pose = self._pose.between(rows, columns)
        of_pose *= self._slope[columns]
        of_pose *= self._slope[rows, None]
        of_pose -= self._bias[columns]
        of_pose -= self._bias[rows, None]
        of_pose[:, ~self._seen[columns]] = 0
        of_pose[~self._seen[rows]] = 0
        of_pose *= self._scale
        of_pose += self._appearance.between(rows, columns)
        return of_pose

    def blocks(self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS) -> Blocks:
        """Blocks as from ``distance.distance_blocks``, without the constant."""
        count = max(block_elements // max(len(self._seen), 1), 1)
        subset = self.take(np.concatenate([queries, np.arange(len(self._seen))]))
        for start in range(0, len(queries), count):
            rows = slice(start, min(start + count, len(queries)))
            yield rows, subset._unshifted(rows, slice(len(queries), None))
