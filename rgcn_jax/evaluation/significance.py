"""Confidence intervals and paired tests of ranking metrics, by resampling the persons of the queries.

Queries of one person are not independent (same clothes, same gallery entries), so whole persons are resampled with
replacement: a person drawn n times has all its queries counted n times. The gallery is unchanged. The 95 % interval is
that of the percentile bootstrap.

Two rankings of the same queries are compared pairwise: by the interval of the mean difference from the same resamples,
and by the p-value of a randomisation test that swaps the two rankings of each person with probability 0.5 (Smucker,
Allan and Carterette, "A comparison of statistical significance tests for information retrieval evaluation", CIKM 2007).
"""

from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Float64, Integer

from rgcn_jax.evaluation.ranking import PERCENTAGE_RANKS, RankingMetrics

MIN_PERSONS = 10
"""Minimum number of persons for an interval; with fewer, resamples take only a few distinct values."""

Interval = tuple[float, float]


class Difference(NamedTuple):
    """Difference of two means over the same queries: second minus first."""

    value: float
    interval: Interval | None
    p_value: float
    """Two-sided p-value of the randomisation test."""


@lru_cache(maxsize=2)  # the persons are the same in all rows and protocols
def draw_persons(num_persons: int, resamples: int, seed: int) -> Float32[np.ndarray, "b p"]:
    """Number of times each of P persons is drawn in each of B resamples; read-only."""
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(num_persons, np.full(num_persons, 1 / num_persons), resamples).astype(np.float32)
    draws.setflags(write=False)
    return draws


def percentile_interval(values: Float64[np.ndarray, "b"]) -> Interval:
    """The 2.5th and 97.5th percentiles."""
    low, high = np.percentile(values, [2.5, 97.5])
    return float(low), float(high)


def values_by_query(metrics: RankingMetrics) -> dict[str, Float64[np.ndarray, "q"]]:
    """Compute mAP, mINP and Rank-k of each query, in per cent; NaN for a skipped one. Their means are the metrics."""
    found = metrics.found_within
    at_rank = {f"rank{k}": found[:, min(k, found.shape[1]) - 1] for k in PERCENTAGE_RANKS}
    values = {"mAP": metrics.average_precision, "mINP": metrics.inverse_negative_penalty} | at_rank
    return {name: 100 * of_query for name, of_query in values.items()}


def interval_over_persons(
    values: Float[np.ndarray, "q"], person_ids: Integer[np.ndarray, "q"], resamples: int = 1000, seed: int = 0
) -> Interval | None:
    """95 % interval of the mean of the queries' values, without NaN; None for fewer than ``MIN_PERSONS`` persons.

    The same persons and seed give the same resamples.
    """
    sums, counts = _by_person(values, person_ids)
    if len(counts) < MIN_PERSONS:
        return None
    draws = draw_persons(len(counts), resamples, seed).astype(np.float64)
    return percentile_interval((draws @ sums) / (draws @ counts))


def metric_intervals(metrics: RankingMetrics, query_ids: Integer[np.ndarray, "q"]) -> dict[str, Interval | None]:
    """The interval of each of ``values_by_query``, in per cent; None for fewer than ``MIN_PERSONS`` persons."""
    sums, counts = {}, np.zeros(0)
    for name, values in values_by_query(metrics).items():
        sums[name], counts = _by_person(values, query_ids)  # counts are the same for all metrics
    if len(counts) < MIN_PERSONS:
        return dict.fromkeys(sums)
    draws = draw_persons(len(counts), resamples=1000, seed=0).astype(np.float64)
    means = (draws @ np.stack([*sums.values()], axis=1)) / (draws @ counts)[:, None]
    return dict(zip(sums, map(percentile_interval, means.T), strict=True))


def ranking_json(metrics: RankingMetrics, query_ids: Integer[np.ndarray, "q"]) -> dict[str, Any]:
    """mAP, mINP and Rank-k in per cent, unrounded, with intervals and counts, as JSON values.

    ``intervals`` has the 95 % interval over persons of each (None below ``MIN_PERSONS`` persons). Without
    a valid query all values are None.
    """
    valid, values = metrics.valid, values_by_query(metrics)
    return {
        **{name: float(of_query[valid].mean()) if valid.any() else None for name, of_query in values.items()},
        "intervals": metric_intervals(metrics, query_ids),
        "gallery": metrics.num_gallery,
        "valid_queries": metrics.num_valid_queries,
        "skipped_queries": metrics.num_skipped_queries,
        "tied_queries": metrics.num_tied_queries,
        "persons": len(np.unique(query_ids[valid])),
    }


def paired_difference(
    first: Float[np.ndarray, "q"],
    second: Float[np.ndarray, "q"],
    person_ids: Integer[np.ndarray, "q"],
    resamples: int = 10_000,
    seed: int = 0,
) -> Difference:
    """Mean of ``second - first`` over the queries with both values, its 95 % interval, and the p-value.

    Args:
        first: value of each query, such as the average precision of one row; NaN is ignored.
        second: values of the same queries.
        person_ids: person ids of the queries.
        resamples: number of resamples for the interval and for the test.
        seed: random seed of both.

    Raises:
        ValueError: no query has both values.
    """
    sums, counts = _by_person(second - first, person_ids)
    if not len(counts):
        raise ValueError("expected at least one query with both values, found none")
    observed = sums.sum()
    signs = np.random.default_rng(seed).integers(0, 2, (resamples, len(sums)), np.int8)
    exchanged = (2.0 * signs - 1) @ sums
    as_large = np.abs(exchanged) >= np.abs(observed) * (1 - 1e-12)
    return Difference(
        value=float(observed / counts.sum()),
        interval=interval_over_persons(second - first, person_ids, resamples, seed),
        p_value=float((1 + as_large.sum()) / (1 + resamples)),
    )


def _by_person(values: np.ndarray, person_ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum and number of the values of each person, without NaN; persons without values are dropped."""
    there = ~np.isnan(values)
    _, person = np.unique(person_ids[there], return_inverse=True)
    counts = np.bincount(person)
    return np.bincount(person, values[there], len(counts)), counts.astype(np.float64)
