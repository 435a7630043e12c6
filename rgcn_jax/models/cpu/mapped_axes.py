"""For functions with a gradient of their own under ``shard_map``: which mesh axes an array varies over."""

from typing import Any

import jax
from jax import Array


def varying_like(weight: Array, x: Array) -> Array:
    """A weight that all devices share, marked as varying over the mesh axes that ``x`` varies over.

    Under ``shard_map`` each device has its own x. Said here, the gradients of the devices are added up outside of the
    hand-written one.
    """
    missing = tuple(_mapped_axes(x) - _mapped_axes(weight))
    return jax.lax.pcast(weight, missing, to="varying") if missing else weight


def _mapped_axes(x: Array) -> frozenset[str]:
    """Mesh axes over which an array varies under ``shard_map``; JAX before 0.10 called them ``vma``."""
    kind: Any = jax.typeof(x)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
