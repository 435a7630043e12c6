"""The BatchNorm for a CPU beside Flax's: variables, numbers, gradients, running statistics, precision."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.models.cpu import BatchNorm
from tests.models.untyped import untyped
from tests.tiny import leaves_close


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def both(**fields):
    return BatchNorm(**fields), nn.BatchNorm(momentum=0.9, epsilon=1e-5, **fields)


def variables(d):
    scale, mean = 1 + drawn(1, d) / 4, drawn(2, d)
    return {
        "params": {"scale": jnp.asarray(scale), "bias": jnp.asarray(drawn(3, d))},
        "batch_stats": {"mean": jnp.asarray(mean), "var": jnp.asarray(mean**2 + 0.5)},
    }


@pytest.mark.jit
@pytest.mark.parametrize("running", [False, True])
def test_numbers_gradients_and_statistics_are_flaxs(running):
    x, dy = 3 * drawn(4, 6, 5, 4, 7) + 2, drawn(5, 6, 5, 4, 7)
    results = []
    for module in both(use_running_average=running):

        def apply(x, params, module=module):
            stats = variables(7)["batch_stats"]
            return module.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])

        y, pull, updated = jax.vjp(jax.jit(apply), jnp.asarray(x), variables(7)["params"], has_aux=True)
        results.append((y, pull(jnp.asarray(dy)), updated))
    ours, flaxs = results
    assert jax.tree.structure(ours) == jax.tree.structure(flaxs)
    leaves_close(ours, flaxs, rtol=1e-5, atol=1e-5)


def test_fresh_variables_are_flaxs():
    x = drawn(4, 3, 2, 2, 5)
    ours, flaxs = (module.init(jax.random.key(0), x) for module in both(use_running_average=False))
    assert jax.tree.structure(ours) == jax.tree.structure(flaxs)
    leaves_close(ours, flaxs, rtol=0)


def test_bfloat16_has_statistics_in_float32():
    """Means of bfloat16 sums would be off by a part in a hundred."""
    x = jnp.asarray(10 + drawn(4, 512, 2, 2, 5), jnp.bfloat16)
    module = untyped(BatchNorm(use_running_average=False, dtype=jnp.bfloat16))
    y, updated = module.apply(variables(5), x, mutable=["batch_stats"])
    wide = np.asarray(x, np.float64)
    assert y.dtype == jnp.bfloat16
    stats = updated["batch_stats"]
    assert {leaf.dtype for leaf in jax.tree.leaves(stats)} == {jnp.dtype(jnp.float32)}
    before = variables(5)["batch_stats"]
    np.testing.assert_allclose(stats["mean"], 0.9 * before["mean"] + 0.1 * wide.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(stats["var"], 0.9 * before["var"] + 0.1 * wide.var((0, 1, 2)), rtol=1e-3)


def test_a_channel_that_does_not_vary_is_finite():
    x = jnp.full((4, 2, 2, 3), 1000.1)
    y, _ = BatchNorm(use_running_average=False).apply(variables(3), x, mutable=["batch_stats"])
    assert np.isfinite(y).all()


@pytest.mark.jit
def test_statistics_are_those_of_all_devices():
    x = drawn(4, 8, 3, 2, 5)
    plain, mapped = (BatchNorm(use_running_average=False, axis_name=axis) for axis in (None, parallel.AXIS))

    def apply(module):
        return lambda x: module.apply(variables(5), x, mutable=["batch_stats"])

    sharded = parallel.over_clips(
        apply(mapped), parallel.make_mesh(4), parallel.SHARDED, (parallel.SHARDED, parallel.REPLICATED)
    )
    leaves_close(jax.jit(sharded)(x), apply(plain)(x), rtol=1e-5, atol=1e-5)
