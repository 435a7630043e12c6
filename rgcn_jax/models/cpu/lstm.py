"""GCN&LSTM's recurrence for the CPU, with a custom gradient: the weight gradient is one product over all frames.

In JAX's own gradient, each frame adds to the gradients of W_x and W_h, so two arrays of the weights' size pass through
memory per frame. Here the backward scan stores the gradients of the gates, and the product follows after the scan. The
first frame is computed before the scan: its initial state is 0 and needs no product. The gates are stored as four
arrays, since slicing a single one is slower than the arithmetic on the slices.
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

Frame = tuple[tuple[Array, Array, Array, Array], Array]
"""Residuals of one or several frames for the backward pass: the activated gates f, i, o, g, and c_t."""

Kept = tuple[Array, Array, Frame, Frame, Array | None, Array, Array]
"""Residuals of the backward pass: x', h_t of all frames, the first frame, the other frames, the mask, W_x, W_h."""


def lstm_over_frames(
    params: Mapping[str, ArrayLike],
    x: Float[ArrayLike, "b t v m"],
    mask: Bool[ArrayLike, "b t"] | None,
    dtype: DTypeLike = jnp.float32,
) -> Float[Array, "b t v n"]:
    """Apply ``gcn_rnn.lstm_step`` to the frames from h_0 = c_0 = 0, with sums in another order.

    Args:
      params: ``W_x`` [m, 4n], ``W_h`` [n, 4n], ``b`` [4n].
      x: x'_t of every node.
      mask: False for frames that leave h and c unchanged.
      dtype: data type of the factors of the matrix products.
    """
    x = jnp.asarray(x)
    frames = jnp.moveaxis(x, 1, 0)
    rows = frames.reshape(frames.shape[0], -1, frames.shape[-1])
    w_x, w_h, b = (varying_like(jnp.asarray(params[name]), x) for name in ("W_x", "W_h", "b"))
    counted = None if mask is None else jnp.repeat(jnp.asarray(mask).T, x.shape[2], axis=1)[..., None]
    h: Any = _lstm(rows, w_x, w_h, b, counted, dtype)
    return jnp.moveaxis(h.reshape(*frames.shape[:-1], -1), 0, 1)


@partial(jax.custom_vjp, nondiff_argnums=(5,))
def _lstm(x: Array, w_x: Array, w_h: Array, b: Array, counted: Array | None, dtype: DTypeLike) -> Array:
    """States [T, N, n] of x [T, N, m]. ``w_x`` is [m, 4n], ``w_h`` [n, 4n] and ``counted`` [T, N, 1]."""
    return _forward(x, w_x, w_h, b, counted, dtype)[0]


def _forward(x: Array, w_x: Array, w_h: Array, b: Array, counted: Array | None, dtype: DTypeLike) -> tuple[Array, Kept]:
    def frame(state: tuple[Array, Array] | None, inputs: tuple[Array, Array | None]) -> tuple[tuple, tuple]:
        x_t, count = inputs
        gates = project(x_t, w_x, dtype) + b
        if state is not None:
            gates = gates + project(state[0], w_h, dtype)
        f, i, o, g = jnp.split(gates, 4, axis=-1)
        f, i, o, g = nn.sigmoid(f), nn.sigmoid(i), nn.sigmoid(o), jnp.tanh(g)
        c = i * g if state is None else f * state[1] + i * g
        h = o * jnp.tanh(c)
        if count is not None:
            held = (0.0, 0.0) if state is None else state
            h, c = jnp.where(count, h, held[0]), jnp.where(count, c, held[1])
        return (h, c), (h, ((f, i, o, g), c))

    state, (first_h, first) = frame(None, _first((x, counted)))
    _, (h, others) = jax.lax.scan(frame, state, _others((x, counted)))
    h = jnp.concatenate([first_h[None], h])
    return h, (x, h, first, others, counted, w_x, w_h)


def _backward(dtype: DTypeLike, kept: Kept, dh_of_frames: Array) -> tuple[Array, Array, Array, Array, None]:
    x, h, first, others, counted, w_x, w_h = kept
    w = jnp.concatenate([w_x, w_h]).T

    def frame(after: tuple[Array, Array], inputs: tuple) -> tuple[Array, Array, Array]:
        """Gradients of the gates, of c_{t-1}, and of h_{t-1} for masked frames."""
        (dh, dc), (dh_here, ((f, i, o, g), c), c_before, count) = after, inputs
        dh = dh + dh_here
        held_h = held_c = jnp.zeros_like(dh)
        if count is not None:
            held_h, held_c = jnp.where(count, 0, dh), jnp.where(count, 0, dc)
            dh, dc = dh - held_h, dc - held_c
        tanh_c = jnp.tanh(c)
        dc = dc + dh * o * (1 - tanh_c * tanh_c)
        of_gates = (dc * c_before * f * (1 - f), dc * g * i * (1 - i), dh * tanh_c * o * (1 - o), dc * i * (1 - g * g))
        return jnp.concatenate(of_gates, axis=-1), dc * f + held_c, held_h

    def step(after: tuple[Array, Array], inputs: tuple) -> tuple[tuple, tuple]:
        d, dc, held_h = frame(after, inputs)
        dxh = project(d, w, dtype)
        return (dxh[:, x.shape[-1] :] + held_h, dc), (d, dxh[:, : x.shape[-1]])

    zero = jnp.zeros_like(first[1])
    before = jnp.concatenate([first[1][None], others[1]])[:-1]
    inputs = _others(dh_of_frames), others, before, _others(counted)
    after, (d, dx) = jax.lax.scan(step, (zero, zero), inputs, reverse=True)
    d_first = frame(after, (dh_of_frames[0], first, zero, _first(counted)))[0]
    dx = jnp.concatenate([project(d_first, w_x.T, dtype)[None], dx])
    rows, x_rows, h_rows = (a.reshape(-1, a.shape[-1]) for a in (d, x[1:], h[:-1]))
    dw_x = project(x_rows.T, rows, dtype) + project(x[0].T, d_first, dtype)
    dw_h, db = project(h_rows.T, rows, dtype), rows.sum(axis=0) + d_first.sum(axis=0)
    return dx.astype(x.dtype), dw_x.astype(w_x.dtype), dw_h.astype(w_h.dtype), db.astype(w_x.dtype), None


def _first(arrays: Any) -> Any:
    return jax.tree.map(lambda array: array[0], arrays)


def _others(arrays: Any) -> Any:
    return jax.tree.map(lambda array: array[1:], arrays)


_lstm.defvjp(_forward, _backward)
