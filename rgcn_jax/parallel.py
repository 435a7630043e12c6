"""Data parallelism: the device mesh, joining of several processes, and all version-sensitive JAX calls for them.

One axis, ``AXIS``: each device holds a part of the clips of a batch and a copy of everything else. The same code
runs on one device and on many, of one process or of several: each process reads the clips of its own devices.
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
"""How long the processes of a job wait for each other at the start; schedulers start them minutes apart."""

HEARTBEAT_SECONDS = 30
"""After so long without a heartbeat of a process JAX aborts all others. Its default of 100 s is more than a minute."""


def start_processes() -> None:
    """Joins the other processes of the job, if there are others (``processes.place``), before any device is used.

    From then on standard output of all but the first process is discarded.

    Raises:
      InputError: the environment is not as it must be, process 0 is not there, or the processes have not equally many
        devices.
    """
    there = processes.place()
    if there is None:
        return
    processes.find_coordinator(there, START_SECONDS)
    # It would take SIGTERM, which is the training loop's (rgcn_jax/training/train.py).
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
        sys.stdout = open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 (as long as the process lives)
    counts = [sum(device.process_index == process for device in jax.devices()) for process in range(there.count)]
    if len(set(counts)) > 1:  # JAX's own words for it, at the first thing that all do together, name no device
        raise InputError(
            f"the processes have {', '.join(map(str, counts))} devices, in their order: give each equally many "
            "(CUDA_VISIBLE_DEVICES hides some), or leave some processes out."
        )


def is_first() -> bool:
    """Whether this process writes files and logs: process 0, or the only one."""
    return jax.process_index() == 0


def check_same(what: str, text: str) -> None:
    """Raises ``InputError`` in all processes, which must all call it, where a text, such as the config, is not the same
    in all of them; ``what`` names it in the message.
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
    """Whether the flag is set in any process; all must call it, and wait for each other."""
    return bool(flag if jax.process_count() == 1 else multihost_utils.process_allgather(np.bool_(flag)).any())


def check_shared(folder: Path) -> None:
    """Raises ``InputError`` in all processes, which must all call it, where the folder is not one to all of them, but
    one on each machine's own disk.
    """
    if jax.process_count() == 1:
        return
    name = f".shared-{int(multihost_utils.broadcast_one_to_all(np.int32(os.getpid())))}"
    if is_first():
        with writing(folder / name):
            (folder / name).touch()
    multihost_utils.sync_global_devices("a file is there")
    missing = np.flatnonzero(~multihost_utils.process_allgather(np.bool_((folder / name).exists())))
    if is_first():
        (folder / name).unlink()
    if missing.size:
        raise InputError(
            f"{folder} of process {', '.join(map(str, missing))} is not the folder of process 0: all processes save a "
            "run together, so choose a folder that all machines share."
        )


def decided_by_first(flag: bool) -> bool:
    """The first process's flag, in all processes, which must all call it: what numbers on different machines, equal
    but for rounding, must not decide.
    """
    return bool(flag if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(np.bool_(flag)))


def number_of_first(number: int) -> int:
    """The first process's number, in all processes, which must all call it."""
    return int(number if jax.process_count() == 1 else multihost_utils.broadcast_one_to_all(np.int32(number)))


def make_mesh(num_devices: int) -> Mesh:
    """A mesh of the first ``num_devices`` devices (0: all); of several processes: of all devices, in the order of the
    processes, so that each holds consecutive clips.

    Raises:
      InputError: there are fewer devices, or not all of several processes' devices are asked for.
    """
    devices = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
    if num_devices > len(devices):
        raise InputError(
            f"parallel.num_devices is {num_devices}, but JAX sees {len(devices)} {devices[0].platform} device(s): "
            "lower it, or 0 for all there are."
        )
    if num_devices not in (0, len(devices)) and jax.process_count() > 1:
        raise InputError(
            f"parallel.num_devices is {num_devices}, but {jax.process_count()} processes use all their devices: leave "
            "it at 0, and hide devices from JAX where some are not to be used (CUDA_VISIBLE_DEVICES)."
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


def normalisation_axis(batch_norm: str) -> str | None:
    """The ``axis_name`` of a model in training, by ``parallel.batch_norm``.

    "global": a batch is normalised by the statistics of all its clips, on however many devices they are. "device": each
    device normalises by those of its own clips, and the running statistics are the first device's, as PyTorch's
    ``DataParallel`` has it; what is trained then depends on the number of devices. Losses and mining are over the whole
    batch either way.

    Raises:
      InputError: it is neither.
    """
    axes = {"global": AXIS, "device": None}
    if batch_norm not in axes:
        raise InputError(f"parallel.batch_norm is {batch_norm!r}: expected one of {', '.join(axes)}.")
    return axes[batch_norm]


def of_first_device(tree: Any) -> Any:
    """The first device's values, on all devices, exactly; inside ``over_clips``."""
    first = jax.lax.axis_index(AXIS) == 0
    return jax.tree.map(lambda x: jax.lax.psum(jax.numpy.where(first, x, jax.numpy.zeros_like(x)), AXIS), tree)


def on_each_device(tree: Any) -> Any:
    """The same values, from here on each device's own; inside ``over_clips``."""
    return jax.lax.pcast(tree, AXIS, to="varying")


def replicate(tree: Any, mesh: Mesh) -> Any:
    """A copy of the tree on every device. Several processes must hand over the same tree.

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
    """The clips of a batch divided over the devices; of several processes each hands over the clips of its own."""
    sharding = NamedSharding(mesh, SHARDED)
    if jax.process_count() == 1:
        return jax.device_put(batch, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, x), batch)


class AnyProcess:
    """Whether any process has raised a flag: called once a step by each, it answers the same in all at the same step.

    A single process's answer is its flag. Of several it is what they said a step earlier, so that nobody waits for the
    devices.
    """

    def __init__(self, mesh: Mesh):
        self._mesh = mesh
        self._any = jax.jit(lambda flags: flags.max(), out_shardings=NamedSharding(mesh, REPLICATED))
        self._before: jax.Array | None = None

    def __call__(self, raised: bool) -> bool:
        """``raised``: this process's flag."""
        if jax.process_count() == 1:
            return bool(raised)
        flags = np.full(self._mesh.local_mesh.size, raised, np.int32)
        before, self._before = self._before, self._any(shard(flags, self._mesh))
        return before is not None and bool(jax.device_get(before))
