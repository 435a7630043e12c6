"""Nearest-neighbour search on an accelerator (JAX): float32 distances and the least of each block.

What comes out are candidates; ``nearest.py`` measures them again in float64, so that order, ties and distances are
those of a search on the CPU. Features stay on the device from one search to the next, as far as they fit into half of
its memory.
"""

from collections.abc import Hashable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Float32, Int

FIRST_BYTES = 2**31
"""Of features that are kept where the device does not say how much memory it has."""


class DeviceSearch:
    """Features of blocks on the first device. ``max_bytes``: that are kept there; None: half of its memory."""

    def __init__(self, max_bytes: int | None = None):
        if max_bytes is None:
            stats = jax.local_devices()[0].memory_stats() or {}
            max_bytes = int(stats.get("bytes_limit", 2 * FIRST_BYTES)) // 2
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
        """The ``most`` least values of |y|² - 2 x·y of each query, ascending, and their rows.

        Args:
          key: names the block; features of one name never change.
          vectors: of the block.
          squares: |y|²; infinite for what must not be found.
          scaled: -2 x, of the used dimensions.
          used: the dimensions.
          most: 1 to n.
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
        """Drops the features of all blocks but these."""
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
    """Whether JAX runs on a device other than the CPU."""
    return jax.default_backend() != "cpu"


@partial(jax.jit, static_argnames=("start", "stop", "most"))
def _least(
    vectors: jax.Array, squares: jax.Array, scaled: jax.Array, start: int, stop: int, most: int
) -> tuple[jax.Array, jax.Array]:
    distances = jnp.matmul(scaled, vectors[:, start:stop].T, precision=jax.lax.Precision.HIGHEST) + squares
    values, rows = jax.lax.top_k(-distances, most)
    return -values, rows


def _power(count: int) -> int:
    """The next power of two: few shapes are compiled."""
    return 1 << max(count - 1, 0).bit_length()
