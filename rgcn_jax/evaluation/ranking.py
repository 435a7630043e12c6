"""CMC and mAP of a ranking, exact and without a full sort.

Distances come in, with the person and camera ids of queries and gallery; a ``RankingMetrics`` goes out. The rules are
the field's (docs/metrics.md). For each query, in order of growing distance:

- junk (person id -1) is ignored: it takes no rank;
- the same person in the query's own camera is ignored, as it is in most cases the same walk; where clothes are given
  also the same person in the query's own clothes;
- another camera's tracklet of the same person is a match; anything else, a distractor (id 0) too, is a wrong answer;
- a query without any match is skipped and counted. Queries of id 0 or -1 never have one;
- entries at equal distances have no order: every number is the expectation over all orders of them (``ties``).

A large matrix is scored a block of queries at a time (``evaluate_ranking`` of each, ``merge_queries`` of all).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from rgcn_jax.evaluation.matches import Clothes, check_any_match
from rgcn_jax.evaluation.ranks import match_ranks
from rgcn_jax.evaluation.ties import TieGroup, first_place, mean_inverse_of_last_rank, sum_of_precisions
from rgcn_jax.types import JUNK_ID

MAX_CMC_RANK = 50
PERCENTAGE_RANKS = (1, 5, 10, 20)
AP_FORMS = ("mean", "trapezoid")


@dataclass(frozen=True)
class RankingMetrics:
    """How well Q queries found their matches: mAP, mINP, CMC and counts, all derived from the ranks of the matches.

    ``match_ranks`` holds for each query the ranks of its matches, 1 is best, ascending; empty for a skipped query. A
    match that is tied has the best rank of its tie, and ``tie_sizes`` holds the number of entries at the distance of
    each match, 1 where it stands alone. ``num_gallery`` entries take part (before the query's own camera is left out).
    ``ap`` is the form of average precision, ``mean`` or ``trapezoid``.
    """

    match_ranks: Sequence[Int64[np.ndarray, "_"]]
    tie_sizes: Sequence[Int64[np.ndarray, "_"]]
    num_gallery: int
    ap: str = "mean"

    def __post_init__(self) -> None:
        if self.ap not in AP_FORMS:
            raise ValueError(f"ap must be one of {AP_FORMS}, got {self.ap!r}")

    def with_ap(self, ap: str) -> "RankingMetrics":
        """The metrics of the same ranking with the other form of average precision.

        Raises:
            ValueError: ``ap`` is unknown.
        """
        return replace(self, ap=ap)

    def select(self, queries: Bool[np.ndarray, "q"]) -> "RankingMetrics":
        """The metrics of some of the queries, against the same gallery."""
        chosen = np.flatnonzero(queries).tolist()
        ranks, sizes = ([of_query[i] for i in chosen] for of_query in (self.match_ranks, self.tie_sizes))
        return replace(self, match_ranks=ranks, tie_sizes=sizes)

    @property
    def valid(self) -> Bool[np.ndarray, "q"]:
        """Which queries have a match."""
        return np.array([len(ranks) > 0 for ranks in self.match_ranks], bool)

    @cached_property
    def tied(self) -> Bool[np.ndarray, "q"]:
        """Which queries have a match at the distance of an entry that is none: only there does the order matter."""
        tied = [
            sizes.max(initial=1) > 1 and any(group.size > group.matches for group in _tie_groups(ranks, sizes))
            for ranks, sizes in zip(self.match_ranks, self.tie_sizes, strict=True)
        ]
        return np.array(tied, bool)

    @cached_property
    def average_precision(self) -> Float64[np.ndarray, "q"]:
        """Of each query, in [0, 1], in the order of the queries; NaN for a skipped one.

        Hit k at rank r has precision k / r. ``trapezoid`` averages it with the precision one rank earlier, which is
        (k - 1) / (r - 1), or 1 at rank 1.
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
        """Of each query the number of its matches over the rank of the last; NaN for a skipped one (INP, Ye et al.)."""
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
        """Rank of each query's first match, in the order of the queries; 0 for a skipped one."""
        return np.array([
            group.before + (group.size + 1) / (group.matches + 1) if group else 0.0 for group in self._first_groups
        ])  # fmt: skip

    @cached_property
    def found_within(self) -> Float64[np.ndarray, "q k"]:
        """At [i, k - 1] the probability that query i has a match among the first k; NaN for a skipped one.

        It is 0 or 1 but for ties. For k up to ``num_gallery``, at most ``MAX_CMC_RANK``.
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
        """Mean of ``average_precision`` over the valid queries, in [0, 1]; NaN where no query is valid."""
        return _mean(self.average_precision[self.valid])

    @cached_property
    def mINP(self) -> float:
        """The mean of ``inverse_negative_penalty``."""
        return _mean(self.inverse_negative_penalty[self.valid])

    @cached_property
    def cmc(self) -> Float64[np.ndarray, "k"]:
        """Cumulative matching characteristic: at k - 1 the fraction of valid queries with a match among the first k.

        For k up to ``num_gallery``, at most ``MAX_CMC_RANK``; NaN where no query is valid.
        """
        found = self.found_within[self.valid]
        return found.mean(axis=0) if len(found) else np.full(found.shape[1], np.nan)

    @property
    def num_valid_queries(self) -> int:
        """Queries that have a match."""
        return int(self.valid.sum())

    @property
    def num_skipped_queries(self) -> int:
        """Queries that have none; they count nowhere else."""
        return len(self.match_ranks) - self.num_valid_queries

    @property
    def num_tied_queries(self) -> int:
        """Queries for which the order of equal distances matters."""
        return int(self.tied.sum())

    @property
    def _first_groups(self) -> Iterator[TieGroup | None]:
        """Of each query the entries at the distance of its first match."""
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
    """Rank the gallery for each query by a distance matrix, and score the ranking: mAP and CMC.

    With ``exclude_same_camera=False`` the same person in the same camera is a match. Nothing then distinguishes a query
    that is in the gallery from a further tracklet of its person, so it finds itself: leave the queries out of such a
    gallery.

    Args:
        distances: from each query to each gallery entry, small is similar; finite.
        query_ids: person ids of the queries.
        gallery_ids: person ids of the gallery (-1 junk, 0 distractor).
        query_cameras: camera ids of the queries.
        gallery_cameras: camera ids of the gallery.
        ap: ``mean``, the mean of the precision at each match, or ``trapezoid``, where the precision just before each
            match counts as much as that at it, as in the official MATLAB code of MARS.
        exclude_same_camera: whether to ignore the query's person in the query's camera.
        in_gallery: which columns take part; the others are ignored. Junk takes part where it is marked here (AGRL's
            protocol), as an entry that never matches. None: all but junk.
        clothes: ids of the queries' and of the gallery's clothes, where the same person in the same clothes is to be
            ignored too, whatever the camera.
        require_match: whether it is an error that no query has a match. Not of a block of queries, which may be few.

    Raises:
        InputError: a distance is not finite, or no query has a match.
        ValueError: the lengths do not fit, or ``ap`` is unknown.
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
    if require_match:
        check_any_match(*ids, takes_part, exclude_same_camera, clothes)
    ranks, sizes = match_ranks(distances, *ids, takes_part, exclude_same_camera, clothes)
    return RankingMetrics(ranks, sizes, int(takes_part.sum()), ap)


def merge_queries(blocks: Sequence[RankingMetrics]) -> RankingMetrics:
    """The metrics of all queries from those of blocks of queries against the same gallery, in order.

    Raises:
        ValueError: there is no block, or the blocks are of different galleries or forms of average precision.
    """
    if len({(block.num_gallery, block.ap) for block in blocks}) != 1:
        raise ValueError("the blocks must be one or more, of the same gallery and form of average precision")
    ranks = [ranks for block in blocks for ranks in block.match_ranks]
    sizes = [sizes for block in blocks for sizes in block.tie_sizes]
    return replace(blocks[0], match_ranks=ranks, tie_sizes=sizes)


def as_percentages(metrics: RankingMetrics) -> dict[str, float]:
    """``{"mAP", "rank1", "rank5", "rank10", "rank20"}`` in per cent, as the paper's tables have them, not rounded.

    In a gallery of fewer entries than k, Rank-k is the share at its last rank: all queries have found a match by then.
    """
    shares = {f"rank{k}": metrics.cmc[min(k, len(metrics.cmc)) - 1] for k in PERCENTAGE_RANKS}
    return {"mAP": 100 * metrics.mAP} | {name: 100 * float(share) for name, share in shares.items()}


def _tie_groups(ranks: np.ndarray, sizes: np.ndarray) -> Iterator[TieGroup]:
    """The groups of equal distances that hold matches of a query, the nearest first."""
    hits = 0
    while hits < len(ranks):
        matches = int(np.count_nonzero(ranks == ranks[hits]))
        yield TieGroup(int(ranks[hits]) - 1, hits, int(sizes[hits]), matches)
        hits += matches


def _mean(values: np.ndarray) -> float:
    """NaN of nothing."""
    return float(values.mean()) if len(values) else float("nan")
