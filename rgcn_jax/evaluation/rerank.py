"""Re-ranking by k-reciprocal neighbours, and query expansion, reported in separate rows.

Both use the neighbourhood in the test set, including the other queries, so they are not properties of the features
alone and never the headline. They yield blocks of distances like ``distance.distance_blocks``.

k-reciprocal re-ranking (Zhong, Zheng, Cao and Li, "Re-ranking person re-identification with k-reciprocal encoding",
CVPR 2017), with the paper's k1 = 20, k2 = 6 and lambda = 0.3. N(p, k) is p with its k nearest tracklets:

- reciprocal neighbours: R(p, k) = {g in N(p, k): p in N(g, k)}; R*(p) is R(p, k1), extended by R(q, k1 / 2) for each q
  in it if at least two thirds of that lie in R(p, k1) (eq. 4);
- V_p(g) = exp(-d(p, g)) for g in R*(p), else 0, scaled to sum 1; d is the squared distance over its maximum from p;
- local query expansion: V_p becomes the mean of V over p and its k2 - 1 nearest (eq. 11);
- d_J(p, g) = 1 - sum min(V_p, V_g) / sum max(V_p, V_g), and d* = (1 - lambda) d_J + lambda d (eq. 10, 12).

The scaling of d and V is from the paper's code; without it the result depends on the scale of the features.

Query expansion (Chum et al., "Total recall", ICCV 2007): the query's feature is replaced by the mean of itself and its
k nearest gallery features.
"""

from typing import Any

import numpy as np
from jaxtyping import Bool, Float32, Int64, Integer
from scipy import sparse

from rgcn_jax.evaluation.distance import Blocks, distance_blocks, distances_from
from rgcn_jax.evaluation.protocol import Protocol, Roles, gallery_of
from rgcn_jax.evaluation.rank_protocols import rank_blocks
from rgcn_jax.evaluation.ranking import RankingMetrics
from rgcn_jax.types import Embeddings

K1, K2, LAMBDA = 20, 6, 0.3
EXPANSION = 5
BLOCK_ROWS = 512
_ELEMENTS = 2**22  # distances sorted at a time


def reranked_rows(
    features: Float32[np.ndarray, "n d"], embeddings: Embeddings, roles: Roles, protocol: Protocol
) -> dict[str, RankingMetrics]:
    """Metrics under a protocol after ``k_reciprocal`` and ``query_expansion``, by these names.

    ``features``: one row per tracklet, see ``distance.fuse``. The neighbourhood is queries and gallery.

    Raises:
        InputError: a feature is not finite, or no query has a match.
    """
    queries, gallery = np.flatnonzero(roles.query), gallery_of(protocol, roles)
    blocks = {
        "k_reciprocal": k_reciprocal_blocks(features, queries, gallery | roles.query),
        "query_expansion": expanded_blocks(features, queries, gallery),
    }
    named = {protocol.name: protocol}
    return {row: rank_blocks(of_row, embeddings, roles, named)[protocol.name] for row, of_row in blocks.items()}


def expanded_blocks(
    features: Float32[np.ndarray, "n d"],
    queries: Integer[np.ndarray, "q"],
    gallery: Bool[np.ndarray, "n"],
    k: int = EXPANSION,
) -> Blocks:
    """Distances to all N from the mean of each query and its k nearest tracklets in ``gallery`` (never itself)."""
    expanded = np.empty((len(queries), features.shape[1]), np.float32)
    for rows, distances in distance_blocks(features, queries, block_elements=_ELEMENTS):
        distances[:, ~gallery] = np.inf
        distances[np.arange(len(distances)), queries[rows]] = np.inf
        nearest, near = _nearest(distances, k)
        of_query = features[queries[rows]] + np.einsum("qk,qkd->qd", np.isfinite(near), features[nearest])
        expanded[rows] = of_query / (1 + np.isfinite(near).sum(axis=1, keepdims=True))
    yield from distances_from(expanded, features)


def k_reciprocal_blocks(
    features: Float32[np.ndarray, "n d"],
    queries: Integer[np.ndarray, "q"],
    takes_part: Bool[np.ndarray, "n"],
    k1: int = K1,
    k2: int = K2,
    weight: float = LAMBDA,
) -> Blocks:
    """Distances d* from the queries to all N, in [0, 1]; 1 to tracklets outside the neighbourhood.

    ``takes_part``: mask of the neighbourhood, queries and gallery. ``weight``: lambda.
    """
    part = np.flatnonzero(takes_part)
    own = features[part]
    k1, k2 = min(k1, len(part) - 1), min(k2, len(part))
    neighbours = np.empty((len(part), k1 + 1), np.int64)
    farthest = np.empty(len(part), np.float32)
    for rows, distances in distance_blocks(own, np.arange(len(part)), block_elements=_ELEMENTS):
        farthest[rows] = distances.max(axis=1)
        distances[np.arange(len(distances)), np.arange(rows.start, rows.stop)] = -1  # a tracklet is its own nearest
        neighbours[rows] = _nearest(distances, k1 + 1)[0]
    scale = np.where(farthest > 0, farthest, 1) ** 2
    encoded = _encode(own, neighbours, scale)
    if k2 > 1:
        count = np.full(len(part) * k2, 1 / k2, np.float32)
        near = (count, (np.repeat(np.arange(len(part)), k2), neighbours[:, :k2].ravel()))
        encoded = sparse.csr_matrix(near, shape=encoded.shape) @ encoded
    by_column = encoded.tocsc()
    total = np.asarray(encoded.sum(axis=1)).ravel()
    position = np.searchsorted(part, queries)
    for rows, distances in distance_blocks(own, position):
        of_block = np.ones((len(distances), len(features)), np.float32)
        for row, query in enumerate(position[rows]):
            shared = _sum_of_minima(encoded, by_column, int(query))
            jaccard = 1 - shared / (total[query] + total - shared)  # max(a, b) = a + b - min(a, b)
            of_block[row, part] = (1 - weight) * jaccard + weight * distances[row] ** 2 / scale[query]
        yield rows, of_block


def _encode(features: np.ndarray, neighbours: np.ndarray, scale: np.ndarray) -> Any:
    """Sparse matrix of V_p(g), before the local query expansion."""
    k1 = neighbours.shape[1] - 1
    half = neighbours[:, : round(k1 / 2) + 1]
    reciprocal, half_reciprocal = _reciprocal(neighbours), _reciprocal(half)
    indices, values, ends = [], [], []
    for start in range(0, len(features), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(features)))
        near = neighbours[rows]
        further, there = half[near], half_reciprocal[near]  # R(q, k1 / 2) of each neighbour q: [rows, k1 + 1, half]
        inside = np.zeros(further.shape, bool)
        for k in range(k1 + 1):
            inside |= (further == near[:, k, None, None]) & reciprocal[rows][:, k, None, None]
        enough = 3 * (inside & there).sum(axis=2) >= 2 * there.sum(axis=2)
        added = there & (enough & reciprocal[rows])[:, :, None]
        for row in range(len(near)):
            found = np.unique(np.concatenate([near[row][reciprocal[start + row]], further[row][added[row]]]))
            difference = features[found] - features[start + row]
            squares = np.einsum("gd,gd->g", difference, difference)
            weights = np.exp(-squares / scale[start + row])
            indices.append(found)
            values.append(weights / weights.sum())
            ends.append(len(found))
    pointer = np.concatenate([[0], np.cumsum(ends)])
    shape = len(features), len(features)
    return sparse.csr_matrix((np.concatenate(values), np.concatenate(indices), pointer), shape=shape)


def _reciprocal(neighbours: Int64[np.ndarray, "n k"]) -> Bool[np.ndarray, "n k"]:
    """Mask of each tracklet's neighbours that have it among their own neighbours."""
    found = np.empty(neighbours.shape, bool)
    for start in range(0, len(neighbours), BLOCK_ROWS):
        rows = np.arange(start, min(start + BLOCK_ROWS, len(neighbours)))
        found[rows] = (neighbours[neighbours[rows]] == rows[:, None, None]).any(axis=2)
    return found


def _sum_of_minima(encoded: Any, by_column: Any, query: int) -> np.ndarray:
    """Sum over g of min(V_query(g), V_p(g)) for every p; reads only the nonzero columns of the query."""
    entries = slice(encoded.indptr[query], encoded.indptr[query + 1])
    columns, values = encoded.indices[entries], encoded.data[entries]
    of_columns = by_column[:, columns]
    minima = np.minimum(of_columns.data, np.repeat(values, np.diff(of_columns.indptr)))
    return np.bincount(of_columns.indices, minima, encoded.shape[0])


def _nearest(distances: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Columns of the k smallest distances of each row, ascending, and these distances."""
    k = min(k, distances.shape[1])
    found = np.sort(np.argpartition(distances, k - 1, axis=1)[:, :k], axis=1)
    of_found = np.take_along_axis(distances, found, axis=1)
    order = np.argsort(of_found, axis=1, kind="stable")
    return np.take_along_axis(found, order, axis=1), np.take_along_axis(of_found, order, axis=1)
