"""Distances among tracklets of any kind, Euclidean ones of a feature or others (``calibrated``), in blocks."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from rgcn_jax.evaluation.distance import BLOCK_ELEMENTS, distance_blocks, squared_norms


@runtime_checkable
class Distances(Protocol):
    """Distances between every two of N tracklets, float32, at least 0; small is similar."""

    def take(self, rows: np.ndarray) -> "Distances":
        """Of some of the tracklets, by a mask or by positions."""
        ...

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """From some tracklets to others, in a new array."""
        ...

    def blocks(
        self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
        """As ``distance.distance_blocks`` yields them: the array may be written over by the next block. They may differ
        from those of ``between`` by a constant.
        """
        ...


class Euclidean:
    """``Distances`` of one feature per tracklet. Raises InputError: a feature is not finite."""

    def __init__(self, features: Float32[np.ndarray, "n d"]):
        squared_norms(features, "feature")
        self._given = features
        centre = features.mean(axis=0, dtype=np.float64).astype(np.float32) if len(features) else np.float32(0)
        self._features = features - centre
        self._squares = np.einsum("nd,nd->n", self._features, self._features)

    def take(self, rows: np.ndarray) -> "Euclidean":
        """Of some of the tracklets."""
        return Euclidean(self._given[rows])

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """From some tracklets to others."""
        distances = (-2 * self._features[rows]) @ self._features[columns].T
        distances += self._squares[columns]
        distances += self._squares[rows, None]
        return np.sqrt(np.maximum(distances, 0, out=distances), out=distances)

    def blocks(
        self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
        """As ``distance.distance_blocks`` yields them."""
        return distance_blocks(self._given, queries, block_elements=block_elements)


def as_distances(given: Float32[np.ndarray, "n d"] | Distances) -> Distances:
    """Distances as they are, or the Euclidean ones of features."""
    return Euclidean(given) if isinstance(given, np.ndarray) else given
