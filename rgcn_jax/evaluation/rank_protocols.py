"""Ranking metrics by named protocol (``protocol``) and row, from one set of features."""

from collections.abc import Hashable, Mapping
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float32

from rgcn_jax.evaluation.distance import Blocks, Distances, FeatureStatistics, distance_blocks, fuse, rows_of
from rgcn_jax.evaluation.matches import Labels
from rgcn_jax.evaluation.protocol import Protocol, Roles, applicable_protocols, check_match_under, labels_of
from rgcn_jax.evaluation.ranking import RankingMetrics, evaluate_ranking, merge_queries
from rgcn_jax.types import Embeddings

Key = TypeVar("Key", bound=Hashable)


def evaluate_protocols(
    embeddings: Embeddings,
    roles: Roles,
    kind: str = "euclidean",
    pose_weight: float = 1.0,
    statistics: FeatureStatistics | None = None,
    protocols: Mapping[str, Protocol] | None = None,
    fused: Distances | None = None,
) -> dict[str, dict[str, RankingMetrics]]:
    """Rank by the appearance, pose and fused features under every protocol.

    The distances of a row are computed once for all protocols, one block of queries at a time.

    Args:
        embeddings: N distinct test tracklets (``test_tracklets``).
        roles: role of each tracklet.
        kind: distance kind, one of ``distance.KINDS``.
        pose_weight: weight of f_p in the fused row, see ``distance.fuse``.
        statistics: training-set statistics, for the kinds ``standardized`` and ``calibrated``.
        protocols: default: ``applicable_protocols`` of these tracklets.
        fused: distances of the fused row, for the kind ``calibrated``.

    Returns:
        ``result[protocol name][row]``, for the rows of ``distance.rows_of``.

    Raises:
        InputError: a feature is not finite, no query has a match under a protocol, or ``standardized`` lacks
          statistics.
        ValueError: lengths differ, or the kind is unknown.
    """
    if any(len(array) != len(embeddings.person_ids) for array in (*embeddings, *roles)):
        lengths = [len(array) for array in embeddings], [len(array) for array in roles]
        raise ValueError(f"embeddings and roles must have the same length, found {lengths[0]} and {lengths[1]}")
    if protocols is None:
        protocols = applicable_protocols(embeddings.person_ids, embeddings.camera_ids, roles, embeddings.clothes_ids)
    results: dict[str, dict[str, RankingMetrics]] = {name: {} for name in protocols}
    for row in rows_of(embeddings.appearance.shape[1], embeddings.pose.shape[1]):
        if row == "fused" and fused is not None:
            metrics = rank_blocks(fused.blocks(np.flatnonzero(roles.query)), embeddings, roles, protocols)
        else:
            features = fuse(embeddings, row, kind, pose_weight, statistics)
            metrics = rank_features(features, embeddings, roles, protocols, overwrite=True)
        for name in protocols:
            results[name][row] = metrics[name]
    return results


def rank_features(
    features: Float32[np.ndarray, "n d"],
    embeddings: Embeddings,
    roles: Roles,
    protocols: Mapping[str, Protocol],
    overwrite: bool = False,
) -> dict[str, RankingMetrics]:
    """Metrics by protocol of one Euclidean feature per tracklet (``distance.fuse``), computed block by block.

    ``overwrite``: whether to change ``features`` in place, which saves a copy. Of ``embeddings`` only the ids are used.

    Raises:
        InputError: a feature is not finite, or no query has a match under a protocol.
    """
    return rank_blocks(distance_blocks(features, np.flatnonzero(roles.query), overwrite), embeddings, roles, protocols)


def rank_blocks(
    distances: Blocks, embeddings: Embeddings, roles: Roles, protocols: Mapping[str, Protocol]
) -> dict[str, RankingMetrics]:
    """Metrics by protocol of arbitrary distances from the queries to all tracklets.

    Raises:
        InputError: a distance is not finite, or no query has a match under a protocol.
    """
    ids = embeddings[2:]
    for protocol in protocols.values():
        check_match_under(protocol, ids, roles)
    labels = {protocol.ranking_key: labels_of(protocol, ids, roles) for protocol in protocols.values()}
    rankings = rank_galleries(distances, labels)
    return {name: replace(rankings[protocol.ranking_key], ap=protocol.ap) for name, protocol in protocols.items()}


def rank_galleries(distances: Blocks, labels: Mapping[Key, Labels]) -> dict[Key, RankingMetrics]:
    """Metrics of the same queries with several galleries, by key; a gallery without any match is not an error."""
    blocks: dict[Key, list[RankingMetrics]] = {key: [] for key in labels}
    for rows, of_block in distances:
        for key, of_key in labels.items():
            *_, gallery, exclude_same_camera, clothes = part = of_key.of_queries(rows)
            options = {"exclude_same_camera": exclude_same_camera, "in_gallery": gallery, "require_match": False}
            blocks[key].append(evaluate_ranking(of_block, *part[:4], clothes=clothes, **options))
    return {key: merge_queries(found) for key, found in blocks.items()}
