"""Data parallelism: device mesh, multi-process setup, and all version-sensitive JAX calls for them.

One mesh axis, ``AXIS``: each device holds a part of the clips of a batch and a copy of everything else. The same code
runs on one or many devices, in one or several processes; each process reads the clips of its own devices.
"""

import atexit
import hashlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from rgcn_jax.errors import InputError
from rgcn_jax.runtime import processes
from rgcn_jax.runtime.files import writing

AXIS = "data"

REPLICATED = PartitionSpec()
SHARDED = PartitionSpec(AXIS)

START_SECONDS = 300
"""Timeout for the processes of a job to find each other at the start; schedulers may start them minutes apart."""

HEARTBEAT_SECONDS = 30
"""Seconds without a heartbeat after which JAX aborts the other processes. JAX's default is 100 s."""


def start_processes() -> None:
    """Join the other processes of the job, if any (``processes.place``); must precede any use of a device.

    Afterwards, standard output of all processes but the first is discarded.

    Raises:
      InputError: the environment is invalid, process 0 cannot be reached, or the processes have unequal numbers of
        devices.
    """
    there = processes.place()
    if there is None:
        return
    processes.find_coordinator(there, START_SECONDS)
    # It would handle SIGTERM, which training/train.py handles.
    jax.config.update("jax_enable_preemption_service", False)
    jax.distributed.initialize(
        there.address,
        there.count,
        there.index,
        cluster_detection_method="deactivate",
        initialization_timeout=START_SECONDS,
        heartbeat_timeout_seconds=HEARTBEAT_SECONDS,
    )
    processes.joined = True
    atexit.register(jax.distributed.shutdown)
    if there.index:
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (for the life of the process)
    counts = [sum(device.process_index == process for device in jax.devices()) for process in range(there.count)]
    if len(set(counts)) > 1:  # JAX's own error, at the first collective operation, names no device
        raise InputError(
            f"the processes have {', '.join(map(str, counts))} devices, in their order: start each with the same "
            "number (CUDA_VISIBLE_DEVICES hides devices), or leave out some processes."
        )


def is_first() -> bool:
    """Whether this process writes files and logs: process 0, or the only one."""
    return jax.process_index() == 0


def check_same(what: str, text: str) -> None:
    """Raise ``InputError`` in all processes if a text, such as the config, differs between them.

    A collective call: all processes must make it. ``what`` names the text in the message.
    """
    if jax.process_count() == 1:
        return
    found = multihost_utils.process_allgather(np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8))
    others = np.flatnonzero((found != found[0]).any(axis=1))
    if others.size:
        raise InputError(
            f"{what} is not the same in process {', '.join(map(str, others))} as in process 0: start all processes "
            "with the same command, the same version of rgcn_jax and the same files."
        )


def in_any(flag: bool) -> bool:
    """Whether the flag is set in any process; a collective call."""
    return bool(flag if jax.process_count() == 1 else multihost_utils.process_allgather(np.bool_(flag)).any())


def check_shared(folder: Path) -> None:
    """Raise ``InputError`` in all processes if they do not share the folder's file system; a collective call."""
    if jax.process_count() == 1:
        return
    name = f".shared-{int(multihost_utils.broadcast_one_to_all(np.int32(os.getpid())))}"
    if is_first():
        with writing(folder / name):
            (folder / name).touch()
    multihost_utils.sync_global_devices("probe file written")
    missing = np.flatnonzero(~multihost_utils.process_allgather(np.bool_((folder / name).exists())))
    if is_first():
        (folder / name).unlink()
    if missing.size:
        raise InputError(
            f"{folder} of process {', '.join(map(str, missing))} is not the folder of process 0: all processes save a "
            "run together, so choose a folder on a file system that all machines share."
        )


def decided_by_first(flag: bool) -> bool:
    """The first process's flag, in all processes; a collective call.

    For decisions based on values that may differ between machines by rounding.
    """
    return bool(flag if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(np.bool_(flag)))


def number_of_first(number: int) -> int:
    """The first process's number, in all processes; a collective call."""
    return int(number if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(np.int32(number)))


def make_mesh(num_devices: int) -> Mesh:
    """Create a mesh of the first ``num_devices`` devices (0: all).

    With several processes it has all devices, in the order of the processes, so that each holds consecutive clips.

    Raises:
      InputError: there are fewer devices, or ``num_devices`` is less than all devices of several processes.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if num_devices > len(devices):
        raise InputError(
            f"parallel.num_devices is {num_devices}, but JAX sees {len(devices)} {devices[0].platform} device(s): "
            "lower it, or set it to 0 for all devices."
        )
    if num_devices not in (0, len(devices)) and jax.process_count() > 1:
        raise InputError(
            f"parallel.num_devices is {num_devices}, but {jax.process_count()} processes use all their devices: leave "
            "it at 0, and hide devices from JAX by CUDA_VISIBLE_DEVICES."
        )
    return Mesh(np.array(devices[: num_devices or len(devices)]), (AXIS,))


def check_divides(clips: int, mesh: Mesh, what: str) -> None:
    """Raise ``InputError`` unless ``clips`` is a multiple of the number of devices; ``what`` names the batch size."""
    if clips % mesh.size:
        raise InputError(
            f"{what} makes batches of {clips} clips, which {mesh.size} devices cannot share equally: change it, or set "
            "parallel.num_devices to a divisor."
        )


def over_clips(function: Callable, mesh: Mesh, in_specs: Any, out_specs: Any) -> Callable:
    """``jax.shard_map`` with the check of varying axes, which turns an unreduced output into an error.

    Reduce the loss over ``AXIS`` inside and differentiate *outside*: the gradient is then that of the global batch, on
    any number of devices.

    On a mesh of one device, arrays are declared replicated instead of divided, which is the same there. Nothing then
    varies over devices, so the gradient needs no all-reduce. On a CPU, XLA would copy all gradients for it, and every
    update of a parameter would wait for the last gradient. An unreduced output is an error on several devices only.
    """
    if mesh.size == 1:
        in_specs, out_specs = jax.tree.map(
            lambda _: REPLICATED, (in_specs, out_specs), is_leaf=lambda spec: isinstance(spec, PartitionSpec)
        )
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs, check_vma=True)


def gather_clips(x: jax.Array) -> jax.Array:
    """Concatenate the rows of all devices in order, inside ``over_clips``; for mining over the global batch."""
    return x if jax.lax.axis_size(AXIS) == 1 else jax.lax.all_gather(x, AXIS, tiled=True)


def device_index() -> jax.Array | int:
    """Index of this device on the mesh, inside ``over_clips``."""
    return 0 if jax.lax.axis_size(AXIS) == 1 else jax.lax.axis_index(AXIS)


def mean_over_devices(x: Any) -> Any:
    """Mean over devices of a tree of per-device means; used inside ``over_clips``."""
    return x if jax.lax.axis_size(AXIS) == 1 else jax.lax.pmean(x, AXIS)


def normalisation_axis(batch_norm: str) -> str | None:
    """The ``axis_name`` of the model's batch normalisation in training, from ``parallel.batch_norm``.

    "global": batch statistics are over all clips, whatever the number of devices. "device": over each device's own
    clips, and the running statistics are the first device's, as in PyTorch's ``DataParallel``; the result then depends
    on the number of devices. Losses and mining are over the global batch in both cases.

    Raises:
      InputError: it is neither.
    """
    axes = {"global": AXIS, "device": None}
    if batch_norm not in axes:
        raise InputError(f"parallel.batch_norm is {batch_norm!r}: expected one of {', '.join(axes)}.")
    return axes[batch_norm]


def of_first_device(tree: Any) -> Any:
    """Broadcast the first device's values to all devices, exactly; used inside ``over_clips``."""
    first = device_index() == 0
    return jax.tree.map(lambda x: jax.lax.psum(jax.numpy.where(first, x, jax.numpy.zeros_like(x)), AXIS), tree)


def on_each_device(tree: Any) -> Any:
    """Mark the values as varying over devices; used inside ``over_clips``."""
    return tree if jax.lax.axis_size(AXIS) == 1 else jax.lax.pcast(tree, AXIS, to="varying")


def replicate(tree: Any, mesh: Mesh) -> Any:
    """Copy a tree to every device. All processes must pass the same tree.

    Raises:
      InputError: they do not.
    """
    sharding = NamedSharding(mesh, REPLICATED)
    if jax.process_count() == 1:
        return jax.device_put(tree, sharding)

    def put(leaf: Any) -> jax.Array:
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(leaf)), impl=jax.random.key_impl(leaf))
        value = np.asarray(leaf)
        digest.update(value.tobytes())
        return jax.make_array_from_callback(value.shape, sharding, lambda index: value[index])

    digest = hashlib.sha256()
    copies = jax.tree.map(put, tree)
    check_same("the state before training", digest.hexdigest())
    return copies


def shard(batch: Any, mesh: Mesh) -> Any:
    """Divide the clips of a batch over the devices. Each process passes the clips of its own devices."""
    sharding = NamedSharding(mesh, SHARDED)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


class AnyProcess:
    """Whether any process has raised a flag, without blocking on the devices.

    Each process calls it once per step, and all get the same answer at the same step. With several processes the answer
    is that of the flags of the previous step.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._any = jax.jit(lambda flags: flags.max(), out_shardings=NamedSharding(mesh, REPLICATED))
        self._before: jax.Array | None = None

    def __call__(self, raised: bool) -> bool:
        """``raised``: the flag of this process."""
        if jax.process_count() == 1:
            return bool(raised)
        flags = np.full(self._mesh.local_mesh.size, raised, np.int32)
        before, self._before = self._before, self._any(shard(flags, self._mesh))
        return before is not None and bool(jax.device_get(before))
