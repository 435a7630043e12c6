"""PyTorch's running variance against its formula in NumPy, over five steps, in every batch normalisation."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import PartitionSpec

from rgcn_jax import parallel
from rgcn_jax.config import LossConfig
from rgcn_jax.models import cpu
from rgcn_jax.models.build import build_model
from rgcn_jax.models.masked_norm import MaskedBatchNorm
from rgcn_jax.models.running_variance import unbiased_running_variance
from rgcn_jax.training.state import create_state
from rgcn_jax.training.step import make_train_step
from tests import tiny

STEPS, SHAPE = 5, (4, 3, 2, 6)  # clips, frames, keypoints, channels


def inputs():
    rng = np.random.default_rng(0)
    x = rng.normal(2.0, 3.0, (STEPS, *SHAPE)).astype(np.float32)
    mask = rng.random((STEPS, *SHAPE[:2])) < 0.7
    return x, mask


def plain(axis_name):
    norm = nn.BatchNorm(momentum=0.9, epsilon=1e-5, axis_name=axis_name)
    return norm, lambda v, x, mask: norm.apply(v, x, use_running_average=False, mutable=["batch_stats"])


def fast(axis_name):
    norm = cpu.BatchNorm(axis_name=axis_name)
    return norm, lambda v, x, mask: norm.apply(v, x, use_running_average=False, mutable=["batch_stats"])


def masked(axis_name):
    norm = MaskedBatchNorm(axis_name)
    return norm, lambda v, x, mask: norm.apply(v, x, mask, True, mutable=["batch_stats"])


def start(make, x, mask):
    norm, _ = make(None)
    return norm.init(jax.random.key(0), x[0], *((mask[0], True) if make is masked else (False,)))


def torchs(x, mask):
    """running_var of torch.nn.BatchNorm: 0.9 of the old value and 0.1 of the unbiased variance of the batch."""
    running = np.ones(SHAPE[-1])
    for values, kept in zip(x.astype(np.float64), mask, strict=True):
        running = 0.9 * running + 0.1 * values[kept].reshape(-1, SHAPE[-1]).var(axis=0, ddof=1)
    return running


@pytest.mark.parametrize("make", [plain, fast, masked])
def test_five_steps_are_pytorchs(make):
    x, mask = inputs()
    mask = mask if make is masked else np.ones_like(mask)
    variables, (_, apply) = start(make, x, mask), make(None)
    for values, kept in zip(x, mask, strict=True):
        biased = apply(variables, values, kept)[0]
        with nn.intercept_methods(unbiased_running_variance):
            result, updated = apply(variables, values, kept)
        np.testing.assert_array_equal(result, biased)  # training normalises by the biased variance
        variables = {**variables, **updated}
    found = variables["batch_stats"]
    np.testing.assert_allclose(found["var"], torchs(x, mask), rtol=1e-5)
    expected = sum(0.1 * 0.9 ** (STEPS - 1 - k) * x[k][mask[k]].mean(axis=(0, 1)) for k in range(STEPS))
    np.testing.assert_allclose(found["mean"], expected, rtol=1e-4)


@pytest.mark.jit
@pytest.mark.parametrize("make", [plain, fast, masked])
def test_the_values_are_counted_over_all_devices(make):
    x, mask = inputs()
    mask = mask if make is masked else np.ones_like(mask)
    mesh, (_, apply) = parallel.make_mesh(2), make(parallel.AXIS)
    clips = PartitionSpec(parallel.AXIS)

    def step(variables, values, kept):
        with nn.intercept_methods(unbiased_running_variance):
            return apply(variables, values, kept)[1]

    on_all = jax.jit(
        jax.shard_map(step, mesh=mesh, in_specs=(PartitionSpec(), clips, clips), out_specs=PartitionSpec())
    )
    variables = start(make, x, mask)
    for values, kept in zip(x, mask, strict=True):
        variables = {**variables, **on_all(variables, values, kept)}
    np.testing.assert_allclose(np.asarray(variables["batch_stats"]["var"]), torchs(x, mask), rtol=1e-5)


def test_a_single_value_and_evaluation_change_nothing():
    norm = cpu.BatchNorm()
    x = jnp.ones((1, 3))
    updated: Any
    variables = norm.init(jax.random.key(0), x, False)
    with nn.intercept_methods(unbiased_running_variance):
        _, updated = norm.apply(variables, x, False, mutable=["batch_stats"])
        np.testing.assert_allclose(updated["batch_stats"]["var"], 0.9, rtol=1e-6)
        _, updated = norm.apply(variables, x, True, mutable=["batch_stats"])
        np.testing.assert_array_equal(updated["batch_stats"]["var"], 1.0)


@pytest.mark.slow
@pytest.mark.jit
def test_a_training_step_has_them_in_trunk_and_neck():
    """Of all 8 clips the neck has n = 8: what a step adds is 8/7 of the biased estimate's. Parameters are the same."""
    found = []
    for unbiased in (False, True):
        mesh = parallel.make_mesh(2)
        model = build_model(tiny.FIELDS, tiny.IDENTITIES, axis_name=parallel.AXIS)
        optimizer = optax.sgd(0.1)
        step = make_train_step(model, optimizer, LossConfig(), mesh, unbiased_variance=unbiased)
        state = parallel.replicate(create_state(tiny.variables(), optimizer, seed=0), mesh)
        found.append(step(state, parallel.shard(tiny.batch(), mesh))[0])
    biased, unbiased = found
    tiny.leaves_close(biased.params, unbiased.params, rtol=1e-6, atol=1e-7)  # two programs, which round differently
    added = [
        jax.tree.map(
            lambda leaf: np.asarray(leaf, np.float64) - 0.9, {n: v["var"] for n, v in _norms(state.batch_stats)}
        )
        for state in found
    ]
    assert any("statistics_" in name for name in added[0])
    assert any("bn1" in name for name in added[0])
    for name, value in added[0].items():
        kept = np.abs(value) > 1e-4
        ratio = (added[1][name][kept] / value[kept]) if kept.any() else np.array([1.0])
        assert (ratio > 1).all() or not kept.any(), name
        if "statistics_" in name:
            np.testing.assert_allclose(ratio, 8 / 7, rtol=1e-3)


def _norms(tree, path=""):
    """(path, statistics) of every normalisation."""
    for name, value in tree.items():
        if isinstance(value, dict) and "var" in value:
            yield f"{path}/{name}", value
        elif isinstance(value, dict):
            yield from _norms(value, f"{path}/{name}")
