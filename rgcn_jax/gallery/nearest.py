"""Exact nearest neighbours: the k entries at the smallest distances, over blocks of features in bounded memory.

With the weights α of appearance and β of pose,

    d²(x, y) = α² |x_a - y_a|² + β² |x_p - y_p|²

Distances to a block are first computed in float32, as |y|² - 2 x·y by one matrix product. The error is at most

    ERROR_FACTOR √D u (|x| + |y|)²

with u the unit roundoff. This bound holds with probability near 1 for any data (Higham and Mary, "A new approach to
probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019). Every entry that could be among the k nearest
within this error is kept, and its distance is recomputed in float64 from the definition of d². Equal features therefore
have equal distances. Results are sorted by distance, ties in the order of adding.
"""

from collections.abc import Hashable, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int64

from rgcn_jax.gallery.candidates import Candidates
from rgcn_jax.gallery.products import Products

if TYPE_CHECKING:  # imports JAX, which takes seconds
    from rgcn_jax.gallery.device_search import DeviceSearch

ERROR_FACTOR = 8.0
QUERY_ELEMENTS = 2**23
"""Maximum number of queries searched together, times the larger of the block size and k."""
PART_ELEMENTS = 2**15
"""Number of distances computed and compared at once, 128 KiB, to fit into the cache."""
EXACT_ELEMENTS = 2**15
"""Number of feature differences held in float64, 256 KiB."""
ALIGNED = 8
"""Number of float64 values in a vector register or cache line."""


class Weights(NamedTuple):
    """Branch weights α and β. ``split`` is the number of appearance dimensions."""

    appearance: float
    pose: float
    split: int

    @property
    def used(self) -> slice:
        """Range of the dimensions with nonzero weight."""
        return slice(0 if self.appearance else self.split, None if self.pose else self.split)

    def scale(self, width: int) -> Float[np.ndarray, "d"]:
        """Return the weight α or β of each used dimension."""
        return np.repeat([self.appearance, self.pose], [self.split, width - self.split])[self.used].astype(np.float64)


class Block(NamedTuple):
    """Entries searched together.

    ``squares`` are |y|² with the weights. ``allowed`` is the mask of entries to search. ``key`` identifies the features
    on a device.
    """

    vectors: Float32[np.ndarray, "n d"]
    squares: Float32[np.ndarray, "n"]
    allowed: Bool[np.ndarray, "n"]
    ids: Int64[np.ndarray, "n"]
    key: Hashable = None


class Nearest(NamedTuple):
    """Ids and distances of the neighbours of one query, nearest first."""

    ids: Int64[np.ndarray, "k"]
    distances: Float[np.ndarray, "k"]


def nearest(
    blocks: Sequence[Block],
    queries: Float32[np.ndarray, "q d"],
    weights: Weights,
    k: int,
    device: "DeviceSearch | None" = None,
) -> list[Nearest]:
    """Return the k nearest allowed entries of each query, or all if there are fewer.

    Args:
      blocks: all entries, in order.
      queries: features of the queries.
      weights: weights of the branches.
      k: number of neighbours, at least 1.
      device: computes the float32 distances; None for NumPy.
    """
    largest = max((len(block.vectors) for block in blocks), default=1)
    rows = max(QUERY_ELEMENTS // max(largest, min(k, sum(len(b.vectors) for b in blocks))), 1)
    return [
        found
        for start in range(0, len(queries), rows)
        for found in _nearest(blocks, queries[start : start + rows], weights, k, device)
    ]


def _nearest(
    blocks: Sequence[Block], queries: np.ndarray, weights: Weights, k: int, device: "DeviceSearch | None"
) -> list[Nearest]:
    scale = weights.scale(queries.shape[1])
    used = queries[:, weights.used]
    scaled = (-2 * scale**2 * used).astype(np.float32)
    norms = np.sqrt(np.einsum("qd,qd->q", used * scale**2, used, dtype=np.float64))
    norm = np.sqrt(max((float(block.squares.max(initial=0)) for block in blocks), default=0.0))
    unit = np.finfo(np.float32).eps / 2
    candidates = Candidates(k, ERROR_FACTOR * (np.sqrt(len(scale)) + 1) * unit * (norms + norm) ** 2)
    products, first = Products(scaled), 0
    for block in blocks:
        if block.allowed.any():
            if device is None:
                _measure(block, first, products, weights, candidates, np.arange(len(queries)))
            else:
                _measure_on_device(block, first, scaled, weights, candidates, device)
        first += len(block.vectors)
    return _exact(blocks, used, *candidates.final(), weights, scale, k)


def _measure(
    block: Block, first: int, products: Products, weights: Weights, candidates: Candidates, queries: np.ndarray
) -> None:
    """Add the candidates of a block for the given queries, which are those of ``products``."""
    vectors, squares, places = block.vectors[:, weights.used], block.squares, None
    if 2 * np.count_nonzero(block.allowed) < len(vectors):  # copying a few is cheaper than the product with all
        places = np.flatnonzero(block.allowed)
        vectors, squares = vectors[places], squares[places]
    elif not block.allowed.all():
        squares = np.where(block.allowed, squares, np.float32(np.inf))
    bounds, step = None, max(PART_ELEMENTS // products.columns, 4 * candidates.k)
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        distances = products(vectors[part])  # [n, columns]
        distances += squares[part, None]
        if bounds is None:
            _lower(distances[:, : len(queries)], candidates, queries)
            bounds = _bounds(candidates, queries, products.columns)
        near = np.flatnonzero(distances <= bounds)  # faster than in two dimensions
        rows, columns = np.divmod(near, products.columns)
        positions = first + start + rows if places is None else first + places[start + rows]
        if candidates.add(queries[columns], positions, distances.ravel()[near]):
            bounds = _bounds(candidates, queries, products.columns)


def _bounds(candidates: Candidates, queries: np.ndarray, columns: int) -> np.ndarray:
    """Return the bound of each column of the products; -inf for padded columns."""
    bounds = np.full(columns, -np.inf, np.float32)
    bounds[: len(queries)] = candidates.bounds[queries]
    return bounds


def _lower(distances: np.ndarray, candidates: Candidates, queries: np.ndarray) -> None:
    """Set a first bound of every query from a subset of its distances [n, q]."""
    k = candidates.k
    if len(distances) > k and candidates.unbounded:
        some = np.ascontiguousarray(distances[: max(4 * k, 1024)].T)
        candidates.lower(queries, np.partition(some, k - 1, axis=1)[:, k - 1])


def _measure_on_device(
    block: Block, first: int, scaled: np.ndarray, weights: Weights, candidates: Candidates, device: "DeviceSearch"
) -> None:
    """Add the candidates of a block from distances computed on a device.

    If a query has more candidates in the block than the device returned, its distances are computed with NumPy.
    """
    k, queries = candidates.k, np.arange(len(scaled))
    most = min(2 * k + 64, len(block.vectors))
    squares = np.where(block.allowed, block.squares, np.float32(np.inf))
    values, rows = device.least(block.key, block.vectors, squares, scaled, weights.used, most)
    if most >= k:
        candidates.lower(queries, values[:, k - 1])
    bounds = candidates.bounds
    more = values[:, -1] <= bounds if most < len(block.vectors) else np.zeros(len(queries), bool)
    of, columns = np.nonzero((values <= bounds[:, None]) & ~more[:, None])
    candidates.add(of, first + rows[of, columns].astype(np.int64), values[of, columns])
    if more.any():
        _measure(block, first, Products(scaled[more]), weights, candidates, np.flatnonzero(more))


def _exact(
    blocks: Sequence[Block],
    queries: np.ndarray,
    of: Int[np.ndarray, "m"],
    positions: Int[np.ndarray, "m"],
    weights: Weights,
    scale: np.ndarray,
    k: int,
) -> list[Nearest]:
    """Return the k nearest candidates of each query by float64 distances."""
    order = np.argsort(positions)
    of, positions = of[order], positions[order]
    starts = np.cumsum([0, *(len(block.vectors) for block in blocks)])
    ends = np.searchsorted(positions, starts)
    squares, ids = np.empty(len(positions)), np.empty(len(positions), np.int64)
    exact, scaled = queries.astype(np.float64), bool((scale != 1).any())
    step = max(EXACT_ELEMENTS // len(scale), 1)
    differences = np.empty((step, -(-len(scale) // ALIGNED) * ALIGNED))  # equal alignment: every BLAS rounds alike
    for block in np.flatnonzero(np.diff(ends)).tolist():
        for at in range(ends[block], ends[block + 1], step):
            part = slice(at, min(at + step, ends[block + 1]))
            rows = positions[part] - starts[block]
            ids[part] = blocks[block].ids[rows]
            vectors = blocks[block].vectors[:, weights.used][rows]
            difference = differences[: len(vectors), : len(scale)]
            np.subtract(exact[of[part]], vectors, out=difference)
            if scaled:
                difference *= scale
            np.vecdot(difference, difference, out=squares[part])  # the rounding of a matrix product depends on position
    order = np.lexsort((positions, squares, of))
    first = np.searchsorted(of[order], np.arange(len(queries) + 1)).tolist()
    kept = [order[start : min(start + k, end)] for start, end in pairwise(first)]
    return [Nearest(ids[rows], np.sqrt(squares[rows])) for rows in kept]
