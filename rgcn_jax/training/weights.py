"""Reading a checkpoint's parameters and statistics only, without its config, data, optimiser or model.

The checkpoint's folder is not changed.
"""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.checksum import host_leaves, json_hash
from rgcn_jax.runtime.orbax_logging import suppress_orbax_logging
from rgcn_jax.training.checkpoint import DamagedError
from rgcn_jax.training.state import COLLECTIONS, variables_hash


class Weights(NamedTuple):
    """``variables`` for ``model.apply`` (NumPy arrays), the step that they were saved at, and a SHA-256 of them."""

    step: int
    variables: dict[str, Any]
    hash: str


def saved_steps(workdir: Path, kind: str) -> list[int]:
    """Steps of the complete checkpoints of a kind ("latest" or "best") in a work directory, ascending."""
    folder = workdir / "checkpoints" / kind
    return sorted(int(p.name) for p in folder.iterdir() if p.name.isdecimal()) if folder.is_dir() else []


def read_weights(workdir: Path, kind: str) -> Weights:
    """Read the newest checkpoint of a kind from a work directory.

    Raises InputError if there is none, and DamagedError if it is damaged.
    """
    steps = saved_steps(workdir, kind)
    if not steps:
        raise InputError(
            f"no {kind!r} checkpoint in {workdir / 'checkpoints' / kind}: train first, or choose the folder of a "
            "finished run."
        )
    suppress_orbax_logging()
    path = workdir.resolve() / "checkpoints" / kind / str(steps[-1])
    try:
        record = ocp.Checkpointer(ocp.JsonCheckpointHandler()).restore(path / "record")
        seal = record.pop("seal")
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            variables = _restore(checkpointer, path / "state")
    except Exception as error:  # any failure to read it
        raise DamagedError(f"the checkpoint {path} is damaged: {type(error).__name__} while it was read.") from error
    found = variables_hash(host_leaves(variables))
    if seal != json_hash(record) or found != record.get("variables"):
        raise DamagedError(f"the checkpoint {path} is damaged: checksum mismatch.")
    return Weights(steps[-1], variables, found)


def _restore(checkpointer: ocp.Checkpointer, path: Path) -> dict[str, Any]:
    """Restore both collections, with the recorded shapes, on the first device; copy them to the host."""
    sharding = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    stored: Any = checkpointer.metadata(path).item_metadata
    item = {
        name: jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            stored[name],
            is_leaf=lambda leaf: hasattr(leaf, "shape"),
        )
        for name in COLLECTIONS
    }
    arguments = ocp.args.PyTreeRestore(
        item=item, partial_restore=True, restore_args=ocp.checkpoint_utils.construct_restore_args(item)
    )
    return jax.tree.map(np.asarray, checkpointer.restore(path, args=arguments))
