"""Multi-query: a person is searched by all tracklets of it in the query's camera at once, by their mean feature.

As in the multi-query setting of Market-1501 (Zheng et al., "Scalable person re-identification: a benchmark", ICCV
2015). A row of its own, never the headline: it uses tracklets that single queries do not have. The ranking ignores the
person in the query's camera, so none of these tracklets is among what is found. Where the query's clothes are ignored
too, only tracklets in these clothes are pooled: others would give away what is searched for.
"""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32

from rgcn_jax.evaluation.distance import distance_blocks
from rgcn_jax.evaluation.protocol import Protocol, Roles
from rgcn_jax.evaluation.rank_protocols import rank_blocks
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.types import Embeddings


def multi_query_metrics(
    features: Float32[np.ndarray, "n d"], embeddings: Embeddings, roles: Roles, protocol: Protocol
) -> RankingMetrics | None:
    """Metrics of the queries, each with the mean feature of its person's test tracklets in its camera.

    Args:
      features: one row per tracklet, see ``distance.fuse``.
      embeddings: of the same tracklets; the ids are read.
      roles: what each of them is; query and gallery tracklets are pooled.
      protocol: decides the gallery.

    Returns:
      None where the protocol counts the query's own camera, or no query has a further tracklet.

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
    asked = features[queries].copy()
    for row, query in enumerate(queries.tolist()):
        if counts[unit[query]] > 1:
            asked[row] = features[pooled & (unit == unit[query])].mean(axis=0)
    found = rank_blocks(_blocks(asked, features), embeddings, roles, {protocol.name: protocol})
    return found[protocol.name]


def _blocks(asked: np.ndarray, features: np.ndarray) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
    """Distances of features to all N."""
    both = np.concatenate([asked, features])
    for rows, distances in distance_blocks(both, np.arange(len(asked)), overwrite=True):
        yield rows, distances[:, len(asked) :]
