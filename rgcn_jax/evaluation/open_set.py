"""Open-set search: whether the person of a query is in the gallery at all. FNIR at fixed FPIR, and the DET curve.

The gallery holds enrolled persons (ids above 0). A search raises an alarm if its nearest entry is *below* a threshold
t. The same person in the query's own camera is ignored, as in the ranking. Definitions:

- mated searches: queries with a match in the gallery;
- non-mated searches: all distractors (id 0), which are removed from the gallery here, and queries without a match;
- FNIR(t): fraction of mated searches whose nearest match is not below t (false negative identification rate);
- FPIR(t): fraction of non-mated searches whose nearest entry is below t (false positive identification rate).

FNIR at FPIR f is read at the largest t whose FPIR is at most f (ISO/IEC 19795-1; Grother, Ngan and Hanaoka, NISTIR
8271, without a limit on the rank). The 95 % intervals resample mated and non-mated persons separately; each distractor
tracklet counts as one person.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Float64

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import Distances, Euclidean
from rgcn_jax.evaluation.protocol import Protocol, Roles, gallery_of
from rgcn_jax.evaluation.significance import MIN_PERSONS, Interval, draw_persons, percentile_interval
from rgcn_jax.evaluation.verification import MIN_FALSE_ACCEPTS, points_json
from rgcn_jax.types import DISTRACTOR_ID, Embeddings

FPIRS = (0.1, 0.01)
DET_POINTS = 64
_ELEMENTS = 2**22  # distances per block


@dataclass(frozen=True)
class SearchPoint:
    """FNIR at a requested FPIR; ``threshold`` is the largest whose ``fpir`` is at most that.

    ``interval``: 95 % interval of the FNIR; None if there are too few persons.
    """

    fnir: float
    interval: Interval | None
    fpir: float
    threshold: float


@dataclass(frozen=True)
class OpenSet:
    """Open-set metrics of a threshold on the nearest distance.

    A value of ``points`` is None if there are too few non-mated searches to measure the FPIR: at least
    ``verification.MIN_FALSE_ACCEPTS`` false alarms are required. ``det`` has rows of (threshold, FPIR, FNIR), one per
    distance of a non-mated search, ascending.
    """

    points: dict[float, SearchPoint | None]
    num_known: int
    num_unknown: int
    num_enrolled: int
    det: Float64[np.ndarray, "k 3"]

    def to_json(self) -> dict[str, Any]:
        """Rates in per cent, as JSON values; None if not measured. At most ``DET_POINTS`` rows of the DET curve."""
        shown = np.unique(np.linspace(0, len(self.det) - 1, DET_POINTS).round().astype(int))
        return {
            "fnir_at_fpir": points_json(self.points),
            "det": (self.det[shown] * (1, 100, 100)).tolist(),
            "known_searches": self.num_known,
            "unknown_searches": self.num_unknown,
            "enrolled_persons": self.num_enrolled,
        }


def open_set(
    features: Float32[np.ndarray, "n d"] | Distances,
    embeddings: Embeddings,
    roles: Roles,
    protocol: Protocol,
    *,
    fpirs: Sequence[float] = FPIRS,
    resamples: int = 1000,
    seed: int = 0,
) -> OpenSet:
    """Evaluate open-set search with the queries and distractors of a test set.

    Args:
        features: one row per tracklet, see ``distance.fuse``; or distances.
        embeddings: person and camera ids of the same N tracklets.
        roles: role of each tracklet.
        protocol: protocol that selects the gallery, and whether the query's own camera is ignored.
        fpirs: FPIRs to report, in (0, 1).
        resamples: number of bootstrap resamples of the persons; 0: no intervals.
        seed: random seed of the resampling.

    Raises:
        InputError: a feature is not finite, or there is no mated or no non-mated search.
        ValueError: an FPIR is not in (0, 1).
    """
    if any(not 0 < fpir < 1 for fpir in fpirs):
        raise ValueError(f"expected FPIRs in (0, 1), found {tuple(fpirs)}")
    persons, cameras, clothes = embeddings.person_ids, embeddings.camera_ids, embeddings.clothes_ids
    enrolled = gallery_of(protocol, roles) & (persons > 0)
    distractors = (persons == DISTRACTOR_ID) & (roles.query | roles.gallery)
    searches = np.flatnonzero((roles.query & (persons > 0)) | distractors)
    to_match, to_non_match = np.full((2, len(searches)), np.inf)
    given = Euclidean(features) if isinstance(features, np.ndarray) else features
    for rows, distances in given.blocks(searches, _ELEMENTS):
        block = searches[rows]
        distances[:, ~enrolled] = np.inf
        same = persons[block, None] == persons
        match = same if protocol.same_camera else same & (cameras[block, None] != cameras)
        if not protocol.same_clothes:
            match &= clothes[block, None] != clothes
        to_match[rows] = np.where(match, distances, np.inf).min(axis=1)
        to_non_match[rows] = np.where(same, np.inf, distances).min(axis=1)
    known = np.isfinite(to_match)
    if not known.any() or known.all():
        raise InputError(
            f"open-set search needs mated and non-mated searches: {int(known.sum())} of {len(searches)} searches have "
            "a match in the gallery. Non-mated are distractors (person id 0) and queries without a match."
        )
    units = np.where(persons[searches] > 0, persons[searches], -1 - searches)  # each distractor is one person
    mated, non_mated = _Searches.of(to_match[known], units[known]), _Searches.of(to_non_match[~known], units[~known])
    num_known, num_unknown = len(mated.distances), len(non_mated.distances)

    def rates(thresholds: Any) -> tuple[Any, Any]:
        """FPIR and FNIR."""
        missed = num_known - np.searchsorted(mated.distances, thresholds)
        return np.searchsorted(non_mated.distances, thresholds) / num_unknown, missed / num_known

    points: dict[float, SearchPoint | None] = {}
    for wanted in fpirs:
        allowed = np.floor(wanted * num_unknown * (1 + 1e-12))  # 0.29 * 100 rounds to less than 29
        points[wanted] = None
        if allowed >= MIN_FALSE_ACCEPTS:
            threshold = float(non_mated.distances[int(allowed)])
            fpir, fnir = map(float, rates(threshold))
            points[wanted] = SearchPoint(fnir, _interval(mated, non_mated, wanted, resamples, seed), fpir, threshold)
    thresholds = np.unique(non_mated.distances)
    det = np.stack([thresholds, *rates(thresholds)], axis=1)
    return OpenSet(points, num_known, num_unknown, len(np.unique(persons[enrolled])), det)


class _Searches(NamedTuple):
    """Ascending nearest distances of searches, with the person index of each."""

    distances: np.ndarray
    persons: np.ndarray

    @classmethod
    def of(cls, distances: np.ndarray, units: np.ndarray) -> "_Searches":
        order = np.argsort(distances, kind="stable")
        return cls(distances[order], np.unique(units[order], return_inverse=True)[1])


def _interval(mated: _Searches, non_mated: _Searches, fpir: float, resamples: int, seed: int) -> Interval | None:
    """Interval of the FNIR at an FPIR; each resample has its own threshold."""
    numbers = [int(part.persons.max()) + 1 for part in (mated, non_mated)]
    if not resamples or min(numbers) < MIN_PERSONS:
        return None
    rates = []
    draws = (draw_persons(number, resamples, seed + i) for i, number in enumerate(numbers))
    for of_mated, of_non_mated in zip(*draws, strict=True):
        alarms = np.cumsum(of_non_mated[non_mated.persons], dtype=np.float64)
        at = int(np.searchsorted(alarms, fpir * alarms[-1] * (1 + 1e-12), side="right"))
        missed = mated.distances >= non_mated.distances[at]
        weights = of_mated[mated.persons]
        rates.append(weights[missed].sum() / weights.sum())
    return percentile_interval(np.array(rates, np.float64))
