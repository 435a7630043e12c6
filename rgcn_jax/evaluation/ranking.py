"""CMC and mAP of a distance matrix, exact and without sorting.

The rules are the usual ones (docs/metrics.md). For each query, by increasing distance:

- junk (person id -1) is ignored: it takes no rank;
- the same person in the query's own camera is ignored, since it is usually the same walk; if clothes ids are given,
  also the same person in the query's own clothes;
- a tracklet of the same person in another camera is a match; all others, including distractors (id 0), are not;
- a query without a match is skipped and counted. Queries with id 0 or -1 never have one;
- entries at equal distances have no order: metrics are expectations over all orders of them (``ties``).

To score a large matrix in blocks of queries, merge the results of ``evaluate_ranking`` by ``merge_queries``.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from rgcn_jax.evaluation.matches import Clothes, Labels, check_any_match
from rgcn_jax.evaluation.ranks import match_ranks
from rgcn_jax.evaluation.ties import TieGroup, first_place, mean_inverse_of_last_rank, sum_of_precisions
from rgcn_jax.types import JUNK_ID

MAX_CMC_RANK = 50
PERCENTAGE_RANKS = (1, 5, 10, 20)
AP_FORMS = ("mean", "trapezoid")


@dataclass(frozen=True)
class RankingMetrics:
    """Ranking metrics of Q queries: mAP, mINP, CMC and counts, all derived from the ranks of the matches.

    ``match_ranks`` holds the ascending ranks of each query's matches, from 1; empty for a skipped query. A tied match
    has the best rank of its tie; ``tie_sizes`` holds the number of entries at the distance of each match, 1 without a
    tie. ``num_gallery``: number of entries that take part, before the query's own camera is ignored. ``ap``: form of
    average precision, ``mean`` or ``trapezoid``.
    """

    match_ranks: Sequence[Int64[np.ndarray, "_"]]
    tie_sizes: Sequence[Int64[np.ndarray, "_"]]
    num_gallery: int
    ap: str = "mean"

    def __post_init__(self) -> None:
        if self.ap not in AP_FORMS:
            raise ValueError(f"ap is {self.ap!r}: expected one of {AP_FORMS}")

    def select(self, queries: Bool[np.ndarray, "q"]) -> "RankingMetrics":
        """Metrics of a subset of the queries, with the same gallery."""
        chosen = np.flatnonzero(queries).tolist()
        ranks, sizes = ([of_query[i] for i in chosen] for of_query in (self.match_ranks, self.tie_sizes))
        return replace(self, match_ranks=ranks, tie_sizes=sizes)

    @property
    def valid(self) -> Bool[np.ndarray, "q"]:
        """Mask of queries that have a match."""
        return np.array([len(ranks) > 0 for ranks in self.match_ranks], bool)

    @cached_property
    def tied(self) -> Bool[np.ndarray, "q"]:
        """Mask of queries with a match that is tied with a non-match: only there does the order of ties matter."""
        tied = [
            sizes.max(initial=1) > 1 and any(group.size > group.matches for group in _tie_groups(ranks, sizes))
            for ranks, sizes in zip(self.match_ranks, self.tie_sizes, strict=True)
        ]
        return np.array(tied, bool)

    @cached_property
    def average_precision(self) -> Float64[np.ndarray, "q"]:
        """Average precision of each query, in [0, 1]; NaN for a skipped one.

        Match k at rank r has precision k / r. ``trapezoid`` averages it with the precision one rank earlier, (k - 1) /
        (r - 1), or 1 at rank 1.
        """
        average_precision = np.full(len(self.match_ranks), np.nan)
        for index in np.flatnonzero(self.valid).tolist():
            ranks, sizes = self.match_ranks[index], self.tie_sizes[index]
            if sizes.max() > 1:
                total = sum(sum_of_precisions(group, self.ap) for group in _tie_groups(ranks, sizes))
                average_precision[index] = total / len(ranks)
                continue
            hits = np.arange(1, len(ranks) + 1)
            precision = hits / ranks
            if self.ap == "trapezoid":
                earlier = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
                precision = (earlier + precision) / 2
            average_precision[index] = precision.mean()
        return average_precision

    @cached_property
    def inverse_negative_penalty(self) -> Float64[np.ndarray, "q"]:
        """INP of each query (Ye et al.): number of matches over the rank of the last; NaN for a skipped one."""
        penalty = np.full(len(self.match_ranks), np.nan)
        for index in np.flatnonzero(self.valid).tolist():
            ranks, sizes = self.match_ranks[index], self.tie_sizes[index]
            if sizes[-1] == 1:
                penalty[index] = len(ranks) / ranks[-1]
                continue
            *_, last = _tie_groups(ranks, sizes)
            penalty[index] = len(ranks) * mean_inverse_of_last_rank(last)
        return penalty

    @cached_property
    def first_match_rank(self) -> Float64[np.ndarray, "q"]:
        """Rank of each query's first match; 0 for a skipped one."""
        return np.array([
            group.before + (group.size + 1) / (group.matches + 1) if group else 0.0 for group in self._first_groups
        ])  # fmt: skip

    @cached_property
    def found_within(self) -> Float64[np.ndarray, "q k"]:
        """Probability at [i, k - 1] that query i has a match within rank k; NaN for a skipped one.

        It is 0 or 1 without ties. k goes up to ``num_gallery``, at most ``MAX_CMC_RANK``.
        """
        length = min(self.num_gallery, MAX_CMC_RANK)
        found = np.zeros((len(self.match_ranks), length))
        for row, group in zip(found, self._first_groups, strict=True):
            if not group:
                row[:] = np.nan
            elif group.size == 1:
                row[group.before :] = 1
            elif group.before < length:
                places = np.cumsum(first_place(group))[: length - group.before]
                row[group.before : group.before + len(places)] = places
                row[group.before + len(places) :] = 1
        return found

    @cached_property
    def mAP(self) -> float:
        """Mean of ``average_precision`` over the valid queries, in [0, 1]; NaN if there are none."""
        return _mean(self.average_precision[self.valid])

    @cached_property
    def mINP(self) -> float:
        """Mean of ``inverse_negative_penalty`` over the valid queries."""
        return _mean(self.inverse_negative_penalty[self.valid])

    @cached_property
    def cmc(self) -> Float64[np.ndarray, "k"]:
        """Cumulative matching characteristic: at k - 1 the fraction of valid queries with a match within rank k.

        k goes up to ``num_gallery``, at most ``MAX_CMC_RANK``; NaN if no query is valid.
        """
        found = self.found_within[self.valid]
        return found.mean(axis=0) if len(found) else np.full(found.shape[1], np.nan)

    @property
    def num_valid_queries(self) -> int:
        """Number of queries that have a match."""
        return int(self.valid.sum())

    @property
    def num_skipped_queries(self) -> int:
        """Number of queries without a match; no metric includes them."""
        return len(self.match_ranks) - self.num_valid_queries

    @property
    def num_tied_queries(self) -> int:
        """Number of queries for which the order of ties matters."""
        return int(self.tied.sum())

    @property
    def _first_groups(self) -> Iterator[TieGroup | None]:
        """Yield the tie group of each query's first match."""
        for ranks, sizes in zip(self.match_ranks, self.tie_sizes, strict=True):
            yield next(_tie_groups(ranks, sizes), None)


def evaluate_ranking(
    distances: Float[np.ndarray, "q g"],
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    ap: str = "mean",
    exclude_same_camera: bool = True,
    *,
    in_gallery: Bool[np.ndarray, "g"] | None = None,
    clothes: Clothes | None = None,
    require_match: bool = True,
) -> RankingMetrics:
    """Rank the gallery for each query by a distance matrix, and compute mAP and CMC.

    With ``exclude_same_camera=False`` the same person in the same camera is a match. A query that is in such a gallery
    finds itself, so exclude the queries from it.

    Args:
        distances: distance of each query to each gallery entry, finite; small means similar.
        query_ids: person ids of the queries.
        gallery_ids: person ids of the gallery (-1 junk, 0 distractor).
        query_cameras: camera ids of the queries.
        gallery_cameras: camera ids of the gallery.
        ap: ``mean``, the mean of the precision at each match, or ``trapezoid``, the mean of the precisions at and just
          before each match, as in the official MATLAB code of MARS.
        exclude_same_camera: whether to ignore the query's person in the query's camera.
        in_gallery: mask of the columns that take part; the others are ignored. Junk included here is an entry that
          never matches (AGRL's protocol). None: all but junk.
        clothes: clothes ids of queries and gallery, to ignore the same person in the same clothes in any camera.
        require_match: whether to raise an error if no query has a match; False for a block of queries.

    Raises:
        InputError: a distance is not finite, or no query has a match.
        ValueError: lengths differ, or ``ap`` is unknown.
    """
    distances, query_ids, gallery_ids = np.asarray(distances), np.asarray(query_ids), np.asarray(gallery_ids)
    query_cameras, gallery_cameras = np.asarray(query_cameras), np.asarray(gallery_cameras)
    lengths = (len(query_ids), len(gallery_ids)), (len(query_cameras), len(gallery_cameras))
    if any(distances.shape != pair for pair in lengths):
        raise ValueError(
            f"distances have shape {distances.shape}, but the numbers of (query, gallery) person ids are {lengths[0]} "
            f"and of camera ids {lengths[1]}"
        )
    if distances.dtype.kind != "f":
        distances = distances.astype(np.float64)
    takes_part: np.ndarray = gallery_ids != JUNK_ID if in_gallery is None else np.asarray(in_gallery)
    if takes_part.shape != gallery_ids.shape:
        raise ValueError(f"in_gallery has shape {takes_part.shape}, but there are {len(gallery_ids)} gallery entries")
    ids = query_ids, gallery_ids, query_cameras, gallery_cameras
    labels = Labels(*ids, takes_part, exclude_same_camera, clothes)
    if require_match:
        check_any_match(labels)
    ranks, sizes = match_ranks(distances, labels)
    return RankingMetrics(ranks, sizes, int(takes_part.sum()), ap)


def merge_queries(blocks: Sequence[RankingMetrics]) -> RankingMetrics:
    """Merge the metrics of blocks of queries with the same gallery, in order.

    Raises:
        ValueError: there is no block, or galleries or forms of average precision differ.
    """
    if len({(block.num_gallery, block.ap) for block in blocks}) != 1:
        raise ValueError("expected one or more blocks of the same gallery and form of average precision")
    ranks = [ranks for block in blocks for ranks in block.match_ranks]
    sizes = [sizes for block in blocks for sizes in block.tie_sizes]
    return replace(blocks[0], match_ranks=ranks, tie_sizes=sizes)


def as_percentages(metrics: RankingMetrics) -> dict[str, float]:
    """``{"mAP", "rank1", "rank5", "rank10", "rank20"}`` in per cent, unrounded.

    In a gallery of fewer than k entries, Rank-k is that of the last rank, by which all queries have found a match.
    """
    shares = {f"rank{k}": metrics.cmc[min(k, len(metrics.cmc)) - 1] for k in PERCENTAGE_RANKS}
    return {"mAP": 100 * metrics.mAP} | {name: 100 * float(share) for name, share in shares.items()}


def _tie_groups(ranks: np.ndarray, sizes: np.ndarray) -> Iterator[TieGroup]:
    """Yield the tie groups that contain matches of a query, the nearest first."""
    hits = 0
    while hits < len(ranks):
        matches = int(np.count_nonzero(ranks == ranks[hits]))
        yield TieGroup(int(ranks[hits]) - 1, hits, int(sizes[hits]), matches)
        hits += matches


def _mean(values: np.ndarray) -> float:
    """Mean of the values; NaN if empty."""
    return float(values.mean()) if len(values) else float("nan")
