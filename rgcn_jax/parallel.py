"""The device mesh and every version-sensitive JAX call of the data-parallel step.

One axis, ``AXIS``: each device holds a share of the clips of a batch and a copy of everything else. The same code
runs on one device and on many.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rgcn_jax.types import InputError

AXIS = "data"

REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(AXIS)


def make_mesh(num_devices: int) -> Mesh:
    """A mesh of the first ``num_devices`` devices (0: all).

    Raises:
      InputError: there are fewer devices.
    """
    devices = jax.devices()
    if num_devices > len(devices):
        raise InputError(
            f"parallel.num_devices is {num_devices}, but JAX sees {len(devices)} {devices[0].platform} device(s): "
            "lower it, or 0 for all there are."
        )
    return Mesh(np.array(devices[: num_devices or len(devices)]), (AXIS,))


def check_divides(clips: int, mesh: Mesh, what: str) -> None:
    """Raises ``InputError`` unless a batch of ``clips`` (called ``what`` in the message) divides by the devices."""
    if clips % mesh.size:
        raise InputError(
            f"{what} makes batches of {clips} clips, which do not divide by {mesh.size} devices: change it, or set "
            "parallel.num_devices to a divisor."
        )


def over_clips(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """``jax.shard_map`` with the check of varying axes on, so that an unreduced output is an error and not a wrong
    number.

    Inside, reduce the loss over ``AXIS`` and differentiate *outside*: the gradient of the mapped function is then the
    gradient of the whole batch, on any number of devices.
    """
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True)


def gather_clips(x: jax.Array) -> jax.Array:
    """The rows of all devices, in order; inside ``over_clips``. Hard mining needs it: the hardest clip may be
    elsewhere.
    """
    return jax.lax.all_gather(x, AXIS, tiled=True)


def mean_over_devices(x: Any) -> Any:
    """Mean over devices of a tree of per-device means; inside ``over_clips``."""
    return jax.lax.pmean(x, AXIS)


def on_each_device(tree: Any) -> Any:
    """The same values, from here on each device's own; inside ``over_clips``."""
    return jax.lax.pcast(tree, AXIS, to="varying")


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of the tree on every device."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def shard(batch: Any, mesh: Mesh) -> Any:
    """The clips of a batch divided over the devices."""
    return jax.device_put(batch, NamedSharding(mesh, SHARDED))
