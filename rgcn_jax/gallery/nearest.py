"""Exact nearest neighbours: the k entries of least distance, over blocks of features in bounded memory.

With weights α of the appearance and β of the pose, d²(x, y) = α² |x_a - y_a|² + β² |x_p - y_p|². A block is first
measured in float32, as |y|² - 2 x·y by one matrix product, whose error is at most ``ERROR_FACTOR`` √D u (|x| + |y|)²
with u the unit roundoff: with probability near 1 for any data (Higham and Mary, "A new approach to probabilistic
rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019). Every entry that could be among the k nearest within that
error is kept, and measured again in float64 as it is written above. So equal features have equal distances, and the
order is that of the distances; entries at one distance are in the order in which they were added.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Float32

ERROR_FACTOR = 8.0
BLOCK_ELEMENTS = 2**23
"""Float32 distances held at a time (32 MiB)."""
LARGEST = float(np.finfo(np.float32).max) / 2


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
        """α², β² of each of the used dimensions."""
        return np.repeat([self.appearance**2, self.pose**2], [self.split, width - self.split])[self.used]


class Block(NamedTuple):
    """Entries that are searched together; ``squares``: |y|² with the weights; ``allowed``: those that may be found."""

    vectors: Float32[np.ndarray, "n d"]
    squares: Float[np.ndarray, "n"]
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
    rows = max(BLOCK_ELEMENTS // max(largest, min(k, sum(len(b.vectors) for b in blocks))), 1)
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
    scaled = (-2 * scale * used).astype(np.float32)
    norms = np.sqrt(np.einsum("qd,qd->q", used * scale, used, dtype=np.float64))
    norm = np.sqrt(max((float(block.squares.max(initial=0)) for block in blocks), default=0.0))
    unit = np.finfo(np.float32).eps / 2
    margin = (ERROR_FACTOR * (np.sqrt(len(scale)) + 1) * unit * (norms + norm) ** 2).astype(np.float64)
    limit = np.full(len(queries), LARGEST)  # no nearer than the k-th, plus the error
    kept = [(np.empty(0, np.int64), np.empty(0, np.float32))] * len(queries)
    first = 0
    for number, block in enumerate(blocks):
        if block.allowed.any():
            if least is None:
                _measure(block, first, scaled, weights, k, margin, limit, kept)
            else:
                _measure_on_device(number, block, first, scaled, weights, k, margin, limit, kept, least)
        first += len(block.vectors)
    starts = np.cumsum([0, *(len(block.vectors) for block in blocks)])
    return [
        _exact(blocks, starts, query, positions, weights, scale, k)
        for query, (positions, _) in zip(used.astype(np.float64), kept, strict=True)
    ]


def _measure(
    block: Block,
    first: int,
    scaled: np.ndarray,
    weights: Weights,
    k: int,
    margin: np.ndarray,
    limit: np.ndarray,
    kept: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Adds the candidates of a block to ``kept`` and lowers ``limit``, both in place."""
    vectors, squares, places = block.vectors[:, weights.used], block.squares, None
    if 2 * np.count_nonzero(block.allowed) < len(vectors):  # a copy of few is cheaper than the product with all
        places = np.flatnonzero(block.allowed)
        vectors, squares = vectors[places], squares[places]
    distances = vectors @ scaled.T  # [n, q]: faster than its transpose
    distances += squares.astype(np.float32)[:, None]
    if places is None and not block.allowed.all():
        distances[~block.allowed] = np.inf
    if len(distances) > k and (limit >= LARGEST).any():
        some = np.ascontiguousarray(distances[: max(4 * k, 1024)].T)  # the k-th of some is no nearer than that of all
        np.minimum(limit, np.partition(some, k - 1, axis=1)[:, k - 1] + margin, out=limit)
    most = np.minimum(limit + margin, LARGEST).astype(np.float32)
    columns, rows = np.nonzero(distances <= np.nextafter(most, np.float32(np.inf)))
    order = np.argsort(rows, kind="stable")
    columns, rows = columns[order], rows[order]
    bounds = np.searchsorted(rows, np.arange(len(most) + 1))
    for query in np.unique(rows).tolist():
        found = columns[bounds[query] : bounds[query + 1]]
        places_of = first + (found if places is None else places[found])
        _keep(query, places_of, distances[found, query], k, margin, limit, kept)


def _measure_on_device(
    number: int,
    block: Block,
    first: int,
    scaled: np.ndarray,
    weights: Weights,
    k: int,
    margin: np.ndarray,
    limit: np.ndarray,
    kept: list[tuple[np.ndarray, np.ndarray]],
    least: Least,
) -> None:
    """As ``_measure``. A query with more candidates in the block than came from the device is measured here."""
    most = min(2 * k + 64, len(block.vectors))
    squares = np.where(block.allowed, block.squares, np.inf).astype(np.float32)
    values, rows = least(number, squares, scaled, most)
    left = []
    for query in range(len(scaled)):
        if most >= k:  # the k-th of some is no nearer than that of all
            limit[query] = min(limit[query], float(values[query, k - 1]) + margin[query])
        bound = limit[query] + margin[query]
        if most < len(block.vectors) and values[query, -1] <= bound:
            left.append(query)
            continue
        near = values[query] <= np.nextafter(np.float32(bound), np.float32(np.inf))
        _keep(query, first + rows[query][near].astype(np.int64), values[query][near], k, margin, limit, kept)
    if left:
        limits, kept_here = limit[left], [kept[query] for query in left]
        _measure(block, first, scaled[left], weights, k, margin[left], limits, kept_here)
        for i, query in enumerate(left):
            limit[query], kept[query] = limits[i], kept_here[i]


def _keep(
    query: int,
    found: np.ndarray,
    distances: np.ndarray,
    k: int,
    margin: np.ndarray,
    limit: np.ndarray,
    kept: list[tuple[np.ndarray, np.ndarray]],
) -> None:
    """Adds candidates of one query to ``kept`` and lowers its ``limit``, both in place."""
    values, positions = np.concatenate([kept[query][1], distances]), np.concatenate([kept[query][0], found])
    finite = np.isfinite(values)
    values, positions = values[finite], positions[finite]
    if len(values) > k:
        limit[query] = min(limit[query], np.partition(values, k - 1)[k - 1] + margin[query])
        near = values <= limit[query] + margin[query]
        values, positions = values[near], positions[near]
    kept[query] = positions, values


def _exact(
    blocks: Sequence[Block],
    starts: np.ndarray,
    query: np.ndarray,
    positions: np.ndarray,
    weights: Weights,
    scale: np.ndarray,
    k: int,
) -> Nearest:
    """The k nearest of the candidates, by distances in float64."""
    positions = np.sort(positions)
    squares = np.empty(len(positions))
    rows = max(BLOCK_ELEMENTS // 4 // max(len(query), 1), 1)
    ends = np.searchsorted(positions, starts)
    for i in np.flatnonzero(np.diff(ends)).tolist():
        for at in range(ends[i], ends[i + 1], rows):
            part = slice(at, min(at + rows, ends[i + 1]))
            difference = blocks[i].vectors[positions[part] - starts[i]][:, weights.used] - query
            difference *= difference
            if (scale != 1).any():
                difference *= scale
            squares[part] = np.sum(difference, axis=1)  # a matrix product would round by position
    order = np.argsort(squares, kind="stable")[:k]
    return Nearest(positions[order], np.sqrt(squares[order]))
