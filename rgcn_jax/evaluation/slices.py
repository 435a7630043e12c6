"""Metrics by slice of the queries: camera pair, tracklet length, fraction of detected keypoints, look-alikes.

A slice is a subset of the queries with the whole gallery, so its metrics follow from the existing ranks; only camera
pairs have another gallery. Each slice has counts, intervals over persons, and the paired difference of the fused and
the appearance row.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Bool, Integer, Real

from rgcn_jax.evaluation.distance import Blocks
from rgcn_jax.evaluation.protocol import Protocol, Roles, labels_of
from rgcn_jax.evaluation.rank_protocols import rank_galleries
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.significance import paired_difference, ranking_json
from rgcn_jax.types import Embeddings

PARTS = 4


def slice_json(
    rows: Mapping[str, RankingMetrics],
    masks: Mapping[str, Bool[np.ndarray, "q"]],
    query_ids: Integer[np.ndarray, "q"],
) -> dict[str, dict[str, Any]]:
    """By slice: metrics of every row with intervals and counts, and ``fused_minus_appearance`` of their AP.

    ``rows``: metrics of all queries. ``masks``: those of each slice. Slices without a valid query are skipped.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, mask in masks.items():
        selected = {row: metrics.select(mask) for row, metrics in rows.items()}
        if not any(metrics.num_valid_queries for metrics in selected.values()):
            continue
        found[name] = {row: ranking_json(metrics, query_ids[mask]) for row, metrics in selected.items()}
        if "fused" in selected and "appearance" in selected:
            first, second = (100 * selected[row].average_precision for row in ("appearance", "fused"))
            difference = paired_difference(first, second, query_ids[mask])
            found[name]["fused_minus_appearance"] = {
                "mAP": difference.value,
                "interval": difference.interval,
                "p_value": difference.p_value,
            }
    return found


def by_value(values: Real[np.ndarray, "q"], unit: str, parts: int = PARTS) -> dict[str, Bool[np.ndarray, "q"]]:
    """Divide the queries into parts of about equal size by a value, such as the number of frames.

    Names are such as ``2 to 19 frames``; parts with the same name are merged, so there may be fewer than ``parts``.
    The values are finite.
    """
    if not len(values):
        return {}
    ordered = np.sort(values)
    starts = np.unique(ordered[np.arange(parts) * len(values) // parts])
    part = np.searchsorted(starts, values, side="right") - 1
    masks: dict[str, np.ndarray] = {}
    for i in range(len(starts)):
        inside = values[part == i]
        name = f"{inside.min():.4g} to {inside.max():.4g} {unit}"
        masks[name] = masks.get(name, False) | (part == i)
    return masks


def by_camera_pair(
    distances: Blocks, embeddings: Embeddings, roles: Roles, protocol: Protocol
) -> dict[tuple[int, int], RankingMetrics]:
    """Metrics of the queries of one camera with the gallery of one camera, by (query camera, gallery camera).

    Pairs without a valid query are skipped, as are pairs of one camera unless the protocol has matches there.
    """
    labels = labels_of(protocol, embeddings[2:], roles)
    gallery, cameras, of_query = labels.in_gallery, labels.gallery_cameras, labels.query_cameras
    galleries = {int(camera): gallery & (cameras == camera) for camera in np.unique(cameras[gallery])}
    by_camera = {camera: labels._replace(in_gallery=of_camera) for camera, of_camera in galleries.items()}
    found = {}
    for camera, metrics in rank_galleries(distances, by_camera).items():
        for other in np.unique(of_query).tolist():
            selected = replace(metrics, ap=protocol.ap).select(of_query == other)
            if selected.num_valid_queries:
                found[other, camera] = selected
    return dict(sorted(found.items()))
