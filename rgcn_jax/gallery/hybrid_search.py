"""Exact search by both branches with one index per branch: Fagin's threshold algorithm.

("Combining fuzzy information from multiple systems", JCSS 58(1), 1999.) For the nearest entries of each branch, the
distances of both branches are computed in float64. An entry outside these results has d² >= α² d_a² + β² d_p², with d_a
and d_p the largest distances in the results of each branch. The search is complete once the k-th nearest distance is
below this bound. Otherwise more entries are requested, up to ``MOST`` per branch. The result is approximate if the
branches disagree too much for this limit. With an approximate index the bound is that of the entries that it finds, so
the result lacks only what the index misses.
"""

from collections.abc import Callable, Collection, Sequence

import numpy as np
from jaxtyping import Float32

from rgcn_jax.gallery.nearest import ERROR_FACTOR, Block, Nearest, Weights, nearest

MOST = 16_384
"""Maximum number of results of a Milvus search."""
FIRST = 128
"""Number of entries requested first, per branch."""

NearestOf = Callable[[int, np.ndarray, int], list[list[int]]]
"""Function (branch, queries, limit) -> ids of the nearest entries of each query by one branch, nearest first."""
FeaturesOf = Callable[[Collection[int], Sequence[int]], tuple[np.ndarray, np.ndarray]]
"""Function (ids, branches) -> the ids that exist, ascending, and their features [n, D_a + D_p]."""


def hybrid_search(
    nearest_of: NearestOf,
    features_of: FeaturesOf,
    queries: Float32[np.ndarray, "q d"],
    weights: Weights,
    k: int,
) -> list[Nearest]:
    """Return the k nearest entries of each query.

    Args:
      nearest_of: searches one branch.
      features_of: reads features.
      queries: features of both branches.
      weights: weights of the branches.
      k: number of neighbours, at least 1.
    """
    found: dict[int, Nearest] = {}
    limit, left = min(max(FIRST, 2 * k), MOST), list(range(len(queries)))
    while left:
        together, again = max(MOST // limit, 1), []
        for start in range(0, len(left), together):
            group = left[start : start + together]
            results = _round(nearest_of, features_of, queries[group], weights, k, limit)
            for i, (result, complete) in zip(group, results, strict=True):
                found[i] = result
                if not complete and limit < MOST:
                    again.append(i)
        left, limit = again, min(4 * limit, MOST)
    return [found[i] for i in range(len(queries))]


def _round(
    nearest_of: NearestOf, features_of: FeaturesOf, queries: np.ndarray, weights: Weights, k: int, limit: int
) -> list[tuple[Nearest, bool]]:
    """Return the k nearest among the ``limit`` nearest of each branch, and whether this result is provably complete."""
    halves = slice(0, weights.split), slice(weights.split, None)
    used = [b for b in (0, 1) if weights[b]]
    hits = {b: nearest_of(b, np.ascontiguousarray(queries[:, halves[b]]), limit) for b in used}
    ids, features = features_of({i for of in hits.values() for one in of for i in one}, used)
    row = {i: n for n, i in enumerate(ids.tolist())}
    results = []
    for q, query in enumerate(queries):
        of = {b: [row[i] for i in hits[b][q] if i in row] for b in used}  # others are being removed
        rows = np.array(sorted({i for some in of.values() for i in some}), np.int64)
        vectors = features[rows]
        scaled = vectors[:, weights.used] * weights.scale(vectors.shape[1])
        squares = np.einsum("nd,nd->n", scaled, scaled).astype(np.float32)
        blocks = [Block(vectors, squares, np.ones(len(rows), bool), ids[rows])] if len(rows) else []
        one = nearest(blocks, query[None], weights, k)[0]
        complete = any(len(hits[b][q]) < limit for b in used)
        if not complete and len(one.ids) == k:
            bound = sum(weights[b] ** 2 * _least_unseen(features[of[b]][:, halves[b]], query[halves[b]]) for b in used)
            complete = bool(one.distances[-1] ** 2 < bound)
        results.append((one, complete))
    return results


def _least_unseen(seen: np.ndarray, query: np.ndarray) -> float:
    """Return a lower bound of the squared distance of all entries outside the results.

    It is the largest squared distance in the results, minus the rounding error of a float32 search (``nearest.py``).
    """
    if not len(seen):
        return 0.0
    square = float(np.square(seen.astype(np.float64) - query).sum(axis=1).max())
    norm, unit = float(np.linalg.norm(query.astype(np.float64))), np.finfo(np.float32).eps / 2
    margin = ERROR_FACTOR * (np.sqrt(len(query)) + 1) * unit * (2 * norm + np.sqrt(square)) ** 2
    return max(square - float(margin), 0.0)
