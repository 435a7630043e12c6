"""Pairwise distances of tracklets in blocks: Euclidean, or others such as ``calibrated``."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Integer

from rgcn_jax.evaluation.distance import BLOCK_ELEMENTS, distance_blocks, squared_norms


@runtime_checkable
class Distances(Protocol):
    """Distances between all pairs of N tracklets, float32, non-negative; small means similar."""

    def take(self, rows: np.ndarray) -> "Distances":
        """Distances among a subset of the tracklets, given by a mask or indices."""
        ...

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances between two ranges of tracklets, as a new array."""
        ...

    def blocks(
        self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
        """Blocks as from ``distance.distance_blocks``; the next block may overwrite the array.

        They may differ from those of ``between`` by a constant.
        """
        ...


class Euclidean:
    """Euclidean ``Distances`` of one feature per tracklet. Raises InputError if a feature is not finite."""

    def __init__(self, features: Float32[np.ndarray, "n d"]):
        squared_norms(features, "feature")
        self._given = features
        centre = features.mean(axis=0, dtype=np.float64).astype(np.float32) if len(features) else np.float32(0)
        self._features = features - centre
        self._squares = np.einsum("nd,nd->n", self._features, self._features)

    def take(self, rows: np.ndarray) -> "Euclidean":
        """Distances among a subset of the tracklets."""
        return Euclidean(self._given[rows])

    def between(self, rows: slice, columns: slice) -> Float32[np.ndarray, "rows columns"]:
        """Distances between two ranges of tracklets."""
        distances = (-2 * self._features[rows]) @ self._features[columns].T
        distances += self._squares[columns]
        distances += self._squares[rows, None]
        return np.sqrt(np.maximum(distances, 0, out=distances), out=distances)

    def blocks(
        self, queries: Integer[np.ndarray, "q"], block_elements: int = BLOCK_ELEMENTS
    ) -> Iterator[tuple[slice, Float32[np.ndarray, "rows n"]]]:
        """Blocks as from ``distance.distance_blocks``."""
        return distance_blocks(self._given, queries, block_elements=block_elements)


def as_distances(given: Float32[np.ndarray, "n d"] | Distances) -> Distances:
    """Return distances unchanged; convert features to their Euclidean distances."""
    return Euclidean(given) if isinstance(given, np.ndarray) else given
