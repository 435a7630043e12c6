"""CMC and mAP of a ranking, exact and without a full sort.

Distances come in, with the person and camera ids of queries and gallery; a ``RankingMetrics`` goes out. The rules are
the field's (method.md, sections 7 and 8). For each query, in order of growing distance, ties in gallery order:

- junk (person id -1) is ignored: it takes no rank;
- the same person in the query's own camera is ignored, as it is in most cases the same walk;
- another camera's tracklet of the same person is a match; anything else, a distractor (id 0) too, is a wrong answer;
- a query without any match is skipped and counted. Queries of id 0 or -1 never have one.

A match's rank is one more than the number of gallery entries that come before it. A query has few matches (11 on MARS),
so counting is faster than sorting, and it needs one row of the matrix at a time.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Float64, Int64, Integer

from rgcn_jax.errors import InputError
from rgcn_jax.types import JUNK_ID

MAX_CMC_RANK = 50
PERCENTAGE_RANKS = (1, 5, 10, 20)
AP_FORMS = ("mean", "trapezoid")


@dataclass(frozen=True)
class RankingMetrics:
    """How well Q queries found their matches. Shares are in [0, 1].

    ``mAP``: mean of ``average_precision`` over the valid queries. ``cmc[k - 1]``: share of the valid queries with a
    match among the first k ranks (Rank-k), for k up to ``num_gallery``, at most ``MAX_CMC_RANK``. ``num_valid_queries``
    have a match, ``num_skipped_queries`` have none and count nowhere. ``num_gallery`` entries take part (before the
    query's own camera is left out). ``average_precision`` [Q] is NaN, and ``first_match_rank`` [Q] (1 is best) is 0,
    for a skipped query; both keep the order of the queries, for paired tests.
    """

    mAP: float
    cmc: Float64[np.ndarray, "k"]
    num_valid_queries: int
    num_skipped_queries: int
    num_gallery: int
    average_precision: Float64[np.ndarray, "q"]
    first_match_rank: Int64[np.ndarray, "q"]


def evaluate_ranking(
    distances: Float[np.ndarray, "q g"],
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    ap: str = "mean",
    exclude_same_camera: bool = True,
) -> RankingMetrics:
    """Score a distance matrix.

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
    in_gallery = gallery_ids != JUNK_ID
    persons = query_ids, gallery_ids
    cameras = query_cameras, gallery_cameras
    check_any_match(*persons, *cameras, in_gallery, exclude_same_camera)
    ranks = match_ranks(distances, *persons, *cameras, in_gallery, exclude_same_camera)
    return summarize(ranks, int(in_gallery.sum()), ap)


def match_ranks(
    distances: Float[np.ndarray, "q g"],
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    in_gallery: Bool[np.ndarray, "g"],
    exclude_same_camera: bool = True,
) -> list[Int64[np.ndarray, "_"]]:
    """For each query the ranks of its matches, 1-based and ascending; empty without a match.

    The queries are independent of each other, so that a large matrix can be ranked a block of rows at a time. One match
    costs one pass over its row.

    Args:
        distances: from each query to each column; finite.
        query_ids: person ids of the queries.
        gallery_ids: person ids of the columns.
        query_cameras: camera ids of the queries.
        gallery_cameras: camera ids of the columns.
        in_gallery: which columns take part; the others are ignored. Junk takes part where it is marked here (AGRL's
            protocol), as an entry that never matches.
        exclude_same_camera: whether to ignore the query's person in the query's camera.

    Raises:
        InputError: a distance is not finite.
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


def summarize(ranks: Sequence[Int64[np.ndarray, "_"]], num_gallery: int, ap: str = "mean") -> RankingMetrics:
    """Average what ``match_ranks`` found for all queries, at least one of them with a match.

    Hit k at rank r has precision k / r. ``trapezoid`` averages it with the precision one rank earlier, which is
    (k - 1) / (r - 1), or 1 at rank 1.

    Args:
        ranks: of each query's matches, ascending.
        num_gallery: entries that take part.
        ap: ``mean`` or ``trapezoid``.

    Raises:
        ValueError: ``ap`` is unknown, or no query has a match (see ``check_any_match``).
    """
    if ap not in AP_FORMS:
        raise ValueError(f"ap must be one of {AP_FORMS}, got {ap!r}")
    average_precision = np.full(len(ranks), np.nan)
    first = np.zeros(len(ranks), np.int64)
    for index, r in enumerate(ranks):
        if len(r) == 0:
            continue
        hits = np.arange(1, len(r) + 1)
        precision = hits / r
        if ap == "trapezoid":
            earlier = np.where(r > 1, (hits - 1) / np.maximum(r - 1, 1), 1.0)
            precision = (earlier + precision) / 2
        average_precision[index] = precision.mean()
        first[index] = r[0]
    valid = first > 0
    if not valid.any():
        raise ValueError("no query has a match")
    found_at = np.bincount(first[valid], minlength=num_gallery + 1)[1:]
    return RankingMetrics(
        mAP=float(average_precision[valid].mean()),
        cmc=(np.cumsum(found_at) / valid.sum())[: min(num_gallery, MAX_CMC_RANK)],
        num_valid_queries=int(valid.sum()),
        num_skipped_queries=int((~valid).sum()),
        num_gallery=num_gallery,
        average_precision=average_precision,
        first_match_rank=first,
    )


def count_matches(
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    in_gallery: Bool[np.ndarray, "g"],
    exclude_same_camera: bool = True,
) -> tuple[Int64[np.ndarray, "q"], Int64[np.ndarray, "q"]]:
    """For each query the number of its matches and of all entries that take a rank, which needs no distances.

    The arguments are those of ``match_ranks``. The first over the second is the Rank-1 that a random ranking expects.
    """
    person = query_ids > 0
    ids, cameras = gallery_ids[in_gallery], gallery_cameras[in_gallery]
    matches = _occurrences(query_ids, ids) * person
    candidates = np.full(len(query_ids), len(ids), np.int64)
    if exclude_same_camera:
        # One number for each pair of person and camera, so that pairs can be counted as persons are.
        _, codes = np.unique(np.concatenate([query_cameras, cameras]), return_inverse=True)
        pairs = np.concatenate([query_ids, ids]).astype(np.int64) * (len(codes) + 1) + codes
        own = _occurrences(pairs[: len(query_ids)], pairs[len(query_ids) :]) * person
        matches, candidates = matches - own, candidates - own
    return matches, candidates


def check_any_match(
    query_ids: Integer[np.ndarray, "q"],
    gallery_ids: Integer[np.ndarray, "g"],
    query_cameras: Integer[np.ndarray, "q"],
    gallery_cameras: Integer[np.ndarray, "g"],
    in_gallery: Bool[np.ndarray, "g"],
    exclude_same_camera: bool = True,
) -> None:
    """Raise InputError, with the counts and the likely cause, if no query has a match.

    The arguments are those of ``match_ranks``.
    """
    matches, _ = count_matches(query_ids, gallery_ids, query_cameras, gallery_cameras, in_gallery, exclude_same_camera)
    if matches.any():
        return
    persons = np.intersect1d(query_ids, gallery_ids[in_gallery])
    persons = persons[persons > 0]
    cameras = np.union1d(query_cameras, gallery_cameras)
    if len(query_ids) == 0 or not in_gallery.any():
        cause = "One of them is empty: check the split."
    elif len(persons) == 0:
        cause = "No person of the queries is in the gallery: check that both come from the same split."
    elif len(cameras) == 1:
        cause = f"All tracklets have camera id {cameras[0]}: check that the camera ids are read from the file names."
    else:
        cause = (
            f"{len(persons)} persons are in both, but each in one camera only, and the same person in the same camera "
            "is ignored: check the camera ids, or rank with exclude_same_camera=False."
        )
    raise InputError(
        f"None of the {len(query_ids)} queries has a match among the {int(in_gallery.sum())} gallery entries, so there "
        f"is nothing to score. {cause}"
    )


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


def _occurrences(values: np.ndarray, among: np.ndarray) -> np.ndarray:
    """How often each value occurs."""
    ordered = np.sort(among)
    return np.searchsorted(ordered, values, side="right") - np.searchsorted(ordered, values, side="left")
