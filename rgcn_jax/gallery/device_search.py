"""Nearest-neighbour search on an accelerator (JAX): float32 distances and the smallest of each block.

The results are candidates, and ``nearest.py`` recomputes their distances in float64. Order, ties and distances
therefore equal those of a search on the CPU. Features stay on the device between searches, as far as they fit into half
of its memory.
"""

from collections.abc import Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int


class DeviceSearch:
    """Features of blocks on the first device.

    Args:
      max_bytes: bytes of features kept on the device; None for half of its memory, or 2 GiB if it reports no size.
    """

    def __init__(self, max_bytes: int | None = None):
        if max_bytes is None:
            stats = jax.local_devices()[0].memory_stats() or {}
            max_bytes = int(stats.get("bytes_limit", 2**32)) // 2
        self._left = max_bytes
        self._kept: dict[Hashable, jax.Array] = {}

    def least(
        self,
        key: Hashable,
        vectors: Float32[np.ndarray, "n d"],
        squares: Float[np.ndarray, "n"],
        scaled: Float32[np.ndarray, "q u"],
        used: slice,
        most: int,
    ) -> tuple[Float32[np.ndarray, "q m"], Int[np.ndarray, "q m"]]:
        """Return the ``most`` smallest values of |y|² - 2 x·y for each query, ascending, and their rows.

        Args:
          key: identifies the block. The features of a key never change.
          vectors: features of the block.
          squares: |y|²; infinite for excluded entries.
          scaled: -2 x, restricted to the used dimensions.
          used: range of the used dimensions.
          most: from 1 to n.
        """
        rows, count = _power(len(vectors)), _power(len(scaled))
        padded = np.full(rows, np.inf, np.float32)
        padded[: len(squares)] = squares
        queries = np.zeros((count, scaled.shape[1]), np.float32)
        queries[: len(scaled)] = scaled
        start, stop, _ = used.indices(vectors.shape[1])
        there = self._on_device(key, vectors, rows)
        values, found = _least(there, jnp.asarray(padded), jnp.asarray(queries), start, stop, most)
        return np.asarray(values)[: len(scaled)], np.asarray(found)[: len(scaled)]

    def forget(self, keys: Any) -> None:
        """Drop the features of all blocks except these."""
        for key in self._kept.keys() - set(keys):
            self._left += self._kept.pop(key).nbytes

    def _on_device(self, key: Hashable, vectors: np.ndarray, rows: int) -> jax.Array:
        if (there := self._kept.get(key)) is not None:
            return there
        padded = np.zeros((rows, vectors.shape[1]), np.float32)
        padded[: len(vectors)] = vectors
        moved = jax.device_put(padded, jax.local_devices()[0])
        if moved.nbytes <= self._left:
            self._kept[key] = moved
            self._left -= moved.nbytes
        return moved


def has_accelerator() -> bool:
    """Whether the default backend of JAX is not the CPU."""
    return jax.default_backend() != "cpu"


@partial(jax.jit, static_argnames=("start", "stop", "most"))
def _least(
    vectors: jax.Array, squares: jax.Array, scaled: jax.Array, start: int, stop: int, most: int
) -> tuple[jax.Array, jax.Array]:
    distances = jnp.matmul(scaled, vectors[:, start:stop].T, precision=jax.lax.Precision.HIGHEST) + squares
    values, rows = jax.lax.top_k(-distances, most)
    return -values, rows


def _power(count: int) -> int:
    """Return the next power of two, to limit the number of compiled shapes."""
    return 1 << max(count - 1, 0).bit_length()
