"""Every cell of the paper's tables is one override away: each appearance with each pose encoder and readout takes a
training step.
"""

import itertools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.models.build import APPEARANCES, POSE_ENCODERS, READOUTS, build_model, initialise
from rgcn_jax.training.state import count_parameters, create_state
from rgcn_jax.training.step import make_train_step
from tests import tiny

pytestmark = pytest.mark.slow

SMALL = tiny.FIELDS | {"stage_sizes": (1, 1, 1, 1), "width": 2, "pose_features": 32}
PRECOMPUTED = 12
"""Dimensions of the precomputed features."""

POSES = ("none", *POSE_ENCODERS)
CELLS = [
    (appearance, pose, readout)
    for appearance, pose, readout in itertools.product(APPEARANCES, POSES, READOUTS)
    if pose != "none" or readout == "DAM"
]
"""The full grid: without a pose branch there is nothing to read out."""


SAME_BUT_FOR_A_CONSTANT = "STGCN-compat"
"""ST-GCN with another partition of the same graph: met once, with AP."""


def covers(appearance, pose, readout):
    """Whether the cell is among those that meet every pair of an appearance and a pose encoder, of an appearance and a
    readout, and of a pose encoder and a readout: one readout for each pair of the former two, in turn.
    """
    if pose == SAME_BUT_FOR_A_CONSTANT and appearance != "AP":
        return False
    turn = list(APPEARANCES).index(appearance) + POSES.index(pose)
    return pose == "none" or list(READOUTS)[turn % len(READOUTS)] == readout


# Compiling all of them takes nine minutes on two cores: that is left to RGCN_JAX_FULL_GRID=1.
STEPPED = [cell for cell in CELLS if os.environ.get("RGCN_JAX_FULL_GRID") or covers(*cell)]


def clips(appearance):
    batch = tiny.batch(clips=4)
    if appearance == "precomputed":
        batch["frames"] = np.random.default_rng(0).standard_normal((4, PRECOMPUTED)).astype(np.float32)
    return batch


def shapes(fields):
    """Variables of the model, as shapes."""
    shape = (PRECOMPUTED,) if fields["appearance"] == "precomputed" else (tiny.HEIGHT, tiny.WIDTH)
    model = build_model(fields, tiny.IDENTITIES, aspect=0.5)
    return jax.eval_shape(lambda: initialise(model, 0, tiny.FRAMES, *shape))


def drawn(tree):
    """Values for the shapes; variances and scales around 1."""
    rng = np.random.default_rng(1)

    def draw(path, leaf):
        if path[-1].key in ("var", "scale"):
            return jnp.ones(leaf.shape, jnp.float32)
        return jnp.asarray(rng.standard_normal(leaf.shape) / np.sqrt(max(np.prod(leaf.shape[:-1]), 1)), jnp.float32)

    return jax.tree.map_with_path(draw, dict(tree))


def test_the_cells_that_are_stepped_cover_all_pairs():
    others = [cell for cell in CELLS if cell[1] not in ("none", SAME_BUT_FOR_A_CONSTANT)]
    wanted = {pair for cell in others for pair in itertools.combinations(cell, 2)} | {("AP", SAME_BUT_FOR_A_CONSTANT)}
    assert wanted <= {pair for cell in STEPPED for pair in itertools.combinations(cell, 2)}


@pytest.mark.jit
@pytest.mark.parametrize(("appearance", "pose", "readout"), STEPPED)
def test_a_cell_takes_a_training_step(appearance, pose, readout):
    fields = SMALL | {"appearance": appearance, "pose": pose, "readout": readout}
    if appearance != "BiC":  # which has four stages
        fields["stage_sizes"] = (1,)
    mesh, optimizer = parallel.make_mesh(1), optax.sgd(0.1)
    model = build_model(fields, tiny.IDENTITIES, axis_name=parallel.AXIS, aspect=0.5)
    state = create_state(drawn(shapes(fields)), optimizer, seed=0)
    before = jax.device_get(state.params)
    arguments = parallel.replicate(state, mesh), parallel.shard(clips(appearance), mesh)
    state, metrics = make_train_step(model, optimizer, LossConfig(), mesh)(*arguments)
    assert all(np.isfinite(value) for value in metrics.values())
    assert (metrics["loss_pose"] > 0) == (pose != "none")
    assert ("loss_auxiliary" in metrics) == (appearance == "BiC")
    for part in [p for p in ("pose", "readout", "classifier") if p in before]:
        for a, b in zip(jax.tree.leaves(before[part]), jax.tree.leaves(state.params[part]), strict=True):
            assert np.isfinite(b).all()
            assert (np.asarray(a) != np.asarray(b)).any(), part


@pytest.mark.parametrize("appearance", APPEARANCES)
def test_without_a_pose_branch_the_parameters_are_the_baselines(appearance):
    """The appearance model and a classifier of its features, to the last one."""
    fields = SMALL | {"appearance": appearance, "pose": "none", "neck": "none"}
    alone: Any = build_model(fields, tiny.IDENTITIES).appearance
    frames = jnp.zeros(
        (2, PRECOMPUTED) if appearance == "precomputed" else (2, tiny.FRAMES, tiny.HEIGHT, tiny.WIDTH, 3)
    )
    assert alone is not None
    (f_a, _), variables = jax.eval_shape(lambda: alone.init_with_output(jax.random.key(0), frames))
    classifier = (f_a.shape[1] + 1) * tiny.IDENTITIES
    found = count_parameters(shapes(fields)["params"])
    assert found == count_parameters(variables.get("params", {})) + classifier


@pytest.mark.parametrize("frames", [4, 6, 8, 10])
@pytest.mark.parametrize("pose", ["RGCN", "LGCN"])
@pytest.mark.parametrize("layers", [1, 2, 3, 4])
def test_figures_5_to_8_are_overrides(pose, frames, layers):
    model = build_model(SMALL | {"stage_sizes": (1,), "pose": pose, "graph_layers": layers}, tiny.IDENTITIES)
    batch = [jnp.zeros((2, frames, *shape)) for shape in ((16, 8, 3), (14, 3))]
    mask = jnp.ones((2, frames), bool)
    out = jax.eval_shape(lambda: model.init_with_output(jax.random.key(0), *batch, mask)[0])
    assert out.attention["time"].shape == (2, frames)
    assert out.pose.shape == (2, 32)
