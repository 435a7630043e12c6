"""Readouts: node embeddings H [B, T, V, n] to the pose feature f_p by mean, node, time or dual attention (eq. 9-14).

Every readout returns (f_p, weights). ``weights`` has the attention weights, "node" a_v [B, V] and "time" a_t [B, T], if
the readout has them (figure 11). They sum to 1 over keypoints and over valid frames; padding frames have weight 0. For
a clip without valid frames f_p = 0. Computed in float32 (float64 for float64 input).

Score vectors are initialised normal with standard deviation n^-1/2 (decision, not stated in the paper).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32, masked_mean, masked_softmax


def _score_vector(key: Array, shape: tuple[int]) -> Array:
    return jax.random.normal(key, shape) * shape[0] ** -0.5


def attend_nodes(h: ArrayLike, w_n: ArrayLike, mask: ArrayLike | None) -> tuple[Array, Array]:
    """Node attention, eq. 9-11: h_n [B, n] and a_v [B, V]. Scores are sums of products instead of a matmul, for full
    precision on every platform.
    """
    mean = masked_mean(h, mask)
    weights = jax.nn.softmax((mean * w_n).sum(axis=-1), axis=1)
    return (weights[..., None] * mean).sum(axis=1), weights


def _attend_frames(h: ArrayLike, w_t: ArrayLike, mask: ArrayLike | None) -> tuple[Array, Array]:
    """Time attention, eq. 12-14: h_t [B, n] and a_t [B, T]."""
    mean = at_least_float32(h).mean(axis=2)
    if mask is not None:
        mean = jnp.where(jnp.asarray(mask)[..., None], mean, 0.0)
    weights = masked_softmax((mean * w_t).sum(axis=-1), mask)
    return (weights[..., None] * mean).sum(axis=1), weights


class MeanReadout(nn.Module):
    """f_p is the mean over frames and keypoints, [B, n]; no weights, no parameters."""

    def __call__(
        self, H: Float[ArrayLike, "b t v n"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> tuple[Float[Array, "b n"], dict[str, Array]]:
        """H and mask of valid frames (None: all) to (f_p, {})."""
        return masked_mean(H, mask).mean(axis=1), {}


class _Attention(nn.Module):
    attends = ()  # the kinds of attention, whose features are concatenated

    @nn.compact
    def __call__(
        self, H: Float[ArrayLike, "b t v n"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> tuple[Float[Array, "b m"], dict[str, Array]]:
        """H and mask of valid frames (None: all) to (f_p, weights)."""
        features, weights = [], {}
        for kind in self.attends:
            attend, name = (attend_nodes, "w_n") if kind == "node" else (_attend_frames, "w_t")
            f, weights[kind] = attend(H, self.param(name, _score_vector, jnp.shape(H)[-1:]), mask)
            features.append(f)
        return jnp.concatenate(features, axis=-1), weights


class NodeAttention(_Attention):
    """f_p = h_n [B, n], eq. 9-11: mean over frames, then attention softmax_v(h_bar_v w_n) over keypoints.

    Parameter ``w_n`` [n].
    """

    attends = ("node",)


class TimeAttention(_Attention):
    """f_p = h_t [B, n], eq. 12-14: mean over keypoints, then attention softmax_t(h_bar_t w_t) over frames.

    Parameter ``w_t`` [n].
    """

    attends = ("time",)


class DualAttention(_Attention):
    """f_p = [h_n ; h_t] [B, 2n], eq. 9-14: node and time attention. Parameters ``w_n`` and ``w_t`` [n]."""

    attends = ("node", "time")
