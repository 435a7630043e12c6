"""Ranking metrics as JSON: values with intervals and counts."""

from typing import Any

import numpy as np
from jaxtyping import Integer

from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.significance import metric_intervals, values_by_query


def ranking_json(metrics: RankingMetrics, query_ids: Integer[np.ndarray, "q"]) -> dict[str, Any]:
    """mAP, mINP and Rank-k in per cent, unrounded, with intervals and counts, as JSON values.

    ``intervals`` has the 95 % interval over persons of each (None below ``significance.MIN_PERSONS`` persons). Without
    a valid query all values are None.

    Args:
        metrics: metrics of Q queries.
        query_ids: their person ids.
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
