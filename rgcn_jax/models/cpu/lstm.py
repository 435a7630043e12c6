"""GCN&LSTM's recurrence for a CPU, with a gradient of its own: x'_t and h_{t-1} are multiplied with W_x and W_h as one
product a frame, and the gradient of the weights is one product after the scan over all frames.

Differentiated by JAX, each frame adds its share to the gradients of W_x and W_h, two arrays of the weights' size that
pass through memory every time. Here the backward scan keeps the gradient of the gates, which the product needs anyhow.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float

from rgcn_jax.models.cpu.mapped_axes import varying_like
from rgcn_jax.models.graph_convolution import project

Kept = tuple[Array, Array, Array, Array | None, Array]
"""For the backward pass: [x'_t, h_{t-1}], the gates after their activations and c_t of all frames, the mask, W."""


def lstm_over_frames(
    params: Mapping[str, ArrayLike],
    x: Float[ArrayLike, "b t v m"],
    mask: Bool[ArrayLike, "b t"] | None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b t v n"]:
    """``gcn_rnn.lstm_step`` over the frames from h_0 = c_0 = 0; the same but for the order of sums.

    Args:
      params: ``W_x`` [m, 4n], ``W_h`` [n, 4n], ``b`` [4n].
      x: x'_t of every node.
      mask: False where h and c are held.
      dtype: of the factors of the matmuls.
    """
    x = jnp.asarray(x)
    frames = jnp.moveaxis(x, 1, 0)
    rows = frames.reshape(frames.shape[0], -1, frames.shape[-1])
    w = jnp.concatenate([jnp.asarray(params["W_x"]), jnp.asarray(params["W_h"])])
    counted = None if mask is None else jnp.repeat(jnp.asarray(mask).T, x.shape[2], axis=1)[..., None]
    h: Any = _lstm(rows, varying_like(w, x), varying_like(jnp.asarray(params["b"]), x), counted, dtype)
    return jnp.moveaxis(h.reshape(*frames.shape[:-1], -1), 0, 1)


@partial(jax.custom_vjp, nondiff_argnums=(4,))
def _lstm(x: Array, w: Array, b: Array, counted: Array | None, dtype: DTypeLike) -> Array:
    """The states [T, N, n] of x [T, N, m]; ``w`` [m + n, 4n]; ``counted`` [T, N, 1]."""
    return _forward(x, w, b, counted, dtype)[0]


def _forward(x: Array, w: Array, b: Array, counted: Array | None, dtype: DTypeLike) -> tuple[Array, Kept]:
    zero = jnp.zeros_like(project(x[0], w[: x.shape[-1]], dtype)[:, : w.shape[1] // 4])

    def frame(state: tuple[Array, Array], inputs: tuple[Array, Array | None]) -> tuple[tuple, tuple]:
        (h, c), (x_t, count) = state, inputs
        xh = jnp.concatenate([x_t, h], axis=-1)
        f, i, o, g = jnp.split(project(xh, w, dtype) + b, 4, axis=-1)
        f, i, o, g = nn.sigmoid(f), nn.sigmoid(i), nn.sigmoid(o), jnp.tanh(g)
        new_c = f * c + i * g
        new_h = o * jnp.tanh(new_c)
        if count is not None:
            new_h, new_c = jnp.where(count, new_h, h), jnp.where(count, new_c, c)
        return (new_h, new_c), (new_h, xh, jnp.concatenate([f, i, o, g], axis=-1), new_c)

    _, (h, xh, gates, c) = jax.lax.scan(frame, (zero, zero), (x, counted))
    return h, (xh, gates, c, counted, w)


def _backward(dtype: DTypeLike, kept: Kept, dh_of_frames: Array) -> tuple[Array, Array, Array, None]:
    xh, gates, c, counted, w = kept
    m, zero = xh.shape[-1] - c.shape[-1], jnp.zeros_like(c[0])
    before = jnp.concatenate([zero[None], c[:-1]])

    def frame(after: tuple[Array, Array], inputs: tuple) -> tuple[tuple, tuple]:
        (dh, dc), (dh_here, gates, c, c_before, count) = after, inputs
        dh = dh + dh_here
        held_h = held_c = jnp.zeros_like(dh)
        if count is not None:
            held_h, held_c = jnp.where(count, 0, dh), jnp.where(count, 0, dc)
            dh, dc = dh - held_h, dc - held_c
        f, i, o, g = jnp.split(gates, 4, axis=-1)
        tanh_c = jnp.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        of_gates = (dc * c_before * f * (1 - f), dc * g * i * (1 - i), dh * tanh_c * o * (1 - o), dc * i * (1 - g * g))
        d = jnp.concatenate(of_gates, axis=-1)
        dxh = project(d, w.T, dtype)
        return (dxh[:, m:] + held_h, dc * f + held_c), (d, dxh[:, :m])

    _, (d, dx) = jax.lax.scan(frame, (zero, zero), (dh_of_frames, gates, c, before, counted), reverse=True)
    d_rows, xh_rows = (a.reshape(-1, a.shape[-1]) for a in (d, xh))
    dw = project(xh_rows.T, d_rows, dtype)
    return dx.astype(xh.dtype), dw.astype(w.dtype), d_rows.sum(axis=0).astype(w.dtype), None


_lstm.defvjp(_forward, _backward)
