"""Verification: do two tracklets show the same person? ROC, EER and TPR at fixed FPR, with intervals over persons.

A pair of tracklets is accepted as the same person when its distance is *below* a threshold t. With

- genuine pairs: two tracklets of one person in two cameras (the same camera is left out, as in the ranking),
- impostor pairs: tracklets of two persons,
- TPR(t), the share of genuine pairs with a distance below t (also TAR, or 1 - FNMR),
- FPR(t), the share of impostor pairs below t (also FAR or FMR),

the ROC is TPR over FPR, the equal error rate (EER) is where FPR = 1 - TPR, on straight lines between the points of the
ROC, and TPR at FPR f is read at the largest t whose FPR is at most f. Each pair counts once. Junk and distractors take
no part: two distractors may be the same person, nobody knows.

The 95 % intervals resample persons, not pairs, as all pairs of a person depend on each other: a person drawn n times
has its genuine pairs n times, and an impostor pair counts as often as the product of its two persons' draws (the vertex
bootstrap; Fogliato, Patil and Perona, "Confidence intervals for error rates in 1:1 matching tasks", IJCV 2024).

Thresholds are float32 numbers of 16 significant bits (``pair_counts``); the counts at each are exact. Memory does not
grow with the number of pairs.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float32, Float64, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.pair_counts import Block, count_pairs, keep_levels, resample_persons
from rgcn_jax.evaluation.pairwise import Distances, Euclidean
from rgcn_jax.evaluation.significance import MIN_PERSONS, Interval, percentile_interval

FPRS = (1e-1, 1e-2, 1e-3, 1e-4)
MIN_FALSE_ACCEPTS = 10
"""A TPR at FPR f is given only where f times the impostor pairs is at least this: fewer pairs measure no such rate."""

ROWS = 256
"""Tracklets whose distances are computed at a time, to all that follow."""


@dataclass(frozen=True)
class OperatingPoint:
    """TPR at a wanted FPR: ``threshold`` is the largest whose ``fpr`` is at most the wanted one.

    ``interval``: 95 % interval of the TPR; None where there are too few persons.
    """

    tpr: float
    fpr: float
    threshold: float
    interval: Interval | None


@dataclass(frozen=True)
class Verification:
    """How well a threshold on the distance separates pairs of one person from pairs of two.

    ``tpr`` has None for an FPR that the impostor pairs are too few to measure. ``roc`` holds rows of (threshold, FPR,
    TPR), ascending, at most a few hundred points. ``eer_threshold`` lies in the middle of the gap between distances.
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
        """Rates in per cent, for ``results.json``; what could not be measured is None. Without the ROC."""
        points = {
            f"{fpr:g}": point
            and {
                "tpr": 100 * point.tpr,
                "interval": _percent(point.interval),
                "fpr": 100 * point.fpr,
                "threshold": point.threshold,
            }
            for fpr, point in self.tpr.items()
        }
        return {
            "eer": 100 * self.eer,
            "eer_interval": _percent(self.eer_interval),
            "eer_threshold": self.eer_threshold,
            "tpr_at_fpr": points,
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
    """Verification over all pairs of N tracklets by the Euclidean distance of their features, or by other distances.

    Args:
        features: one row per tracklet, see ``distance.fuse``; or the distances.
        person_ids: only ids above 0 take part.
        camera_ids: of the same tracklets.
        clothes_ids: where two tracklets of a person in the same clothes are to be left out.
        fprs: the wanted FPRs, in (0, 1).
        exclude_same_camera: whether two tracklets of a person in one camera are left out.
        cross_camera_impostors: whether impostor pairs in one camera are left out too (a shared background makes them
            alike). By default they count, as they do in a ranking.
        resamples: of the persons, for the intervals; 0 for none.
        seed: of the resampling.

    Raises:
        InputError: a feature is not finite, or there is no genuine or no impostor pair.
        ValueError: the lengths do not fit, or a wanted FPR is not in (0, 1).
    """
    count = len(features) if isinstance(features, np.ndarray) else len(person_ids)
    if not count == len(person_ids) == len(camera_ids):
        raise ValueError(f"there are {count} features, {len(person_ids)} person ids and {len(camera_ids)} camera ids")
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
    """Verification over given pairs: counts them all, reads the operating points, and their intervals from resampled
    counts. Arguments and errors as for ``verify``; ``blocks``: yields all pairs, and again for the resampling.
    """
    if any(not 0 < fpr < 1 for fpr in fprs):
        raise ValueError(f"a wanted FPR must be in (0, 1), got {tuple(fprs)}")
    counts = count_pairs(blocks())
    num_genuine, num_impostor = int(counts.genuine[-1]), int(counts.impostor[-1])
    if not num_genuine or not num_impostor:
        raise InputError(
            f"Nothing to verify: the tracklets of {num_persons} persons form {num_genuine} genuine pairs (one person, "
            f"two cameras) and {num_impostor} impostor pairs (two persons), and both are needed. With one camera, "
            "count pairs in the same camera too (exclude_same_camera=False)."
        )
    fpr, tpr = counts.impostor / num_impostor, counts.genuine / num_genuine
    points: dict[float, OperatingPoint | None] = {}
    for wanted in fprs:
        allowed = np.floor(wanted * num_impostor * (1 + 1e-12))  # 0.29 * 100 is a little less than 29
        at = int(np.searchsorted(counts.impostor, allowed, side="right")) - 1
        enough = allowed >= MIN_FALSE_ACCEPTS
        points[wanted] = OperatingPoint(float(tpr[at]), float(fpr[at]), counts.threshold(at), None) if enough else None
    levels = keep_levels(counts)
    eer_interval = None
    if resamples:
        drawn = resample_persons(blocks(), num_persons, levels, resamples, seed)
        if drawn.num_genuine_persons >= MIN_PERSONS:
            eer_interval = percentile_interval(_equal_error_rates(drawn.fpr, drawn.tpr))
            for wanted, point in points.items():
                if point:
                    at_wanted = [np.interp(wanted, x, y) for x, y in zip(drawn.fpr, drawn.tpr, strict=True)]
                    points[wanted] = replace(point, interval=percentile_interval(np.array(at_wanted)))
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
    """Where each ROC, of straight lines, crosses FPR = 1 - TPR. The ROCs begin at (0, 0) and end at (1, 1)."""
    excess = fpr + tpr - 1  # from -1 to 1, ascending
    after = np.argmax(excess >= 0, axis=1)[:, None]
    e0, e1 = (np.take_along_axis(excess, at, axis=1) for at in (after - 1, after))
    f0, f1 = (np.take_along_axis(fpr, at, axis=1) for at in (after - 1, after))
    return (f0 + (f1 - f0) * (-e0 / (e1 - e0)))[:, 0]


def _percent(interval: Interval | None) -> list[float] | None:
    return None if interval is None else [100 * bound for bound in interval]
