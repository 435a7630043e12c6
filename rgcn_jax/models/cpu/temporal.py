"""ST-GCN's convolution over time for a CPU: a product for each frame with those taps of the kernel that meet a frame.

In a clip of ten frames a kernel of nine meets a frame in 70 of 90 cases; the other products are with zeros. The plain
form, one product over the windows of all frames, computes them, and writes nine copies of its input.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float

from rgcn_jax.models.graph_convolution import project
from rgcn_jax.models.stgcn import temporal_convolution

MOST_FRAMES = 16
"""Of a clip; a longer one, where few taps miss and as many products would have to be compiled, takes the plain form."""


def temporal_convolution_by_frame(
    x: Float[ArrayLike, "b t v c"], kernel: Float[ArrayLike, "k c n"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b t v n"]:
    """``temporal_convolution`` without the products with zeros; the same but for the order of sums."""
    x, kernel = jnp.asarray(x).astype(dtype), jnp.asarray(kernel)
    (taps, channels, features), frames = kernel.shape, x.shape[1]
    if frames > MOST_FRAMES:
        return temporal_convolution(x, kernel, dtype)
    half, rows = taps // 2, kernel.reshape(-1, features)
    found = []
    for frame in range(frames):
        first, end = max(frame - half, 0), min(frame + half + 1, frames)
        window = jnp.moveaxis(x[:, first:end], 1, 2)
        window = window.reshape(*window.shape[:2], -1)
        start = (first - frame + half) * channels
        found.append(project(window, rows[start : start + window.shape[-1]], dtype))
    return jnp.stack(found, axis=1)
