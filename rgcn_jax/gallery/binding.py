"""Binding of a gallery to a model and its settings, and branch weights of a search."""

from typing import Any, Protocol, runtime_checkable

import numpy as np

from rgcn_jax.calibration import Calibration, settings_of
from rgcn_jax.config import Config, EvaluationConfig
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import NO_FUSED_FEATURE, ROWS, FeatureStatistics

By = str | tuple[float, float]
"""Distance of a search: "fused", "appearance", "pose", or the weights of appearance and pose."""


@runtime_checkable
class GalleryModel(Protocol):
    """Attributes of a model that a gallery requires, provided by ``Embedder``."""

    hash: str
    config: Config
    statistics: FeatureStatistics
    calibration: Calibration | None


def binding_of(model: GalleryModel) -> dict[str, Any]:
    """Return the properties that comparable features share. Raises InputError for the distance "calibrated"."""
    config = model.config
    if config.evaluation.distance == "calibrated":
        raise InputError(NO_FUSED_FEATURE)
    settings = {**settings_of(config.evaluation), "frames_per_clip": config.frames_per_clip}
    return {
        "model": model.hash,
        "settings": settings | {"frame_size": list(config.frame_size)},
        "widths": [len(model.statistics.mean_a), len(model.statistics.mean_p)],
    }


def branch_weights(by: By, settings: EvaluationConfig, with_pose: bool) -> tuple[float, float]:
    """Return the weights α and β of a search, for features normalised for the run's distance.

    Raises:
      InputError: the row is unknown, the model has no pose branch, or the weights are negative or both zero.
    """
    if not isinstance(by, str):
        if len(by) != 2 or not all(0 <= weight < np.inf for weight in by) or not any(by[: 1 + with_pose]):
            raise InputError(f"the weights of appearance and pose are {by}: expected two numbers >= 0, not both 0.")
        return by[0], by[1] if with_pose else 0.0
    if by not in ROWS or (by == "pose" and not with_pose):
        raise InputError(f"cannot search by {by!r}: expected one of {', '.join(ROWS if with_pose else ROWS[::2])}.")
    of_pose = 1.0 if settings.distance == "euclidean" else float(settings.pose_weight)
    weights = {"appearance": (1.0, 0.0), "pose": (0.0, 1.0), "fused": (1.0, of_pose if with_pose else 0.0)}
    return weights[by]
