"""Appearance branch: a ResNet on every frame, and aggregation of frame features f_t to the clip feature f_a (eq. 1-3).

Or precomputed features. Aggregators take frame features [B, T, D] and a mask of the valid frames, and compute in
float32 (float64 for float64 input). For a clip without valid frames the result is finite but meaningless.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.graph_convolution import project
from rgcn_jax.models.masking import at_least_float32, masked_mean, masked_softmax
from rgcn_jax.models.recurrent_gcn import forget_one, orthogonal_gates, scan_frames


class AveragePooling(nn.Module):
    """Average pooling (AP), eq. 1: f_a is the mean of f_t over the frames. No parameters."""

    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b d"]:
        """Frame features and mask of valid frames (None: all) to f_a."""
        return masked_mean(frame_features, mask)


class AttentionAggregation(nn.Module):
    """Attention aggregation (AA), eq. 2: f_a = sum_t a_t f_t with a = softmax_t(f_t w). Parameter ``w`` [D].

    The paper states that weights are learned and sum to 1; the linear score is a decision. The weights [B, T] are sown
    as intermediate "weights".
    """

    @nn.compact
    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b d"]:
        """Frame features and mask of valid frames (None: all) to f_a."""
        f = at_least_float32(frame_features)
        if mask is not None:
            f = jnp.where(jnp.asarray(mask)[..., None], f, 0.0)
        w = self.param("w", nn.initializers.normal(f.shape[-1] ** -0.5), f.shape[-1:])
        weights = masked_softmax((f * w).sum(axis=-1), mask)
        self.sow("intermediates", "weights", weights)
        return (weights[..., None] * f).sum(axis=1)


class RecurrentAggregation(nn.Module):
    """Recurrent aggregation (RA), eq. 3: the mean over the frames of the outputs o_t of an LSTM.

    ``features``: hidden width, 2048 in the paper. Parameters, with the gates concatenated in the order forget, input,
    output, candidate: ``W`` [D, 4 features], ``U`` [features, 4 features], ``b``. Initialised like LGCN: fan-in normal,
    orthogonal, and 0 except for the forget bias 1. A masked frame does not change the state.
    """

    features: int

    @nn.compact
    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b {self.features}"]:
        """Frame features and mask of valid frames (None: all) to f_a."""
        n = self.features
        f = at_least_float32(frame_features)
        w = self.param("W", nn.initializers.lecun_normal(), (f.shape[-1], 4 * n))
        u = self.param("U", orthogonal_gates, (n, 4 * n))
        b = self.param("b", forget_one, (4 * n,))

        def step(state: tuple[Array, ...], x: Array) -> tuple[Array, ...]:
            h, c = state
            forget, keep, out, candidate = jnp.split(x + h @ u, 4, axis=-1)
            c = nn.sigmoid(forget) * c + nn.sigmoid(keep) * jnp.tanh(candidate)
            return nn.sigmoid(out) * jnp.tanh(c), c

        inputs = f @ w + b
        zero = jnp.zeros_like(inputs[:, 0, :n])
        return masked_mean(scan_frames(step, (zero, zero), inputs, mask), mask)


class FrameAppearance(nn.Module):
    """A frame encoder (trunk) followed by an aggregator.

    ``trunk``: images [N, H, W, 3], train -> [N, D]. ``aggregation``: [B, T, D], mask -> f_a. Frames of all clips form
    one batch of B T images, over which BatchNorm computes its statistics in training.
    """

    trunk: nn.Module
    aggregation: nn.Module

    def __call__(
        self, frames: Float[ArrayLike, "b t h w 3"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b d"], dict[str, jax.Array]]:
        """Normalised RGB frames to (f_a, {"frame_features": f_t [B, T, D]})."""
        frames = jnp.asarray(frames)
        b, t = frames.shape[:2]
        features = self.trunk(frames.reshape(b * t, *frames.shape[2:]), train=train)
        features = features.reshape(b, t, -1)
        return self.aggregation(features, mask), {"frame_features": features}


class ConvolutionalAttention(nn.Module):
    """Attention of Video-Person-ReID (Gao and Nevatia, 2018), another reading of AA: scores from feature maps and
    adjacent frames.

    z_t = relu(<W_s, M_t> + b_s), a convolution of the map M_t [h, w, D] with ``features`` kernels of its size; s_t =
    relu(sum_k <w_k, z_{t+k}> + b_t) over k = -1, 0, 1, with zero padding; f_a = sum_t softmax_t(s) f_t, where f_t is
    the pooled map. Parameters ``W_s`` [h w D, features], ``b_s`` [features], ``w_t`` [3, features], ``b_t`` []. W_s
    depends on the size of the map: 8 x 4 x 2048 x 256 values at 256 x 128 with last stride 2, four times as many with
    last stride 1.

    ``trunk``: a `ResNet50`. ``features``: 256 in the original.
    """

    trunk: nn.Module
    features: int = 256

    @nn.compact
    def __call__(
        self, frames: Float[ArrayLike, "b t h w 3"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b d"], dict[str, jax.Array]]:
        """Normalised RGB frames to (f_a, {"frame_features": f_t [B, T, D], "frame_weights": [B, T]})."""
        frames, n = jnp.asarray(frames), self.features
        b, t = frames.shape[:2]
        maps = self.trunk.feature_map(frames.reshape(b * t, *frames.shape[2:]), train)
        f = self.trunk.pool(maps).reshape(b, t, -1)
        maps = maps.reshape(b, t, -1)
        w_s = self.param("W_s", nn.initializers.lecun_normal(), (maps.shape[-1], n))
        z = nn.relu(project(maps, w_s, maps.dtype) + self.param("b_s", nn.initializers.zeros, (n,)))
        if mask is not None:
            kept = jnp.asarray(mask)[..., None]
            z, f = jnp.where(kept, z, 0.0), jnp.where(kept, f, 0.0)
        w_t = self.param("w_t", nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=()), (3, n))
        padded = jnp.pad(z, ((0, 0), (1, 1), (0, 0)))
        near = sum((padded[:, k : k + t] * w_t[k]).sum(axis=-1) for k in range(3))
        scores = nn.relu(near + self.param("b_t", nn.initializers.zeros, ()))
        weights = masked_softmax(scores, mask)
        f_a = (weights[..., None] * f).sum(axis=1)
        return f_a, {"frame_features": f, "frame_weights": weights}


class PrecomputedFeatures(nn.Module):
    """Precomputed appearance features, to add a pose branch to any appearance model. No parameters.

    The input is f_a itself instead of frames.
    """

    def __call__(
        self, frames: Float[ArrayLike, "b d"], mask: Bool[ArrayLike, "b t"] | None = None, train: bool = False
    ) -> tuple[Float[Array, "b d"], dict[str, jax.Array]]:
        """Return f_a of each clip unchanged, as (f_a, {})."""
        return at_least_float32(frames), {}
