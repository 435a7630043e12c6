"""State of a training run: ``TrainState`` on the devices, and ``Progress`` on the host.

A checkpoint holds both. The data pipeline has no state, since a batch is a pure function of (seed, step).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rgcn_jax.runtime.checksum import content_hash


@flax.struct.dataclass
class TrainState:
    """The state that a training step takes and returns."""

    # JAX builds instances with placeholders as leaves, so the fields have no shape annotations.
    step: Any
    """Number of steps taken, int32 []."""
    params: Any
    batch_stats: Any
    """Running statistics of the normalisation layers, and of the features (for the "standardized" distance)."""
    opt_state: Any
    key: Any
    """Base key, a typed key []. Step s uses fold_in(key, s), so that a resumed run draws the same numbers."""

    @property
    def variables(self) -> dict[str, Any]:
        """The variables for ``model.apply``."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@dataclass
class Progress:
    """Progress of a run, kept on the host; the JSON record of a checkpoint."""

    step: int = 0
    best_mAP: float | None = None
    """Best mAP of the headline (fused) row, in per cent; None before the first evaluation."""
    best_step: int | None = None
    skipped_steps: int = 0
    """Number of steps skipped because of NaN or Inf (``on_nonfinite`` "skip")."""
    skipped_in_a_row: int = 0
    devices: int = 0
    """Number of devices; 0: not recorded."""
    way: str = ""
    """Hash of config and data, from ``inputs.way``; "": not recorded."""
    init_from: dict[str, Any] | None = None
    """Origin of the initial weights (``model.init_from``, ``pose_pretrained``): checkpoint, step, sha256."""


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """Create the state before the first step from initialised or pretrained variables."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(variables["params"]),  # without jit every shape is compiled separately
        key=jax.random.key(seed),
    )


COLLECTIONS = ("params", "batch_stats")
"""Collections of variables that ``model.apply`` takes."""


def variables_hash(leaves: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, dtypes, shapes and bytes of the parameters and statistics among ``checksum.host_leaves``.

    It identifies the weights, independently of optimiser and step.
    """
    return content_hash({n: leaves[n] for n in sorted(leaves) if n.split("/")[0] in COLLECTIONS})


def count_parameters(params: Any) -> int:
    """Number of trainable values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
