"""Analysis of an evaluation: verification, open-set search, re-ranking, multi-query and slices, from the same features.

All metrics are defined in docs/metrics.md. The analysis takes a minute or two on MARS and is therefore optional.
"""

from typing import Any

import numpy as np

from rgcn_jax.evaluation.attributes import Attributes, look_alike_queries, rank_by_attributes, shared_outfits
from rgcn_jax.evaluation.distance import Distances, Euclidean, fuse
from rgcn_jax.evaluation.multi_query import multi_query_metrics
from rgcn_jax.evaluation.open_set import open_set
from rgcn_jax.evaluation.protocol import PROTOCOLS
from rgcn_jax.evaluation.rerank import reranked_rows
from rgcn_jax.evaluation.results import Evaluation
from rgcn_jax.evaluation.significance import ranking_json
from rgcn_jax.evaluation.slices import by_camera_pair, by_value, slice_json
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.types import DISTRACTOR_ID


def analyse(
    evaluation: Evaluation,
    pose_weight: float = 1.0,
    attributes: Attributes | None = None,
    fused: Distances | None = None,
) -> dict[str, Any]:
    """Compute verification, open-set search, re-ranking, camera pairs and slices, as JSON values.

    Args:
        evaluation: metrics and features, from ``scorer.score``; the analysis is of its headline protocol.
        pose_weight: weight of f_p in the fused row.
        attributes: annotated attributes, for look-alikes and the ranking by attributes.
        fused: distances of the fused row, for the distance ``calibrated``. They come without features, so re-ranking
          and multi-query of this row are omitted.

    Raises:
        InputError: a feature is not finite, there is only one person, ``standardized`` lacks statistics, or the
          look-alikes in the header of the features are invalid.
    """
    features, protocol = evaluation.features, PROTOCOLS[evaluation.protocol]
    rows, embeddings, roles = evaluation.metrics[protocol.name], features.embeddings, features.roles
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
            of_row = fuse(embeddings, row, evaluation.distance, pose_weight, features.statistics)
            distances = Euclidean(of_row)
            reranked = reranked_rows(of_row, embeddings, roles, protocol)
            found["reranking"][row] = {name: ranking_json(m, query_ids) for name, m in reranked.items()}
            if multi := multi_query_metrics(of_row, embeddings, roles, protocol):
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
    if (features.num_frames > 0).all():
        masks |= by_value(features.num_frames[roles.query], "frames")
    if features.quality is not None and np.isfinite(features.quality.share).all():
        masks |= by_value(100 * features.quality.share[roles.query], "% of keypoints detected")
    labels = {}
    if groups := features.header.get("look_alikes"):
        labels["look-alikes"] = shared_outfits(groups, embeddings.person_ids, embeddings.clothes_ids)
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
