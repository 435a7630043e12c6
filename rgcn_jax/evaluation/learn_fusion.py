"""Learning a ``calibrated.Fusion`` from training persons: logistic (Platt) calibration of each branch.

Uses pairs of the same person in two cameras, and equally many pairs of different persons, at most ``MOST_PAIRS`` of
each, drawn at random. Classes are weighted equally, so that the logit is a log-likelihood ratio. Targets are Platt's
(1999), 1 - 1 / (P + 2) and 1 / (P + 2) for P persons, instead of 1 and 0: training persons are separated almost
perfectly, and pairs of one person are not independent.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int64, Integer
from scipy.optimize import minimize

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.calibrated import Fusion, qualities
from rgcn_jax.evaluation.distance import FeatureStatistics, fuse
from rgcn_jax.evaluation.pose_quality import PoseQuality
from rgcn_jax.types import Embeddings

MOST_PAIRS = 50_000
RIDGE = 1e-4
_ROWS = 4096  # pairs per chunk of gathered features


class PoseSample(NamedTuple):
    """f_p of N tracklets and the quality of their keypoints."""

    pose: Float32[np.ndarray, "n d_p"]
    quality: PoseQuality


def learn_fusion(
    embeddings: Embeddings,
    statistics: FeatureStatistics,
    samples: Sequence[PoseSample],
    num_frames: Integer[np.ndarray, "n"],
) -> Fusion:
    """Calibrate both branches on pairs of N training tracklets.

    ``embeddings``: f_a and ids of the tracklets. ``samples``: f_p of the same tracklets, with all keypoints and with
    some dropped, to cover all qualities.

    Raises:
      InputError: there is no pair of the same person in two cameras or of different persons, or a feature is not
        finite.
    """
    first, second, same = draw_pairs(embeddings.person_ids, embeddings.camera_ids)
    persons = len(np.unique(embeddings.person_ids[first[same]]))
    targets = np.where(same, 1 - 1 / (persons + 2), 1 / (persons + 2))
    appearance = fuse(embeddings, "appearance", "standardized", 1.0, statistics)
    bias, log_slope = _fit(np.ones((len(first), 1)), _distances(appearance, first, second), same, targets)
    of_appearance = float(bias[0]), float(np.exp(log_slope[0]))
    x, d = [], []
    for sample in samples:
        pose = fuse(embeddings._replace(pose=sample.pose), "pose", "standardized", 1.0, statistics)
        seen = (sample.quality.share[first] > 0) & (sample.quality.share[second] > 0)
        of_tracklet = qualities(sample.quality, num_frames)
        x.append(np.where(seen[:, None], (of_tracklet[first] + of_tracklet[second]) / 2, np.nan))
        d.append(_distances(pose, first, second))
    seen = np.isfinite(np.concatenate(x)[:, 0])
    repeated = (np.tile(values, len(samples))[seen] for values in (same, targets))
    bias, log_slope = _fit(np.concatenate(x)[seen], np.concatenate(d)[seen], *repeated)
    return Fusion(of_appearance, tuple(map(float, bias)), tuple(map(float, log_slope)))


def draw_pairs(
    person_ids: Integer[np.ndarray, "n"], camera_ids: Integer[np.ndarray, "n"], most: int = MOST_PAIRS
) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"], np.ndarray]:
    """Draw P pairs: indices of their two tracklets, and whether they show the same person (in two cameras).

    Raises:
      InputError: there is no pair of the same person in two cameras, or only one person.
    """
    rng = np.random.default_rng(0)
    genuine = []
    for person in np.unique(person_ids[person_ids > 0]):
        rows = np.flatnonzero(person_ids == person)
        pairs = np.stack(np.triu_indices(len(rows), 1), axis=1)
        pairs = rows[pairs]
        genuine.append(pairs[camera_ids[pairs[:, 0]] != camera_ids[pairs[:, 1]]])
    own = np.concatenate(genuine) if genuine else np.zeros((0, 2), int)
    if len(genuine) < 2 or not len(own):
        raise InputError(
            f"nothing to learn the fusion from: expected persons in two cameras, found {len(own)} pairs of one person "
            f"in two cameras and {len(genuine)} persons."
        )
    own = rng.permutation(own)[:most]
    persons = np.flatnonzero(person_ids > 0)
    others = rng.choice(persons, (4 * len(own), 2))
    others = others[person_ids[others[:, 0]] != person_ids[others[:, 1]]][: len(own)]
    both = np.concatenate([own, others])
    return both[:, 0], both[:, 1], np.arange(len(both)) < len(own)


def _distances(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "p"]:
    found = np.empty(len(first))
    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = np.linalg.norm(features[first[rows]] - features[second[rows]], axis=1)
    return found


def _fit(x: np.ndarray, d: np.ndarray, same: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Minimise the class-balanced cross-entropy of the logits beta . x - exp(gamma . x) d; return beta and gamma."""
    weights = np.where(same, 0.5 / same.sum(), 0.5 / (~same).sum())
    k = x.shape[1]

    def loss(theta: np.ndarray) -> tuple[float, np.ndarray]:
        beta, gamma = theta[:k], theta[k:]
        slope = np.exp(np.clip(x @ gamma, -30, 30))
        logits = x @ beta - slope * d
        value = weights @ (np.logaddexp(0, logits) - targets * logits) + RIDGE * theta @ theta
        residual = weights * (1 / (1 + np.exp(-np.clip(logits, -500, 500))) - targets)
        gradient = np.concatenate([x.T @ residual, -x.T @ (residual * slope * d)])
        return float(value), gradient + 2 * RIDGE * theta

    found = minimize(loss, np.zeros(2 * k), jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    return found.x[:k], found.x[k:]
