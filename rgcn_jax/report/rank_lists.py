"""Rank lists: selection of queries, and the nearest gallery tracklets of each under every row (figure 10)."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from rgcn_jax.evaluation.protocol import labels_of
from rgcn_jax.report.reported_run import ReportedRun


class Hit(NamedTuple):
    """A gallery tracklet, by its index among the test tracklets."""

    tracklet: int
    distance: float
    same_person: bool


class RankList(NamedTuple):
    """A query with its nearest gallery tracklets and average precision in [0, 1], by row.

    ``gain``: average precision of the fused row minus that of the appearance row; with one branch, the average
    precision.
    """

    query: int
    hits: dict[str, list[Hit]]
    average_precision: dict[str, float]
    gain: float


def rank_lists(run: ReportedRun, count: int, top: int = 10) -> list[RankList]:
    """Select at most ``count`` queries with the largest gains and losses, half of each, sorted by descending gain.

    Each has its ``top`` nearest gallery tracklets.
    """
    queries = np.flatnonzero(run.evaluation.features.roles.query)
    precision = {row: metrics.average_precision for row, metrics in run.metrics.items()}
    gain = precision[run.rows[-1]].copy()
    if "fused" in precision:
        gain -= precision["appearance"]
    chosen = _extremes(gain, count)
    hits = {row: _hits(run, row, queries[chosen], top) for row in run.rows}
    return [
        RankList(
            int(queries[q]),
            {row: hits[row][i] for row in run.rows},
            {row: float(precision[row][q]) for row in run.rows},
            float(gain[q]),
        )
        for i, q in enumerate(chosen)
    ]


def _extremes(values: Float[np.ndarray, "q"], count: int) -> list[int]:
    """Indices of the largest and smallest values, half of each, in descending order; NaN is ignored."""
    order = np.argsort(-values, kind="stable")
    order = order[~np.isnan(values[order])].tolist()
    if len(order) <= count:
        return order
    return order[: (count + 1) // 2] + order[len(order) - count // 2 :]


def _hits(run: ReportedRun, row: str, queries: Integer[np.ndarray, "q"], top: int) -> list[list[Hit]]:
    """Nearest gallery tracklets of each query under the headline protocol."""
    found, features = run.evaluation.features, run.features(row)
    persons, cameras, clothes_ids = found.embeddings[2:]
    labels = labels_of(run.protocol, found.embeddings[2:], found.roles)
    lists = []
    for query in queries.tolist():
        candidates = labels.in_gallery.copy()
        candidates[query] = False
        same = persons == persons[query]
        if labels.exclude_same_camera:
            candidates &= ~(same & (cameras == cameras[query]))
        if labels.clothes is not None:
            candidates &= ~(same & (clothes_ids == clothes_ids[query]))
        rows = np.flatnonzero(candidates)
        distances = np.linalg.norm(features[rows] - features[query], axis=1)
        order = np.argsort(distances, kind="stable")[:top]
        lists.append([Hit(int(rows[i]), float(distances[i]), bool(same[rows[i]])) for i in order])
    return lists
