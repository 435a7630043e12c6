"""Candidates of a nearest-neighbour search: entries that may be among the k nearest of each query.

Candidate distances have an error of at most ``margin``. The k-th smallest of them plus its error is an upper bound of
the k-th nearest distance. An entry whose distance minus its error exceeds this bound is not among the k nearest.
"""

import numpy as np
from jaxtyping import Float, Float32, Int

LARGEST = float(np.finfo(np.float32).max) / 2
POOLED = 4096
"""Number of candidates held, in addition to 2 k per query, before those beyond the bounds are dropped."""


class Candidates:
    """Candidates of q queries.

    Args:
      k: number of neighbours, at least 1.
      margin: maximum distance error of each query.
    """

    def __init__(self, k: int, margin: Float[np.ndarray, "q"]):
        self.k, self.margin = k, margin
        self._limits = np.full(len(margin), LARGEST)  # k-th smallest distance so far plus its error
        self._pooled, self._most = 0, POOLED + 2 * k * len(margin)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    @property
    def bounds(self) -> Float32[np.ndarray, "q"]:
        """Upper bound of the candidates' distances for each query."""
        return np.nextafter(np.minimum(self._limits + self.margin, LARGEST).astype(np.float32), np.float32(np.inf))

    @property
    def unbounded(self) -> bool:
        """Whether any query has no bound yet."""
        return bool((self._limits >= LARGEST).any())

    def lower(self, queries: Int[np.ndarray, "m"], kth: Float[np.ndarray, "m"]) -> None:
        """Lower the bounds.

        ``kth`` are the k-th smallest of a subset of each query's distances, hence upper bounds of those of all.
        """
        self._limits[queries] = np.minimum(self._limits[queries], kth + self.margin[queries])

    def add(
        self, queries: Int[np.ndarray, "m"], positions: Int[np.ndarray, "m"], distances: Float32[np.ndarray, "m"]
    ) -> bool:
        """Add candidates and the query of each. Return whether the bounds may be lower now."""
        self._parts.append((queries, positions, distances))
        self._pooled += len(queries)
        if full := self._pooled > self._most:
            self._drop()
            self._most = max(self._most, 2 * self._pooled)  # many candidates may be tied
        return full

    def final(self) -> tuple[Int[np.ndarray, "m"], Int[np.ndarray, "m"]]:
        """Return the queries and positions of all remaining candidates."""
        if self._parts:
            self._drop()
            return self._parts[0][:2]
        return np.empty(0, np.intp), np.empty(0, np.int64)

    def _drop(self) -> None:
        queries, positions, distances = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        order = np.argsort(distances)
        order = order[np.argsort(queries[order], kind="stable")]
        queries, positions, distances = queries[order], positions[order], distances[order]
        starts = np.searchsorted(queries, np.arange(len(self.margin) + 1))
        enough = np.flatnonzero(np.diff(starts) >= self.k)
        self.lower(enough, distances[starts[enough] + self.k - 1])
        near = distances <= (self._limits + self.margin)[queries]
        self._parts = [(queries[near], positions[near], distances[near])]
        self._pooled = int(np.count_nonzero(near))
