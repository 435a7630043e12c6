"""The convolution over time for a CPU is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.build import build_encoder
from rgcn_jax.models.cpu.temporal import MOST_FRAMES, temporal_convolution_by_frequency
from rgcn_jax.models.stgcn import temporal_convolution


@pytest.mark.jit
@pytest.mark.parametrize("frames", [1, 3, 10, MOST_FRAMES + 1])
@pytest.mark.parametrize("taps", [1, 9])
def test_values_and_gradients_are_those_of_the_plain_form(frames, taps):
    """In float64, so that only the order of sums is left: clips shorter and longer than the kernel and its half."""
    rng = np.random.default_rng(0)
    shapes = ((2, frames, 14, 3), (taps, 3, 5), (2, frames, 14, 5))
    with jax.enable_x64(True):
        x, kernel, dy = (jnp.asarray(rng.standard_normal(shape)) for shape in shapes)

        def both(convolve):
            y, pullback = jax.vjp(lambda x, kernel: convolve(x, kernel, jnp.float64), x, kernel)
            return y, *pullback(dy)

        for found, expected in zip(both(temporal_convolution_by_frequency), both(temporal_convolution), strict=True):
            assert found.dtype == expected.dtype
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


@pytest.mark.parametrize("name", ["STGCN", "STGCN-compat"])
def test_a_cpu_has_this_form(name):
    for platform, form in (("cpu", temporal_convolution_by_frequency), ("gpu", temporal_convolution)):
        assert build_encoder(name, platform, features=4).over_time is form
