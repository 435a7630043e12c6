"""Multi-query evaluation: each query is the mean feature of all its person's tracklets in its camera.

As in Market-1501 (Zheng et al., "Scalable person re-identification: a benchmark", ICCV 2015). It is reported as a
separate row, since single queries do not use these tracklets. The ranking ignores the person in the query's camera, so
no pooled tracklet can be a match. If the protocol also ignores the query's clothes, only tracklets in these clothes are
pooled, since others would leak the matches.
"""

import numpy as np
from jaxtyping import Float32

from rgcn_jax.evaluation.distance import distances_from
from rgcn_jax.evaluation.protocol import Protocol, Roles
from rgcn_jax.evaluation.rank_protocols import rank_blocks
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.types import Embeddings


def multi_query_metrics(
    features: Float32[np.ndarray, "n d"], embeddings: Embeddings, roles: Roles, protocol: Protocol
) -> RankingMetrics | None:
    """Metrics of the queries, each with the mean feature of its person's query and gallery tracklets in its camera.

    ``features``: one row per tracklet, see ``distance.fuse``.

    Returns:
      None if the protocol counts matches in the query's own camera, or no query has a further tracklet.

    Raises:
      InputError: a feature is not finite, or no query has a match.
    """
    queries = np.flatnonzero(roles.query)
    pooled = (roles.query | roles.gallery) & ~roles.junk & (embeddings.person_ids > 0)
    clothes = np.zeros_like(embeddings.clothes_ids) if protocol.same_clothes else embeddings.clothes_ids
    keys = np.stack([embeddings.person_ids, embeddings.camera_ids, clothes], axis=1)
    _, unit = np.unique(keys, axis=0, return_inverse=True)
    unit = unit.reshape(-1)
    counts = np.bincount(unit[pooled], minlength=unit.max(initial=0) + 1)
    if protocol.same_camera or not (counts[unit[queries]] > 1).any():
        return None
    query_features = features[queries].copy()
    for row, query in enumerate(queries.tolist()):
        if counts[unit[query]] > 1:
            query_features[row] = features[pooled & (unit == unit[query])].mean(axis=0)
    found = rank_blocks(distances_from(query_features, features), embeddings, roles, {protocol.name: protocol})
    return found[protocol.name]
