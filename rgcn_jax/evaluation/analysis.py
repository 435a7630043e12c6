"""Analysis of an evaluation: verification, open-set search, re-ranking, multi-query and slices, from the same features.

All metrics are defined in docs/metrics.md. The analysis takes a minute or two on MARS and is therefore optional.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int64, Integer

from rgcn_jax.evaluation.attributes import Attributes, look_alike_queries, rank_by_attributes
from rgcn_jax.evaluation.distance import FeatureStatistics, fuse
from rgcn_jax.evaluation.metrics_json import ranking_json
from rgcn_jax.evaluation.multi_query import multi_query_metrics
from rgcn_jax.evaluation.open_set import open_set
from rgcn_jax.evaluation.pairwise import Distances, Euclidean
from rgcn_jax.evaluation.protocol import Protocol, Roles
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.evaluation.rerank import reranked_rows
from rgcn_jax.evaluation.slices import by_camera_pair, by_value, slice_json
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.types import DISTRACTOR_ID, Embeddings


def analyse(
    rows: Mapping[str, RankingMetrics],
    embeddings: Embeddings,
    roles: Roles,
    protocol: Protocol,
    *,
    kind: str = "euclidean",
    pose_weight: float = 1.0,
    statistics: FeatureStatistics | None = None,
    num_frames: Integer[np.ndarray, "n"] | None = None,
    keypoint_share: Float[np.ndarray, "n"] | None = None,
    look_alikes: Int64[np.ndarray, "n"] | None = None,
    attributes: Attributes | None = None,
    fused: Distances | None = None,
) -> dict[str, Any]:
    """Compute verification, open-set search, re-ranking, camera pairs and slices, as JSON values.

    Args:
        rows: metrics of the rows under the protocol, from ``rank_protocols.evaluate_protocols``.
        embeddings: embeddings of the same N distinct test tracklets.
        roles: role of each tracklet.
        protocol: protocol of gallery and same camera.
        kind: distance kind.
        pose_weight: weight of f_p in the fused row.
        statistics: training-set statistics, for the kind ``standardized``.
        num_frames: tracklet lengths, for slices by length; 0 if unknown.
        keypoint_share: fraction of the keypoints detected in each tracklet, in [0, 1], for slices; NaN if unknown.
        look_alikes: index of each tracklet's group of look-alikes (``attributes.group_labels``); -1 for none.
        attributes: annotated attributes, for look-alikes and the ranking by attributes.
        fused: distances of the fused row, for the kind ``calibrated``. They come without features, so re-ranking and
          multi-query of this row are omitted.

    Raises:
        InputError: a feature is not finite, there is only one person, or ``standardized`` lacks statistics.
    """
    query_ids = embeddings.person_ids[roles.query]
    tested = roles.query | roles.gallery
    distractors = bool((tested & (embeddings.person_ids == DISTRACTOR_ID)).any())
    found: dict[str, Any] = {"protocol": protocol.name}
    for name in ("verification", "open_set", "multi_query", "reranking", "camera_pairs"):
        found[name] = {}
    for row, metrics in rows.items():
        if row == "fused" and fused is not None:
            distances = fused
        else:
            features = fuse(embeddings, row, kind, pose_weight, statistics)
            distances = Euclidean(features)
            reranked = reranked_rows(features, embeddings, roles, protocol)
            found["reranking"][row] = {name: ranking_json(m, query_ids) for name, m in reranked.items()}
            if multi := multi_query_metrics(features, embeddings, roles, protocol):
                found["multi_query"][row] = ranking_json(multi, query_ids)
        ids = embeddings.person_ids[tested], embeddings.camera_ids[tested]
        clothes = None if protocol.same_clothes else embeddings.clothes_ids[tested]
        options = {"exclude_same_camera": not protocol.same_camera, "clothes_ids": clothes}
        found["verification"][row] = verify(distances.take(tested), *ids, **options).to_json()
        unknown = distractors or metrics.num_skipped_queries
        found["open_set"][row] = open_set(distances, embeddings, roles, protocol).to_json() if unknown else None
        blocks = distances.blocks(np.flatnonzero(roles.query))
        for (of_query, of_gallery), m in by_camera_pair(blocks, embeddings, roles, protocol).items():
            queries = query_ids[embeddings.camera_ids[roles.query] == of_query]
            found["camera_pairs"].setdefault(f"{of_query}-{of_gallery}", {})[row] = ranking_json(m, queries)
    masks = {}
    if num_frames is not None and (num_frames > 0).all():
        masks |= by_value(num_frames[roles.query], "frames")
    if keypoint_share is not None and np.isfinite(keypoint_share).all():
        masks |= by_value(100 * keypoint_share[roles.query], "% of keypoints detected")
    labels = {"look-alikes": look_alikes}
    if attributes is not None:
        labels |= {
            "same outfit": attributes.outfits(embeddings.person_ids),
            "all attributes equal": attributes.combinations(),
        }
        by_attributes = rank_by_attributes(attributes, embeddings, roles, protocol)
        annotated = attributes.annotated[roles.query]
        found["attributes"] = ranking_json(by_attributes, query_ids[annotated])
    for name, of_tracklets in labels.items():
        if of_tracklets is not None:
            alike = look_alike_queries(of_tracklets, embeddings.person_ids, roles)
            masks |= {name: alike, f"not {name}": ~alike}
    found["slices"] = slice_json(rows, masks, query_ids)
    return found
