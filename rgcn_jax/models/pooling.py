"""Max pooling: over 3x3 windows (ResNet's stem) and over all positions of a map."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float


def max_pool_3x3(x: Float[ArrayLike, "n h w d"]) -> Float[Array, "n h_out w_out d"]:
    """Max pooling over 3x3 windows with stride 2 and padding 1: [N, h, w, d] -> [N, ceil(h / 2), ceil(w / 2), d].

    Computed as maxima of shifted slices along the height and then along the width, since the gradient of XLA's pooling
    is 7 times slower on the CPU. Departure from PyTorch, in gradients only: equal maxima in a window share the
    gradient, which PyTorch gives to the first one. After a ReLU most such ties are zeros, whose gradient is zero
    anyway.
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
    """Maximum over a map, [..., h, w, d] -> [..., d]; the first of several equal maxima receives the gradient."""
    x = jnp.asarray(x)
    x = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    # By index instead of jnp.max, whose gradient searches for the value equal to the maximum, which fails if a compiler
    # recomputes the values with different rounding.
    return jnp.take_along_axis(x, x.argmax(axis=-2, keepdims=True), axis=-2)[..., 0, :]
