"""Exact nearest neighbours: the k entries of least distance, over blocks of features in bounded memory.

With weights α of the appearance and β of the pose, d²(x, y) = α² |x_a - y_a|² + β² |x_p - y_p|². A block is first
measured in float32, as |y|² - 2 x·y by one matrix product, whose error is at most ``ERROR_FACTOR`` √D u (|x| + |y|)²
with u the unit roundoff: with probability near 1 for any data (Higham and Mary, "A new approach to probabilistic
rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019). Every entry that could be among the k nearest within that
error is kept, and measured again in float64 as it is written above. So equal features have equal distances, and the
order is that of the distances; entries at one distance are in the order in which they were added.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32, Int

from rgcn_jax.gallery.candidates import Candidates
from rgcn_jax.gallery.products import Products

ERROR_FACTOR = 8.0
QUERY_ELEMENTS = 2**23
"""Entries of a block, or k, times the queries that are searched for together."""
PART_ELEMENTS = 2**15
"""Distances that are measured and compared at a time, 128 KiB: they stay in the cache."""
EXACT_ELEMENTS = 2**15
"""Differences of features that are held in float64 at a time, 256 KiB."""
ALIGNED = 8
"""Float64 numbers of a vector register or a cache line."""


class Weights(NamedTuple):
    """α and β; ``split``: dimensions of the appearance."""

    appearance: float
    pose: float
    split: int

    @property
    def used(self) -> slice:
        """The dimensions whose weight is not zero."""
        return slice(0 if self.appearance else self.split, None if self.pose else self.split)

    def scale(self, width: int) -> Float[np.ndarray, "d"]:
        """α, β of each of the used dimensions."""
        return np.repeat([self.appearance, self.pose], [self.split, width - self.split])[self.used].astype(np.float64)


class Block(NamedTuple):
    """Entries that are searched together; ``squares``: |y|² with the weights; ``allowed``: those that may be found."""

    vectors: Float32[np.ndarray, "n d"]
    squares: Float32[np.ndarray, "n"]
    allowed: Bool[np.ndarray, "n"]


class Nearest(NamedTuple):
    """Of one query, nearest first: positions among the entries of all blocks, and distances."""

    positions: np.ndarray
    distances: Float[np.ndarray, "k"]


Least = Callable[[int, np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]
"""(block, squares, scaled queries, most) -> the least values of a block and their rows (``device_search.py``)."""


def nearest(
    blocks: Sequence[Block],
    queries: Float32[np.ndarray, "q d"],
    weights: Weights,
    k: int,
    least: Least | None = None,
) -> list[Nearest]:
    """The k nearest allowed entries of each query, or all, where these are fewer.

    Args:
      blocks: all entries, in order.
      queries: features.
      weights: of the branches.
      k: 1 or more.
      least: measures on a device; None: here.
    """
    largest = max((len(block.vectors) for block in blocks), default=1)
    rows = max(QUERY_ELEMENTS // max(largest, min(k, sum(len(b.vectors) for b in blocks))), 1)
    return [
        found
        for start in range(0, len(queries), rows)
        for found in _nearest(blocks, queries[start : start + rows], weights, k, least)
    ]


def _nearest(
    blocks: Sequence[Block], queries: np.ndarray, weights: Weights, k: int, least: Least | None
) -> list[Nearest]:
    scale = weights.scale(queries.shape[1])
    used = queries[:, weights.used]
    scaled = (-2 * scale**2 * used).astype(np.float32)
    norms = np.sqrt(np.einsum("qd,qd->q", used * scale**2, used, dtype=np.float64))
    norm = np.sqrt(max((float(block.squares.max(initial=0)) for block in blocks), default=0.0))
    unit = np.finfo(np.float32).eps / 2
    candidates = Candidates(k, ERROR_FACTOR * (np.sqrt(len(scale)) + 1) * unit * (norms + norm) ** 2)
    products, first = Products(scaled), 0
    for number, block in enumerate(blocks):
        if block.allowed.any():
            if least is None:
                _measure(block, first, products, weights, candidates, np.arange(len(queries)))
            else:
                _measure_on_device(number, block, first, scaled, weights, candidates, least)
        first += len(block.vectors)
    return _exact(blocks, used, *candidates.final(), weights, scale, k)


def _measure(
    block: Block, first: int, products: Products, weights: Weights, candidates: Candidates, queries: np.ndarray
) -> None:
    """Adds the candidates of a block, of some queries, those of the products."""
    vectors, squares, places = block.vectors[:, weights.used], block.squares, None
    if 2 * np.count_nonzero(block.allowed) < len(vectors):  # a copy of few is cheaper than the product with all
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
    """Bounds of the columns of products; nothing is found by a padded one."""
    bounds = np.full(columns, -np.inf, np.float32)
    bounds[: len(queries)] = candidates.bounds[queries]
    return bounds


def _lower(distances: np.ndarray, candidates: Candidates, queries: np.ndarray) -> None:
    """Gives every query a first bound, by some of its distances [n, q]."""
    k = candidates.k
    if len(distances) > k and candidates.unbounded:
        some = np.ascontiguousarray(distances[: max(4 * k, 1024)].T)
        candidates.lower(queries, np.partition(some, k - 1, axis=1)[:, k - 1])


def _measure_on_device(
    number: int,
    block: Block,
    first: int,
    scaled: np.ndarray,
    weights: Weights,
    candidates: Candidates,
    least: Least,
) -> None:
    """As ``_measure``. A query with more candidates in the block than came from the device is measured here."""
    k, queries = candidates.k, np.arange(len(scaled))
    most = min(2 * k + 64, len(block.vectors))
    values, rows = least(number, np.where(block.allowed, block.squares, np.float32(np.inf)), scaled, most)
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
    """The k nearest of the candidates of each query, by distances in float64."""
    order = np.argsort(positions)
    of, positions = of[order], positions[order]
    starts = np.cumsum([0, *(len(block.vectors) for block in blocks)])
    ends = np.searchsorted(positions, starts)
    squares, exact, scaled = np.empty(len(positions)), queries.astype(np.float64), bool((scale != 1).any())
    step = max(EXACT_ELEMENTS // len(scale), 1)
    differences = np.empty((step, -(-len(scale) // ALIGNED) * ALIGNED))  # of equal alignment: rounded alike by any BLAS
    for block in np.flatnonzero(np.diff(ends)).tolist():
        for at in range(ends[block], ends[block + 1], step):
            part = slice(at, min(at + step, ends[block + 1]))
            vectors = blocks[block].vectors[:, weights.used][positions[part] - starts[block]]
            difference = differences[: len(vectors), : len(scale)]
            np.subtract(exact[of[part]], vectors, out=difference)
            if scaled:
                difference *= scale
            np.vecdot(difference, difference, out=squares[part])  # a matrix product would round by position
    order = np.lexsort((positions, squares, of))
    first = np.searchsorted(of[order], np.arange(len(queries) + 1)).tolist()
    kept = [order[start : min(start + k, end)] for start, end in pairwise(first)]
    return [Nearest(positions[rows], np.sqrt(squares[rows])) for rows in kept]
