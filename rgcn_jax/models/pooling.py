"""Max pooling: over 3x3 windows as in ResNet's stem, over 2x2 windows, and over all positions of a map."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def max_pool_3x3(x: Float[ArrayLike, "n h w d"]) -> Float[Array, "n h_out w_out d"]:
    """Maximum over 3x3 windows with stride 2 and padding 1: [N, h, w, d] -> [N, ceil(h / 2), ceil(w / 2), d].

    Taken as maxima of shifted slices, along the height and then along the width, because the gradient of XLA's
    pooling is slow on the CPU (7 times). Departure from PyTorch, in gradients only: where several values of a window
    are equal and largest, they share the gradient, where PyTorch gives it to the first one. After a ReLU most such
    ties are zeros, whose gradient is zero anyhow.
    """
    x = jnp.asarray(x)
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        first, second, third = (
            jax.lax.slice_in_dim(padded, start, start + size, stride=2, axis=axis) for start in range(3)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def max_over_positions(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n d"]:
    """Maximum over a map, [..., h, w, d] -> [..., d]; of equal values the first receives the gradient."""
    x = jnp.asarray(x)
    x = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    # By its position, not by jnp.max: its gradient looks for the value equal to the maximum, and a compiler that
    # computes the values a second time, fused and rounded differently, lets it find none.
    return jnp.take_along_axis(x, x.argmax(axis=-2, keepdims=True), axis=-2)[..., 0, :]
