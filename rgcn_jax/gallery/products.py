"""Inner products of features with queries in float32, by the fastest BLAS call for their number.

For one query, vector dot products read the features once and in order. For more, a matrix product first copies
("packs") the features, which takes a quarter of its time if there are few queries. On CPUs with AVX-512, OpenBLAS has
kernels for small matrices that do not pack. They are used for products of groups of few features. On other CPUs such
groups are slower. The fastest group size is therefore measured once for each width and number of queries, which takes
milliseconds.
"""

import time
from functools import cache

import numpy as np
from jaxtyping import Float32

TOGETHER = 64
"""Maximum number of queries per product. Fewer are padded with zeros to a power of two, to fill vector registers."""
STRIPE = 16
"""Number of queries transposed at once: a cache line of float32 values."""
GROUPS = 4, 8, 16
"""Numbers of features in a small matrix."""
TRIED = 256
"""Number of features multiplied to time the group sizes."""


class Products:
    """Inner products with a set of queries.

    Args:
      queries: at least one query.

    Attributes:
      columns: number of columns of a result, including padding.
    """

    def __init__(self, queries: Float32[np.ndarray, "q d"]):
        starts = range(0, len(queries), TOGETHER)
        self._parts = [_padded(queries[start : start + TOGETHER]) for start in starts]
        self.columns = sum(part.shape[1] for part in self._parts)

    def __call__(self, vectors: Float32[np.ndarray, "n d"]) -> Float32[np.ndarray, "n c"]:
        """Return the product of each row with each query; zeros in the padded columns."""
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
    """Return the products, computed in groups of ``group`` features; 0 for all together."""
    out = np.empty((len(vectors), queries.shape[1]), np.float32)
    end = len(vectors) // group * group if group else 0
    if end:
        groups, results = (x[:end].reshape(-1, group, x.shape[1]) for x in (vectors, out))
        np.matmul(groups, queries, out=results)
    np.matmul(vectors[end:], queries, out=out[end:])
    return out


@cache
def _fastest_group(width: int, columns: int) -> int:
    """Return the group size with the fastest product on this machine."""
    vectors, queries = np.ones((TRIED, width), np.float32), np.ones((width, columns), np.float32)
    times = dict.fromkeys((0, *GROUPS), float("inf"))
    for _ in range(3):  # the first run wakes the CPU
        for group in times:
            start = time.perf_counter()
            _product(vectors, queries, group)
            times[group] = min(times[group], time.perf_counter() - start)
    return min(times, key=times.__getitem__)
