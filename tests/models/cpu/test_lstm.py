"""GCN&LSTM's recurrence for a CPU is the plain one, gradients included."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec

from rgcn_jax.models.build import build_encoder
from rgcn_jax.models.cpu.lstm import lstm_over_frames
from rgcn_jax.parallel import AXIS, make_mesh

B, T, N = 4, 5, 3

MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0], [0, 1, 0, 1, 1], [0, 0, 0, 0, 0]], bool)


def encoders():
    """The form for a CPU and the plain one, and parameters in float64, none of them 0."""
    fast, plain = (build_encoder("GCNLSTM", platform, features=N) for platform in ("cpu", "gpu"))
    params = jax.eval_shape(plain.init, jax.random.key(0), jnp.zeros((1, 1, 14, 2)))["params"]
    rng = np.random.default_rng(0)
    return fast, plain, {name: jnp.asarray(rng.standard_normal(leaf.shape)) for name, leaf in params.items()}


def inputs():
    rng = np.random.default_rng(1)
    return jnp.asarray(rng.standard_normal((B, T, 14, 2))), jnp.asarray(rng.standard_normal((B, T, 14, N)))


@pytest.mark.jit
@pytest.mark.parametrize(("frames", "mask"), [(T, None), (T, MASK), (1, None)], ids=["all", "masked", "one frame"])
def test_values_and_gradients_are_those_of_the_plain_form(frames, mask):
    """In float64, so that only the order of sums is left; with gaps, held frames at the start, and none at all."""
    with jax.enable_x64(True):
        fast, plain, params = encoders()
        x, dh = (array[:, :frames] for array in inputs())

        def both(module):
            h, pullback = jax.vjp(lambda params, x: module.apply({"params": params}, x, mask), params, x)
            return jax.tree.leaves((h, pullback(dh)))

        for found, expected in zip(both(fast), both(plain), strict=True):
            assert found.dtype == expected.dtype == jnp.float64
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
            assert frames == 1 or np.abs(expected).max() > 1e-3  # W_h of one frame has none


@pytest.mark.jit
def test_devices_add_up_their_gradients():
    """The gradient of the shared weights is that of all clips on one device."""
    with jax.enable_x64(True):
        fast, _, params = encoders()
        x, dh = inputs()

        def gradient(devices):
            def share(params, x, dh):
                return jax.lax.psum((fast.apply({"params": params}, x) * dh).sum(), AXIS)

            clips = PartitionSpec(AXIS)
            whole = jax.shard_map(
                share, mesh=make_mesh(devices), in_specs=(PartitionSpec(), clips, clips), out_specs=PartitionSpec()
            )
            return jax.grad(lambda params: whole(params, x, dh))(params)

        one, two = gradient(1), gradient(2)
        for name, leaf in one.items():
            np.testing.assert_allclose(two[name], leaf, rtol=0, atol=1e-12)
            assert np.abs(leaf).max() > 1e-3


def test_a_cpu_has_this_form():
    for platform, form in (("cpu", lstm_over_frames), ("gpu", None)):
        assert build_encoder("GCNLSTM", platform, features=4).lstm is form
