import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.pooling import max_pool_3x3


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


@pytest.mark.parametrize(("h", "w"), [(8, 4), (5, 7), (1, 1), (2, 3)])
def test_max_pool_is_the_definition(h, w):
    x = drawn(7, 2, h, w, 3) - 3  # mostly negative: a padding with zeros would win
    padded = np.full((2, h + 2, w + 2, 3), -np.inf, np.float32)
    padded[:, 1:-1, 1:-1] = x
    expected = np.stack(
        [
            np.stack([padded[:, i : i + 3, j : j + 3].max((1, 2)) for j in range(0, w, 2)], axis=1)
            for i in range(0, h, 2)
        ],
        axis=1,
    )
    np.testing.assert_array_equal(max_pool_3x3(x), expected)


@pytest.mark.jit
def test_max_pool_gradient_goes_to_the_largest_value():
    x = drawn(8, 2, 6, 5, 3)

    def flaxs(x):
        padding = ((1, 1), (1, 1))  # which Flax takes, but annotates as a str
        return nn.max_pool(x, (3, 3), (2, 2), padding)  # pyright: ignore[reportArgumentType]

    theirs = jax.jit(jax.grad(lambda x: jnp.sum(flaxs(x) ** 3)))(x)
    np.testing.assert_allclose(jax.jit(jax.grad(lambda x: jnp.sum(max_pool_3x3(x) ** 3)))(x), theirs, rtol=1e-6)


def test_max_pool_shares_the_gradient_among_equal_values():
    gradient = jax.grad(lambda x: jnp.sum(max_pool_3x3(x)))(jnp.ones((1, 2, 2, 1)))
    np.testing.assert_allclose(gradient[0, :, :, 0], np.full((2, 2), 0.25))
