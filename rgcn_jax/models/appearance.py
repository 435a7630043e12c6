"""The appearance branch: a trunk on every frame, and an aggregator from frame features f_t to the clip's f_a (eq. 1-3).

The aggregators take frame features [B, T, D] and a mask of the frames that count, and compute in float32 (float64
for float64 input). A clip without any frame that counts gives finite numbers of no meaning.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32, masked_mean, masked_softmax
from rgcn_jax.models.recurrent_gcn import forget_one, orthogonal_gates, scan_frames


class AveragePooling(nn.Module):
    """AP, eq. 1: f_a is the mean of f_t over the frames. No parameters."""

    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b d"]:
        """Frame features and the mask of the frames that count (None: all) to f_a."""
        return masked_mean(frame_features, mask)


class AttentionAggregation(nn.Module):
    """AA, eq. 2: f_a = sum_t a_t f_t with a = softmax_t(f_t w). Parameter ``w`` [D].

    The paper says that the weights are learned and sum to 1; the linear score is a decision. The weights [B, T] are
    sown as "weights" among the intermediates.
    """

    @nn.compact
    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b d"]:
        """Frame features and the mask of the frames that count (None: all) to f_a."""
        f = at_least_float32(frame_features)
        if mask is not None:
            f = jnp.where(jnp.asarray(mask)[..., None], f, 0.0)
        w = self.param("w", nn.initializers.normal(f.shape[-1] ** -0.5), f.shape[-1:])
        weights = masked_softmax((f * w).sum(axis=-1), mask)
        self.sow("intermediates", "weights", weights)
        return (weights[..., None] * f).sum(axis=1)


class RecurrentAggregation(nn.Module):
    """RA, eq. 3: the mean over the frames of the outputs o_t of an LSTM. ``features``: its hidden width, 2048 in the
    paper's setting.

    Parameters, the gates side by side in the order forget, input, output, candidate: ``W`` [D, 4 features], ``U``
    [features, 4 features], ``b``. Initialisation as LGCN's: fan-in normal, orthogonal, 0 but the forget bias 1. The
    state is held over a masked frame.
    """

    features: int

    @nn.compact
    def __call__(
        self, frame_features: Float[ArrayLike, "b t d"], mask: Bool[ArrayLike, "b t"] | None = None
    ) -> Float[Array, "b {self.features}"]:
        """Frame features and the mask of the frames that count (None: all) to f_a."""
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
    """Any trunk on each frame, then any aggregator.

    ``trunk``: images [N, H, W, 3], train -> [N, D]. ``aggregation``: [B, T, D], mask -> f_a. The frames of all clips
    form one batch of B T images, so the trunk's BatchNorm sees all of them in training.
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
