"""Verification (1:1 matching) metrics: ROC, EER and TPR at fixed FPR, with intervals over persons.

A pair of tracklets is accepted as the same person if its distance is *below* a threshold t. Definitions:

- genuine pairs: two tracklets of one person in two cameras (pairs in the same camera are ignored, as in the ranking);
- impostor pairs: tracklets of two persons;
- TPR(t): fraction of genuine pairs with a distance below t (also TAR, or 1 - FNMR);
- FPR(t): fraction of impostor pairs below t (also FAR or FMR).

The ROC is TPR over FPR. The equal error rate (EER) is where FPR = 1 - TPR, with linear interpolation between the points
of the ROC. TPR at FPR f is read at the largest t whose FPR is at most f. Each pair counts once. Junk and distractors
are ignored, since two distractors may be the same person.

The 95 % intervals resample persons instead of pairs, since pairs of one person are not independent: a person drawn n
times counts its genuine pairs n times, and an impostor pair counts the product of its two persons' draws (the vertex
bootstrap; Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks", IJCV 2024).

Thresholds are float32 numbers of 16 significant bits (``pair_counts``), and the counts at each are exact. Memory does
not depend on the number of pairs.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import Distances, Euclidean
from rgcn_jax.evaluation.pair_counts import Block, count_pairs, keep_levels, resample_persons
from rgcn_jax.evaluation.significance import MIN_PERSONS, Interval, percentile_interval

FPRS = (1e-1, 1e-2, 1e-3, 1e-4)
MIN_FALSE_ACCEPTS = 10
"""A TPR at FPR f is reported only if f times the number of impostor pairs is at least this."""

ROWS = 256
"""Number of tracklets whose distances to all later ones are computed at a time."""


@dataclass(frozen=True)
class OperatingPoint:
    """TPR at a requested FPR; ``threshold`` is the largest whose ``fpr`` is at most that.

    ``interval``: 95 % interval of the TPR; None if there are too few persons.
    """

    tpr: float
    interval: Interval | None
    fpr: float
    threshold: float


@dataclass(frozen=True)
class Verification:
    """Verification metrics of a distance.

    A value of ``tpr`` is None if there are too few impostor pairs to measure that FPR. ``roc`` has rows of (threshold,
    FPR, TPR), ascending, at most a few hundred. ``eer_threshold`` is in the middle of the gap between distances.
    """

    eer: float
    eer_threshold: float
    eer_interval: Interval | None
    tpr: dict[float, OperatingPoint | None]
    num_genuine: int
    num_impostor: int
    num_persons: int
    roc: Float64[np.ndarray, "k 3"]

    def to_json(self) -> dict[str, Any]:
        """Rates in per cent, as JSON values; None if not measured. Without the ROC."""
        return {
            "eer": 100 * self.eer,
            "eer_interval": _percent(self.eer_interval),
            "eer_threshold": self.eer_threshold,
            "tpr_at_fpr": points_json(self.tpr),
            "genuine_pairs": self.num_genuine,
            "impostor_pairs": self.num_impostor,
            "persons": self.num_persons,
        }


def verify(
    features: Float32[np.ndarray, "n d"] | Distances,
    person_ids: Integer[np.ndarray, "n"],
    camera_ids: Integer[np.ndarray, "n"],
    *,
    clothes_ids: Integer[np.ndarray, "n"] | None = None,
    fprs: Sequence[float] = FPRS,
    exclude_same_camera: bool = True,
    cross_camera_impostors: bool = False,
    resamples: int = 1000,
    seed: int = 0,
) -> Verification:
    """Verify all pairs of N tracklets by the Euclidean distance of their features, or by other distances.

    Args:
        features: one row per tracklet, see ``distance.fuse``; or distances.
        person_ids: person ids of the tracklets; only those above 0 take part.
        camera_ids: camera ids of the tracklets.
        clothes_ids: clothes ids, to exclude pairs of a person in the same clothes.
        fprs: FPRs to report, in (0, 1).
        exclude_same_camera: whether to exclude pairs of a person in one camera.
        cross_camera_impostors: whether to exclude impostor pairs in one camera too, which a shared background makes
          similar. By default they count, as in a ranking.
        resamples: number of bootstrap resamples of the persons; 0: no intervals.
        seed: random seed of the resampling.

    Raises:
        InputError: a feature is not finite, or there is no genuine or no impostor pair.
        ValueError: lengths differ, or an FPR is not in (0, 1).
    """
    count = len(features) if isinstance(features, np.ndarray) else len(person_ids)
    if not count == len(person_ids) == len(camera_ids):
        raise ValueError(
            f"lengths differ: {count} features, {len(person_ids)} person ids, {len(camera_ids)} camera ids"
        )
    order = np.argsort(person_ids, kind="stable")
    order = order[person_ids[order] > 0]
    cameras = camera_ids[order]
    names, persons = np.unique(person_ids[order], return_inverse=True)
    clothes = np.zeros(len(order), int) if clothes_ids is None else clothes_ids[order]
    own = Euclidean(features[order]) if isinstance(features, np.ndarray) else features.take(order)

    def blocks() -> Iterator[Block]:
        for start in range(0, len(order), ROWS):
            distances = own.between(slice(start, start + ROWS), slice(start, None))
            for person in np.unique(persons[start : start + ROWS]).tolist():
                first, end = np.searchsorted(persons[start:], (person, person + 1))
                rows = slice(first, min(end, ROWS))
                others, later = persons[start + first :], cameras[start + first :]
                other_camera = cameras[start:][rows, None] != later
                counted = other_camera.copy() if cross_camera_impostors else np.ones(other_camera.shape, bool)
                genuine = slice(0, end - first)
                counted[:, genuine] = np.triu(np.ones(counted[:, genuine].shape, bool), 1)  # each pair once
                if exclude_same_camera:
                    counted[:, genuine] &= other_camera[:, genuine]
                if clothes_ids is not None:
                    counted[:, genuine] &= clothes[start:][rows, None] != clothes[start + first : start + end]
                pairs = distances[rows, first:][counted]
                yield Block(person, np.broadcast_to(others, counted.shape)[counted], pairs)

    return verify_blocks(blocks, len(names), fprs, resamples, seed)


def verify_blocks(
    blocks: Callable[[], Iterator[Block]],
    num_persons: int,
    fprs: Sequence[float] = FPRS,
    resamples: int = 1000,
    seed: int = 0,
) -> Verification:
    """Count given pairs and derive operating points, with intervals from resampled counts.

    ``blocks`` yields all pairs each time it is called; other arguments and errors: see ``verify``.
    """
    if any(not 0 < fpr < 1 for fpr in fprs):
        raise ValueError(f"expected FPRs in (0, 1), found {tuple(fprs)}")
    counts = count_pairs(blocks())
    num_genuine, num_impostor = int(counts.genuine[-1]), int(counts.impostor[-1])
    if not num_genuine or not num_impostor:
        raise InputError(
            f"nothing to verify: expected genuine and impostor pairs, found {num_genuine} genuine pairs (one person, "
            f"two cameras) and {num_impostor} impostor pairs of {num_persons} persons. With one camera, "
            "--config.evaluation.protocol=same_camera_allowed counts pairs in the same camera too."
        )
    fpr, tpr = counts.impostor / num_impostor, counts.genuine / num_genuine
    points: dict[float, OperatingPoint | None] = {}
    for wanted in fprs:
        allowed = np.floor(wanted * num_impostor * (1 + 1e-12))  # 0.29 * 100 rounds to less than 29
        at = int(np.searchsorted(counts.impostor, allowed, side="right")) - 1
        enough = allowed >= MIN_FALSE_ACCEPTS
        threshold = float(counts.thresholds[at])
        points[wanted] = OperatingPoint(float(tpr[at]), None, float(fpr[at]), threshold) if enough else None
    levels = keep_levels(counts)
    eer_interval = None
    if resamples:
        drawn_fpr, drawn_tpr, num_genuine_persons = resample_persons(blocks(), num_persons, levels, resamples, seed)
        if num_genuine_persons >= MIN_PERSONS:
            eer_interval = percentile_interval(_equal_error_rates(drawn_fpr, drawn_tpr))
            for wanted, point in points.items():
                if point:
                    interpolated = [np.interp(wanted, x, y) for x, y in zip(drawn_fpr, drawn_tpr, strict=True)]
                    points[wanted] = replace(point, interval=percentile_interval(np.array(interpolated)))
    nearest = int(np.argmin(np.abs(fpr + tpr - 1)))
    return Verification(
        eer=float(_equal_error_rates(fpr[None], tpr[None])[0]),
        eer_threshold=counts.middle_of_gap(nearest),
        eer_interval=eer_interval,
        tpr=points,
        num_genuine=num_genuine,
        num_impostor=num_impostor,
        num_persons=num_persons,
        roc=np.stack(
            [levels.thresholds, levels.impostor / num_impostor, levels.genuine / num_genuine], axis=1, dtype=np.float64
        ),
    )


def _equal_error_rates(fpr: Float64[np.ndarray, "b k"], tpr: Float64[np.ndarray, "b k"]) -> Float64[np.ndarray, "b"]:
    """Where each piecewise linear ROC, from (0, 0) to (1, 1), crosses FPR = 1 - TPR."""
    excess = fpr + tpr - 1  # from -1 to 1, ascending
    after = np.argmax(excess >= 0, axis=1)[:, None]
    e0, e1 = (np.take_along_axis(excess, at, axis=1) for at in (after - 1, after))
    f0, f1 = (np.take_along_axis(fpr, at, axis=1) for at in (after - 1, after))
    return (f0 + (f1 - f0) * (-e0 / (e1 - e0)))[:, 0]


def points_json(points: Mapping[float, Any]) -> dict[str, dict[str, Any] | None]:
    """Dataclasses of rates, an interval and a ``threshold`` as JSON values in per cent, by the requested rate."""
    return {
        f"{rate:g}": point and {name: x if name == "threshold" else _percent(x) for name, x in vars(point).items()}
        for rate, point in points.items()
    }


def _percent(rate: float | Interval | None) -> float | list[float] | None:
    if isinstance(rate, tuple):
        return [100 * bound for bound in rate]
    return None if rate is None else 100 * rate
