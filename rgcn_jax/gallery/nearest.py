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
PART_ELEMENTS = 2**17
"""Distances that are measured and compared at a time, 512 KiB: they stay in the cache."""
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
    candidates = [_Candidates(k, m) for m in margin.tolist()]
    first = 0
    for number, block in enumerate(blocks):
        if block.allowed.any():
            if least is None:
                _measure(block, first, scaled, weights, candidates)
            else:
                _measure_on_device(number, block, first, scaled, weights, candidates, least)
        first += len(block.vectors)
    starts = np.cumsum([0, *(len(block.vectors) for block in blocks)])
    found = zip(used.astype(np.float64), candidates, strict=True)
    return [_exact(blocks, starts, query, c.positions, weights, scale, k) for query, c in found]


class _Candidates:
    """Entries of all blocks so far that may be among the ``k`` nearest of one query, with their float32 distances.

    ``margin``: the error of a distance. ``limit``: the k-th distance so far and its error, an upper bound.
    """

    def __init__(self, k: int, margin: float):
        self.k, self.margin, self.limit = k, margin, LARGEST
        self.positions, self._distances = np.empty(0, np.int64), np.empty(0, np.float32)

    @property
    def bound(self) -> np.float32:
        """No candidate is beyond it."""
        return np.nextafter(np.float32(min(self.limit + self.margin, LARGEST)), np.float32(np.inf))

    def lower(self, kth: float) -> None:
        """The k-th of some distances is no nearer than that of all."""
        self.limit = min(self.limit, kth + self.margin)

    def add(self, positions: np.ndarray, distances: np.ndarray) -> None:
        """Takes candidates in and drops those that no longer are."""
        values, positions = np.concatenate([self._distances, distances]), np.concatenate([self.positions, positions])
        near = np.isfinite(values)
        if np.count_nonzero(near) > self.k:
            self.lower(float(np.partition(values[near], self.k - 1)[self.k - 1]))
            near &= values <= self.limit + self.margin
        self.positions, self._distances = positions[near], values[near]


def _measure(block: Block, first: int, scaled: np.ndarray, weights: Weights, candidates: Sequence[_Candidates]) -> None:
    """Adds the candidates of a block, of each query."""
    vectors, squares, places = block.vectors[:, weights.used], block.squares, None
    if 2 * np.count_nonzero(block.allowed) < len(vectors):  # a copy of few is cheaper than the product with all
        places = np.flatnonzero(block.allowed)
        vectors, squares = vectors[places], squares[places]
    refused = None if places is not None or block.allowed.all() else ~block.allowed
    found: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []  # rows, columns and values of what is near
    bounds, step = None, max(PART_ELEMENTS // len(candidates), 4 * candidates[0].k)
    for start in range(0, len(vectors), step):
        part = slice(start, start + step)
        distances = vectors[part] @ scaled.T  # [n, q]: faster than its transpose
        distances += squares[part].astype(np.float32)[:, None]
        if refused is not None:
            distances[refused[part]] = np.inf
        if bounds is None:
            _lower(distances, candidates)
            bounds = np.array([c.bound for c in candidates])
        near = np.flatnonzero(distances <= bounds)  # faster than in two dimensions
        rows, columns = np.divmod(near, len(candidates))
        found.append((start + rows, columns, distances.ravel()[near]))
    rows, columns, values = (np.concatenate(parts) for parts in zip(*found, strict=True))
    order = np.argsort(columns, kind="stable")
    rows, columns, values = rows[order] if places is None else places[rows[order]], columns[order], values[order]
    ends = np.searchsorted(columns, np.arange(len(candidates) + 1))
    for query in np.unique(columns).tolist():
        of_query = slice(ends[query], ends[query + 1])
        candidates[query].add(first + rows[of_query], values[of_query])


def _lower(distances: np.ndarray, candidates: Sequence[_Candidates]) -> None:
    """Gives every query a first bound, by some of its distances [n, q]."""
    k = candidates[0].k
    if len(distances) > k and any(c.limit >= LARGEST for c in candidates):
        some = np.ascontiguousarray(distances[: max(4 * k, 1024)].T)
        for c, kth in zip(candidates, np.partition(some, k - 1, axis=1)[:, k - 1].tolist(), strict=True):
            c.lower(kth)


def _measure_on_device(
    number: int,
    block: Block,
    first: int,
    scaled: np.ndarray,
    weights: Weights,
    candidates: Sequence[_Candidates],
    least: Least,
) -> None:
    """As ``_measure``. A query with more candidates in the block than came from the device is measured here."""
    k = candidates[0].k
    most = min(2 * k + 64, len(block.vectors))
    squares = np.where(block.allowed, block.squares, np.inf).astype(np.float32)
    values, rows = least(number, squares, scaled, most)
    left = []
    for query, c in enumerate(candidates):
        if most >= k:
            c.lower(float(values[query, k - 1]))
        if most < len(block.vectors) and values[query, -1] <= c.limit + c.margin:
            left.append(query)
        else:
            near = values[query] <= c.bound
            c.add(first + rows[query][near].astype(np.int64), values[query][near])
    if left:
        _measure(block, first, scaled[left], weights, [candidates[query] for query in left])


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
    for at in range(0, len(positions), rows):
        part = positions[at : at + rows]
        ends = np.searchsorted(part, starts)
        vectors = [
            blocks[i].vectors[part[ends[i] : ends[i + 1]] - starts[i]] for i in np.flatnonzero(np.diff(ends)).tolist()
        ]
        difference = np.concatenate(vectors)[:, weights.used] - query
        difference *= difference
        if (scale != 1).any():
            difference *= scale
        squares[at : at + rows] = np.sum(difference, axis=1)  # a matrix product would round by position
    order = np.argsort(squares, kind="stable")[:k]
    return Nearest(positions[order], np.sqrt(squares[order]))
