"""ST-GCN's convolution over time for the CPU, by a discrete Fourier transform (DFT) over the frames of a clip.

By the convolution theorem, the transform of the result at each frequency is the transform of the clip times that of the
kernel, here a product [B V, C] x [C, n]. A clip of ten frames and a kernel of nine need a DFT of length 14, which has
two real and six complex frequencies. With Gauss's three real products per complex product, these are 20 products of B V
rows, compared with 90 in the plain form. The transforms are products with small constant matrices.
"""

from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Float64

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.stgcn import temporal_convolution

MOST_FRAMES = 128
"""Maximum clip length. The cost of the transforms is quadratic in the length, so longer clips use the plain form."""

Transforms = tuple[Float64[np.ndarray, "p t"], Float64[np.ndarray, "p k"], Float64[np.ndarray, "t p"]]


@lru_cache
def transforms(frames: int, taps: int) -> Transforms:
    """Matrices F [p, T], G [p, k] and R [T, p] with y = R ((F x) * (G w)), which cross-correlate with p products.

    x has T values and is padded by zeros on both sides; w has an odd number k of taps. With N >= T + (k - 1) / 2, no
    value wraps around into the result. At frequency f, with X = a + ib and W = c + id, the three products are c (a +
    b), a (d - c) and b (c + d), and X W = (first - third) + i (first + second).
    """
    half = taps // 2
    length = frames + half + (frames + half) % 2
    times, places = np.arange(frames), half - np.arange(taps)
    of_clip, of_kernel, back = [], [], []
    for frequency in range(length // 2 + 1):
        angle = 2 * np.pi * frequency / length
        a, b = np.cos(angle * times), -np.sin(angle * times)
        c, d = np.cos(angle * places), -np.sin(angle * places)
        if frequency in (0, length // 2):
            of_clip, of_kernel, back = [*of_clip, a], [*of_kernel, c], [*back, a / length]
        else:
            share = 2 / length  # a frequency and its negative
            of_clip, of_kernel = [*of_clip, a + b, a, b], [*of_kernel, c, d - c, c + d]
            back = [*back, share * (a + b), share * b, -share * a]
    return np.stack(of_clip), np.stack(of_kernel), np.stack(back, axis=1)


def temporal_convolution_by_frequency(
    x: Float[ArrayLike, "b t v c"], kernel: Float[ArrayLike, "k c n"], dtype: DTypeLike = jnp.float32
) -> Float[Array, "b t v n"]:
    """Compute ``temporal_convolution`` by the convolution theorem, equal up to rounding.

    The factors of the products over channels have type ``dtype``; the transforms are in float32 or better.
    """
    x, kernel = at_least_float32(x), jnp.asarray(kernel)
    clips, frames, nodes, channels = x.shape
    if frames > MOST_FRAMES:
        return temporal_convolution(x, kernel, dtype)
    of_clip, of_kernel, back = (jnp.asarray(m, x.dtype) for m in transforms(frames, kernel.shape[0]))
    rows = jnp.einsum("pt,btvc->pbvc", of_clip, x).reshape(-1, clips * nodes, channels)
    weights = jnp.einsum("pk,kcn->pcn", of_kernel, kernel)
    products = jnp.matmul(rows.astype(dtype), weights.astype(dtype), preferred_element_type=x.dtype)
    return jnp.einsum("tp,pbvn->btvn", back, products.reshape(-1, clips, nodes, kernel.shape[-1]))
