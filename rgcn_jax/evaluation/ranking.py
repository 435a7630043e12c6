"""CMC and mAP of a ranking, exact and without a full sort.

Distances come in, with the person and camera ids of queries and gallery; a ``RankingMetrics`` goes out. The rules are
the field's (method.md, sections 7 and 8). For each query, in order of growing distance, ties in gallery order:

- junk (person id -1) is ignored: it takes no rank;
- the same person in the query's own camera is ignored, as it is in most cases the same walk;
- another camera's tracklet of the same person is a match; anything else, a distractor (id 0) too, is a wrong answer;
- a query without any match is skipped and counted. Queries of id 0 or -1 never have one.

A match's rank is one more than the number of gallery entries that come before it. A query has few matches (11 on MARS),
so counting is faster than sorting, and it needs one row of the matrix at a time: a large matrix is scored a block of
queries at a time (``evaluate_ranking`` of each, ``merge_queries`` of all).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import check_any_match
from rgcn_jax.types import JUNK_ID

MAX_CMC_RANK = 50
PERCENTAGE_RANKS = (1, 5, 10, 20)
AP_FORMS = ("mean", "trapezoid")


@dataclass(frozen=True)
class RankingMetrics:
    """How well Q queries found their matches: mAP, CMC and counts, all derived from the ranks of the matches.

    ``match_ranks`` holds for each query the ranks of its matches, 1 is best, ascending; empty for a skipped query.
    ``num_gallery`` entries take part (before the query's own camera is left out). ``ap`` is the form of average
    precision, ``mean`` or ``trapezoid``.
    """

    match_ranks: Sequence[Int64[np.ndarray, "_"]]
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

    @cached_property
    def average_precision(self) -> Float64[np.ndarray, "q"]:
        """Of each query, in [0, 1], in the order of the queries; NaN for a skipped one.

        Hit k at rank r has precision k / r. ``trapezoid`` averages it with the precision one rank earlier, which is
        (k - 1) / (r - 1), or 1 at rank 1.
        """
        average_precision = np.full(len(self.match_ranks), np.nan)
        for index, ranks in enumerate(self.match_ranks):
            if len(ranks) == 0:
                continue
            hits = np.arange(1, len(ranks) + 1)
            precision = hits / ranks
            if self.ap == "trapezoid":
                earlier = np.where(ranks > 1, (hits - 1) / np.maximum(ranks - 1, 1), 1.0)
                precision = (earlier + precision) / 2
            average_precision[index] = precision.mean()
        return average_precision

    @cached_property
    def first_match_rank(self) -> Int64[np.ndarray, "q"]:
        """Rank of each query's first match, in the order of the queries; 0 for a skipped one."""
        return np.array([ranks[0] if len(ranks) else 0 for ranks in self.match_ranks], np.int64)

    @cached_property
    def mAP(self) -> float:
        """Mean of ``average_precision`` over the valid queries, in [0, 1]; NaN where no query is valid."""
        valid = self.first_match_rank > 0
        return float(self.average_precision[valid].mean()) if valid.any() else float("nan")

    @cached_property
    def cmc(self) -> Float64[np.ndarray, "k"]:
        """Cumulative matching characteristic: at k - 1 the fraction of valid queries with a match among the first k.

        For k up to ``num_gallery``, at most ``MAX_CMC_RANK``; NaN where no query is valid.
        """
        length = min(self.num_gallery, MAX_CMC_RANK)
        if not self.num_valid_queries:
            return np.full(length, np.nan)
        first = self.first_match_rank
        found_at = np.bincount(first[first > 0], minlength=self.num_gallery + 1)[1:]
        return (np.cumsum(found_at) / self.num_valid_queries)[:length]

    @property
    def num_valid_queries(self) -> int:
        """Queries that have a match."""
        return int((self.first_match_rank > 0).sum())

    @property
    def num_skipped_queries(self) -> int:
        """Queries that have none; they count nowhere else."""
        return len(self.match_ranks) - self.num_valid_queries


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
    require_match: bool = True,
) -> RankingMetrics:
    """Rank the gallery for each query by a distance matrix, and score the ranking: mAP and CMC.

    With ``exclude_same_camera=False`` the same person in the same camera is a match. Nothing then tells a query that is
    in the gallery from a further tracklet of its person, so it finds itself: leave the queries out of such a gallery.

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
        check_any_match(*ids, takes_part, exclude_same_camera)
    return RankingMetrics(_match_ranks(distances, *ids, takes_part, exclude_same_camera), int(takes_part.sum()), ap)


def merge_queries(blocks: Sequence[RankingMetrics]) -> RankingMetrics:
    """The metrics of all queries from those of blocks of queries against the same gallery, in order.

    Raises:
        ValueError: there is no block, or the blocks are of different galleries or forms of average precision.
    """
    if len({(block.num_gallery, block.ap) for block in blocks}) != 1:
        raise ValueError("the blocks must be one or more, of the same gallery and form of average precision")
    ranks = [ranks for block in blocks for ranks in block.match_ranks]
    return RankingMetrics(ranks, blocks[0].num_gallery, blocks[0].ap)


def _match_ranks(
    distances: np.ndarray,
    query_ids: np.ndarray,
    gallery_ids: np.ndarray,
    query_cameras: np.ndarray,
    gallery_cameras: np.ndarray,
    in_gallery: np.ndarray,
    exclude_same_camera: bool,
) -> list[np.ndarray]:
    """For each query the ranks of its matches, 1-based and ascending; empty without a match.

    The arguments are those of ``evaluate_ranking``. One match costs one pass over its row.
    """
    # An ignored entry goes to infinity, behind everything, by adding this row: cheaper than to index it.
    absent = np.where(in_gallery, 0, np.inf).astype(distances.dtype)
    candidates = _same_person(query_ids, gallery_ids)
    row = np.empty(distances.shape[1], distances.dtype)
    before = np.empty(distances.shape[1], bool)
    all_ranks = []
    for index, same in enumerate(candidates):
        if not np.isfinite(distances[index], out=before).all():
            column = int(np.flatnonzero(~before)[0])
            raise InputError(
                f"The distance between query {index} and gallery entry {column} is {distances[index, column]}, but "
                "distances must be finite. Are the features finite (did the training diverge)?"
            )
        matches = same[in_gallery[same]]
        np.add(distances[index], absent, out=row)
        if exclude_same_camera:
            own = gallery_cameras[matches] == query_cameras[index]
            row[matches[own]] = np.inf
            matches = matches[~own]
        ranks = np.empty(len(matches), np.int64)
        for k, column in enumerate(matches.tolist()):
            limit = row[column]
            np.less_equal(row[:column], limit, out=before[:column])  # equal distances keep the gallery's order
            np.less(row[column:], limit, out=before[column:])
            ranks[k] = np.count_nonzero(before) + 1
        ranks.sort()
        all_ranks.append(ranks)
    return all_ranks


def as_percentages(metrics: RankingMetrics) -> dict[str, float]:
    """``{"mAP", "rank1", "rank5", "rank10", "rank20"}`` in per cent, as the paper's tables have them, not rounded.

    In a gallery of fewer entries than k, Rank-k is the share at its last rank: all queries have found a match by then.
    """
    shares = {f"rank{k}": metrics.cmc[min(k, len(metrics.cmc)) - 1] for k in PERCENTAGE_RANKS}
    return {"mAP": 100 * metrics.mAP} | {name: 100 * float(share) for name, share in shares.items()}


def _same_person(query_ids: np.ndarray, gallery_ids: np.ndarray) -> list[np.ndarray]:
    """For each query the ascending gallery positions of its person; none for junk and distractors."""
    order = np.argsort(gallery_ids, kind="stable")
    ordered = gallery_ids[order]
    first = np.searchsorted(ordered, query_ids, side="left")
    last = np.searchsorted(ordered, query_ids, side="right")
    last = np.where(query_ids > 0, last, first)
    return [order[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]
