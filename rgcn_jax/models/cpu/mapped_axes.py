"""Mesh axes over which an array varies, for functions with a custom gradient under ``shard_map``."""

from typing import Any

import jax
from jax import Array


def varying_like(weight: Array, x: Array) -> Array:
    """Mark a weight that all devices share as varying over the mesh axes that ``x`` varies over.

    Under ``shard_map`` each device has its own x. With the mark, JAX sums the gradients of the devices outside of the
    custom gradient.
    """
    missing = tuple(_mapped_axes(x) - _mapped_axes(weight))
    return jax.lax.pcast(weight, missing, to="varying") if missing else weight


def _mapped_axes(x: Array) -> frozenset[str]:
    """Mesh axes over which an array varies under ``shard_map``; JAX before 0.10 called them ``vma``."""
    kind: Any = jax.typeof(x)
    return kind.manual_axis_type.varying if hasattr(kind, "manual_axis_type") else kind.vma
