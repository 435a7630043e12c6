"""Streaming RGCN or LGCN with a readout: the pose feature frame by frame, in constant memory.

``initial_state``, then ``step`` for every frame; ``read`` returns f_p of the frames so far at any time, equal to that
of the batch computation. The caller provides the input X of a frame: "crop" (``pose_input``) needs that frame only, but
"centred" is scaled by the whole clip's median torso length, so a stream needs its own scale.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.graph_convolution import convolve, project
from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.readout import DualAttention, MeanReadout, NodeAttention, TimeAttention, attend_nodes
from rgcn_jax.models.recurrent_gcn import LGCN, RGCN, lgcn_step, rgcn_step
from rgcn_jax.skeleton import KEYPOINTS


class StreamState(NamedTuple):
    """Summary of the frames so far, for B streams, of constant size."""

    recurrent: tuple[Float[Array, "b v n"], ...]
    """H_t (RGCN), or H_t and C_t (LGCN)."""
    frames: Float[Array, "b"]
    """Number of valid frames."""
    node_sum: Float[Array, "b v n"]
    """Sum over t of H_t, for the means in node attention and the mean readout."""
    top_score: Float[Array, "b"]
    """Largest score h_bar_t w_t so far; the two sums below are relative to it to avoid overflow."""
    weight_sum: Float[Array, "b"]
    """Sum over t of exp(score_t - top_score): the denominator of the softmax over time, eq. 13."""
    time_sum: Float[Array, "b n"]
    """Sum over t of exp(score_t - top_score) h_bar_t: the numerator of eq. 14."""


def initial_state(encoder: RGCN | LGCN, streams: int) -> StreamState:
    """The state before the first frame: H_0 = C_0 = 0."""
    zero = jnp.zeros((streams, len(KEYPOINTS), encoder.features))
    none = jnp.zeros(streams)
    recurrent = (zero,) if isinstance(encoder, RGCN) else (zero, zero)
    return StreamState(recurrent, none, zero, none - jnp.inf, none, zero[:, 0])


def step(
    encoder: RGCN | LGCN,
    params: Mapping[str, Any],
    state: StreamState,
    x: Float[ArrayLike, "b v c"],
    counts: Bool[ArrayLike, "b"] | None = None,
) -> StreamState:
    """Process one frame: eq. 6 or 8, and the running sums of eq. 9-14.

    Args:
      encoder: the encoder module.
      params: {"pose": parameters of the encoder, "readout": those of the readout}, as in a ``TwoBranch``.
      state: state after the previous frame.
      x: X_t, the encoder's input.
      counts: False for streams without a frame now, whose state does not change. None: all have one.
    """
    pose, score_vector = params["pose"], params.get("readout", {}).get("w_t")
    x, a_hat, dtype = encoder.prepare(x)
    symbol = "W_x" if isinstance(encoder, RGCN) else "W"
    weights = [pose[name] for name in encoder.weight_names(symbol)]
    ax, w = convolve(x[:, None], a_hat, weights, encoder.relu_each_layer, dtype, encoder.self_term)
    xw = project(ax[:, 0], w, dtype)
    if isinstance(encoder, RGCN):
        recurrent = (rgcn_step(pose, state.recurrent[0], xw, dtype),)
    else:
        recurrent = lgcn_step(pose, state.recurrent, xw, dtype)
    mean = at_least_float32(recurrent[0]).mean(axis=1)
    score = jnp.zeros(mean.shape[:1]) if score_vector is None else (mean * score_vector).sum(axis=-1)
    top = jnp.maximum(state.top_score, score)
    decay, added = jnp.exp(state.top_score - top), jnp.exp(score - top)
    new = StreamState(
        recurrent,
        state.frames + 1,
        state.node_sum + recurrent[0],
        top,
        state.weight_sum * decay + added,
        state.time_sum * decay[:, None] + added[:, None] * mean,
    )
    if counts is None:
        return new
    kept = jnp.asarray(counts)
    return jax.tree.map(lambda a, b: jnp.where(kept.reshape(-1, *(1,) * (a.ndim - 1)), a, b), new, state)


def read(readout: nn.Module, params: Mapping[str, Any], state: StreamState) -> Float[Array, "b d_p"]:
    """f_p of the frames so far, eq. 9-14; 0 for a stream without any. ``params`` as for ``step``.

    Raises ValueError unless the readout is a MeanReadout, NodeAttention, TimeAttention or DualAttention.
    """
    mean = state.node_sum / jnp.maximum(state.frames, 1.0)[:, None, None]
    if isinstance(readout, MeanReadout):
        return mean.mean(axis=1)
    parts = []
    if isinstance(readout, NodeAttention | DualAttention):
        parts.append(attend_nodes(mean[:, None], params["readout"]["w_n"], None)[0])
    if isinstance(readout, TimeAttention | DualAttention):
        parts.append(state.time_sum / jnp.where(state.weight_sum > 0, state.weight_sum, 1.0)[:, None])
    if not parts:
        raise ValueError(f"{type(readout).__name__} cannot be streamed: expected one of the package's readouts.")
    return jnp.concatenate(parts, axis=-1)
