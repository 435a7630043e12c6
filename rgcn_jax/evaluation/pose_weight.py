"""Choice of the pose weight of the fused distance by mAP on the training persons, without using the test set.

Every training tracklet is ranked against all others under the official protocol, for each of ``WEIGHTS`` as the pose
weight w of ``distance.fuse``.
"""

import numpy as np

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles, scorable_protocols
from rgcn_jax.evaluation.rank_protocols import rank_features

WEIGHTS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
"""Candidate weights. 0: appearance only; 1: equal weights."""


def mAP_by_weight(train: FeatureSet, distance: str) -> dict[float, float]:
    """The mAP in per cent of the fused distance over the training tracklets, for each of ``WEIGHTS``.

    Raises:
      InputError: the model lacks a branch, the distance has no weight, or no person was seen by two cameras.
    """
    if not (train.embeddings.appearance.shape[1] and train.embeddings.pose.shape[1]):
        raise InputError("the model has one branch only, so there is no pose weight.")
    if distance not in ("normalized", "standardized"):
        raise InputError(f"the distance {distance} has no pose weight: choose normalized or standardized.")
    everyone = np.ones(len(train.first_frames), bool)
    roles = Roles(everyone, everyone, np.zeros_like(everyone))
    scorable_protocols(train.tracklets, roles)
    official = {"official": PROTOCOLS["official"]}
    found = {}
    for weight in WEIGHTS:
        features = fuse(train.embeddings, "fused", distance, weight, train.statistics)
        metrics = rank_features(features, train.embeddings, roles, official, overwrite=True)["official"]
        found[weight] = 100 * metrics.mAP
    return found


def best_weight(found: dict[float, float]) -> float:
    """The weight with the highest mAP; in case of a tie, the one nearest to 1."""
    most = max(found.values())
    return min((w for w, value in found.items() if value == most), key=lambda w: (abs(w - 1), w))
