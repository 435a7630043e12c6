"""Learning a ``calibrated.Fusion`` from training persons: logistic calibration of each branch (Platt, 1999).

All pairs of a person in two cameras, and as many pairs of two persons, at most ``MOST_PAIRS`` of each, drawn at random.
Both classes have the same weight, so that the logit is a log-likelihood ratio. Platt's targets, 1 - 1 / (P + 2) and
1 / (P + 2) with P persons in place of 1 and 0, bound what P persons can show: training persons are separated almost
perfectly, and the pairs of a person depend on each other.
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
_ROWS = 4096  # pairs whose features are gathered at a time


class PoseSample(NamedTuple):
    """f_p of N tracklets and the quality of the keypoints that it was computed from."""

    pose: Float32[np.ndarray, "n d_p"]
    quality: PoseQuality


def learn_fusion(
    embeddings: Embeddings,
    statistics: FeatureStatistics,
    samples: Sequence[PoseSample],
    num_frames: Integer[np.ndarray, "n"],
    seed: int = 0,
) -> Fusion:
    """Calibrates both branches on the pairs of N tracklets of training persons.

    Args:
      embeddings: of the tracklets; person and camera ids are read, and f_a.
      statistics: of the training set.
      samples: f_p of the same tracklets, as detected and with keypoints left out, so that all qualities are seen.
      num_frames: of the tracklets.
      seed: of the drawn pairs.

    Raises:
      InputError: there are no pairs of a person in two cameras or of two persons, or a feature is not finite.
    """
    first, second, same = draw_pairs(embeddings.person_ids, embeddings.camera_ids, seed)
    targets = _targets(same, len(np.unique(embeddings.person_ids[first[same]])))
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
    person_ids: Integer[np.ndarray, "n"], camera_ids: Integer[np.ndarray, "n"], seed: int = 0, most: int = MOST_PAIRS
) -> tuple[Int64[np.ndarray, "p"], Int64[np.ndarray, "p"], np.ndarray]:
    """Positions of the tracklets of P pairs, and which pairs are of one person, in two cameras then.

    Raises:
      InputError: there is no pair of a person in two cameras, or only one person.
    """
    rng = np.random.default_rng(seed)
    genuine = []
    for person in np.unique(person_ids[person_ids > 0]):
        rows = np.flatnonzero(person_ids == person)
        pairs = np.stack(np.triu_indices(len(rows), 1), axis=1)
        pairs = rows[pairs]
        genuine.append(pairs[camera_ids[pairs[:, 0]] != camera_ids[pairs[:, 1]]])
    own = np.concatenate(genuine) if genuine else np.zeros((0, 2), int)
    if len(genuine) < 2 or not len(own):
        raise InputError(
            f"Nothing to learn the fusion from: {len(own)} pairs of one person in two cameras, {len(genuine)} persons."
        )
    own = rng.permutation(own)[:most]
    persons = np.flatnonzero(person_ids > 0)
    others = rng.choice(persons, (4 * len(own), 2))
    others = others[person_ids[others[:, 0]] != person_ids[others[:, 1]]][: len(own)]
    both = np.concatenate([own, others])
    return both[:, 0], both[:, 1], np.arange(len(both)) < len(own)


def _targets(same: np.ndarray, persons: int) -> np.ndarray:
    return np.where(same, 1 - 1 / (persons + 2), 1 / (persons + 2))


def _distances(features: np.ndarray, first: np.ndarray, second: np.ndarray) -> Float64[np.ndarray, "p"]:
    found = np.empty(len(first))
    for start in range(0, len(first), _ROWS):
        rows = slice(start, start + _ROWS)
        found[rows] = np.linalg.norm(features[first[rows]] - features[second[rows]], axis=1)
    return found


def _fit(x: np.ndarray, d: np.ndarray, same: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Beta and gamma that minimise the cross-entropy of the logits beta . x - exp(gamma . x) d, classes weighted
    equally.
    """
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
