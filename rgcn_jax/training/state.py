"""The state of a training run: what is on the devices, one frozen dataclass, and what the host counts beside it.

A checkpoint holds both; the data need no more than the step, for a batch is a pure function of (seed, step).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import numpy as np
import optax

from rgcn_jax.runtime.checksum import content_hash


@flax.struct.dataclass
class TrainState:
    """What a step reads and returns."""

    # JAX rebuilds this class with placeholders for its leaves, so the fields carry no shape that could be checked.
    step: Any
    """Steps taken so far, int32 []."""
    params: Any
    batch_stats: Any
    """Running statistics of the normalisations, and those of the features that the "standardized" distance uses."""
    opt_state: Any
    key: Any
    """Base key, a typed key []; what is random in step s uses fold_in(key, s), so that a resumed run repeats
    nothing.
    """

    @property
    def variables(self) -> dict[str, Any]:
        """What ``model.apply`` takes."""
        return {"params": self.params, "batch_stats": self.batch_stats}


@dataclass
class Progress:
    """What the host counts; the JSON record of a checkpoint."""

    step: int = 0
    best_mAP: float | None = None
    """Of the headline (the fused row), in per cent; None as long as no evaluation has ended."""
    best_step: int | None = None
    skipped_steps: int = 0
    """Steps left out because a number was not finite (``on_nonfinite`` "skip")."""
    skipped_in_a_row: int = 0
    devices: int = 0
    """How many share a batch; 0: it was not noted."""
    way: str = ""
    """Config and data that it was trained with (``inputs.way``); "": it was not noted."""
    init_from: dict[str, Any] | None = None
    """Where the run's first weights come from (``model.init_from``, ``pose_pretrained``): checkpoint, step, sha256."""

    def record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)

    @classmethod
    def of(cls, record: Mapping[str, Any]) -> "Progress":
        """From a checkpoint's record."""
        return cls(**record)


def create_state(variables: dict[str, Any], optimizer: optax.GradientTransformation, seed: int) -> TrainState:
    """The state before the first step, from freshly initialised (or pretrained) variables."""
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=variables["params"],
        batch_stats=variables["batch_stats"],
        opt_state=jax.jit(optimizer.init)(variables["params"]),  # or every shape is compiled by itself
        key=jax.random.key(seed),
    )


COLLECTIONS = ("params", "batch_stats")
"""What ``model.apply`` takes of a state."""


def variables_hash(leaves: Mapping[str, np.ndarray]) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of the parameters and statistics among the leaves of a state
    (``checksum.host_leaves``): which weights these are, whatever optimiser or step goes with them.
    """
    return content_hash({n: leaves[n] for n in sorted(leaves) if n.split("/")[0] in COLLECTIONS})


def count_parameters(params: Any) -> int:
    """Number of trained values."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))
