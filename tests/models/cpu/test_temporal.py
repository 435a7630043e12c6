"""The convolution over time for a CPU is the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.build import build_encoder
from rgcn_jax.models.cpu.temporal import MOST_FRAMES, temporal_convolution_by_frequency, transforms
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


def test_float32_rounds_no_worse_than_the_plain_form():
    """Against float64: within twice the error of the plain form."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 10, 14, 64)).astype(np.float32)
    kernel = (rng.standard_normal((9, 64, 32)) / 24).astype(np.float32)
    with jax.enable_x64(True):
        exact = np.asarray(temporal_convolution(x.astype(np.float64), kernel.astype(np.float64), jnp.float64))
    worst = [
        np.abs(np.asarray(form(x, kernel)) - exact).max()
        for form in (temporal_convolution_by_frequency, temporal_convolution)
    ]
    assert worst[0] <= 2 * worst[1]


def test_the_transforms_are_the_cross_correlation():
    """y_t = sum_j x_{t + j - k // 2} w_j, by NumPy's own."""
    rng = np.random.default_rng(1)
    for frames, taps in ((1, 9), (4, 3), (10, 9), (11, 9), (2, 1)):
        of_clip, of_kernel, back = transforms(frames, taps)
        x, w = rng.standard_normal(frames), rng.standard_normal(taps)
        padded = np.pad(x, taps // 2)
        np.testing.assert_allclose(
            back @ ((of_clip @ x) * (of_kernel @ w)), np.correlate(padded, w, "valid"), rtol=0, atol=1e-13
        )
    assert len(transforms(10, 9)[0]) == 20


@pytest.mark.parametrize("name", ["STGCN", "STGCN-compat"])
def test_a_cpu_has_this_form(name):
    for platform, form in (("cpu", temporal_convolution_by_frequency), ("gpu", temporal_convolution)):
        assert build_encoder(name, platform, features=4).over_time is form
