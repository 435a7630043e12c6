"""Ranking metrics as JSON: values with intervals and counts."""

from typing import Any

import numpy as np
from jaxtyping import Integer

from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.significance import metric_intervals, values_by_query


def ranking_json(
    metrics: RankingMetrics, query_ids: Integer[np.ndarray, "q"], resamples: int = 1000, seed: int = 0
) -> dict[str, Any]:
    """mAP, mINP and Rank-k in per cent, not rounded; ``intervals`` of the same names (95 %, over persons; None for
    fewer than ``significance.MIN_PERSONS``); and the counts that they rest on.

    Without any valid query the values are None.

    Args:
        metrics: of Q queries.
        query_ids: their person ids.
        resamples: for the intervals.
        seed: of the resampling.
    """
    valid = metrics.valid
    values = values_by_query(metrics)
    intervals = metric_intervals(metrics, query_ids, resamples, seed)
    return {
        **{name: float(of_query[valid].mean()) if valid.any() else None for name, of_query in values.items()},
        "intervals": {name: None if interval is None else list(interval) for name, interval in intervals.items()},
        "gallery": metrics.num_gallery,
        "valid_queries": metrics.num_valid_queries,
        "skipped_queries": metrics.num_skipped_queries,
        "tied_queries": metrics.num_tied_queries,
        "persons": len(np.unique(query_ids[valid])),
    }
