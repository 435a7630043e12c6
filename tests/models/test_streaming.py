"""Frame by frame equals the batch path to 1e-6, with every encoder and readout, with gaps, in constant memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models import LGCN, RGCN, DualAttention, MeanReadout, NodeAttention, TimeAttention
from rgcn_jax.models.streaming import initial_state, read, step

B, T, N = 3, 9, 8
READOUTS = (MeanReadout, NodeAttention, TimeAttention, DualAttention)


def made(encoder, readout, seed=0):
    """X, and the parameters of both modules, with scores spread enough for the softmax to matter."""
    x = jnp.asarray(np.random.default_rng(seed).normal(size=(B, T, 14, 2)), jnp.float32)
    pose = jax.jit(encoder.init)(jax.random.key(seed), x)
    h = encoder.apply(pose, x)
    read_out = jax.tree.map(lambda w: 30 * w, readout.init(jax.random.key(seed + 1), h))
    return x, {"pose": pose["params"], "readout": read_out.get("params", {})}


def batch_path(encoder, readout, params, x, mask=None):
    h = encoder.apply({"params": params["pose"]}, x, mask)
    return readout.apply({"params": params["readout"]}, h, mask)[0]


@pytest.mark.jit
@pytest.mark.parametrize("readout", READOUTS)
@pytest.mark.parametrize(
    "encoder", [RGCN(N), RGCN(N, num_layers=2), LGCN(N), LGCN(N, num_layers=2, relu_each_layer=True)]
)
def test_every_prefix_agrees_with_the_batch_path(encoder, readout):
    x, params = made(encoder, readout())
    one = jax.jit(lambda state, x_t: step(encoder, params, state, x_t))
    state = initial_state(encoder, B)
    for t in range(T):
        state = one(state, x[:, t])
        if t in (0, 4, T - 1):
            expected = batch_path(encoder, readout(), params, x[:, : t + 1])
            np.testing.assert_allclose(read(readout(), params, state), expected, atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("encoder", [RGCN(N), LGCN(N)])
def test_streams_of_different_lengths_run_side_by_side(encoder):
    x, params = made(encoder, DualAttention())
    lengths = np.array([9, 4, 0])
    mask = np.arange(T)[None] < lengths[:, None]
    state = initial_state(encoder, B)
    for t in range(T):
        state = step(encoder, params, state, x[:, t], mask[:, t])
    expected = batch_path(encoder, DualAttention(), params, x, mask)
    np.testing.assert_allclose(read(DualAttention(), params, state), expected, atol=1e-6)
    assert not np.asarray(read(DualAttention(), params, state))[2].any()


@pytest.mark.jit
def test_the_state_does_not_grow():
    x, params = made(LGCN(N), DualAttention())
    first = initial_state(LGCN(N), B)
    later = step(LGCN(N), params, step(LGCN(N), params, first, x[:, 0]), x[:, 1])
    assert jax.tree.map(jnp.shape, later) == jax.tree.map(jnp.shape, first)


@pytest.mark.slow
def test_another_readout_is_refused():
    x, params = made(RGCN(N), MeanReadout())
    state = step(RGCN(N), params, initial_state(RGCN(N), B), x[:, 0])
    with pytest.raises(ValueError, match="RGCN cannot be streamed"):
        read(RGCN(N), params, state)
