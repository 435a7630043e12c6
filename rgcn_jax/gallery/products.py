"""Inner products of features with queries in float32, by the call of the BLAS that is fastest for their number.

One query is a stream of dot products, which reads the features once and in order. With more, a matrix product copies
("packs") the features first, which takes a quarter of its time where the queries are few. OpenBLAS has kernels for
small matrices that do not, on CPUs with AVX-512: a product by groups of few features runs in those. Elsewhere such
groups are slower. So what is faster here is measured once, for each width and number of queries, in milliseconds.
"""

import time
from functools import cache

import numpy as np
from jaxtyping import Float32

TOGETHER = 64
"""Queries of one product at most. Fewer are padded with zeros to a power of two, which fill vector registers."""
STRIPE = 16
"""Queries that are transposed at a time: a cache line of float32 numbers."""
GROUPS = 4, 8, 16
"""Features of a small matrix."""
TRIED = 256
"""Features that are multiplied to measure what is faster."""


class Products:
    """Products with some queries.

    Args:
      queries: at least one.

    Attributes:
      columns: of a result: the queries and what pads them.
    """

    def __init__(self, queries: Float32[np.ndarray, "q d"]):
        starts = range(0, len(queries), TOGETHER)
        self._parts = [_padded(queries[start : start + TOGETHER]) for start in starts]
        self.columns = sum(part.shape[1] for part in self._parts)

    def __call__(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n c"]:
        """The products of each row with each query, and zeros in the columns behind them."""
        if self.columns == 1:
            return np.vecdot(vectors, self._parts[0][:, 0])[:, None]
        found = [_product(vectors, part, _fastest_group(*part.shape)) for part in self._parts]
        return found[0] if len(found) == 1 else np.concatenate(found, axis=1)


def _padded(queries: np.ndarray) -> np.ndarray:
    count, width = queries.shape
    padded = np.zeros((width, 1 << (count - 1).bit_length()), np.float32)
    for start in range(0, count, STRIPE):  # faster than all at once
        padded[:, start : start + STRIPE][:, : count - start] = queries[start : start + STRIPE].T
    return padded


def _product(vectors: np.ndarray, queries: np.ndarray, group: int) -> np.ndarray:
    """The products, by groups of so many features; 0: of all together."""
    out = np.empty((len(vectors), queries.shape[1]), np.float32)
    end = len(vectors) // group * group if group else 0
    if end:
        groups, results = (x[:end].reshape(-1, group, x.shape[1]) for x in (vectors, out))
        np.matmul(groups, queries, out=results)
    np.matmul(vectors[end:], queries, out=out[end:])
    return out


@cache
def _fastest_group(width: int, columns: int) -> int:
    """The group whose product takes least time here."""
    vectors, queries = np.ones((TRIED, width), np.float32), np.ones((width, columns), np.float32)
    times = dict.fromkeys((0, *GROUPS), float("inf"))
    for _ in range(3):  # the first wakes the CPU
        for group in times:
            start = time.perf_counter()
            _product(vectors, queries, group)
            times[group] = min(times[group], time.perf_counter() - start)
    return min(times, key=times.__getitem__)
