"""Batch normalisation that counts only frames which belong to a clip, over all devices alike.

Flax's BatchNorm takes a mask too, but under a mesh averages the devices' means, however many frames each of them has;
here sums and counts are added up, so that the number of devices changes nothing.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32

MOMENTUM, EPSILON = 0.9, 1e-5


class MaskedBatchNorm(nn.Module):
    """BatchNorm over all axes but the last, in float32 at least.

    Parameters ``scale`` and ``bias``, collection ``batch_stats``: ``mean`` and ``var`` (of the batch, biased), all [d],
    as Flax's; momentum 0.9, epsilon 1e-5. ``axis_name``: the mesh axis over which statistics are taken under
    ``shard_map``.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "b t *rest d"], mask: Bool[ArrayLike, "b t"] | None, train: bool
    ) -> Float[Array, "b t *rest d"]:
        """``x`` normalised by the batch's statistics, which then update the running ones, or in evaluation by the
        latter. Frames where ``mask`` is False are normalised as well, but do not count.
        """
        x = at_least_float32(x)
        width = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, width, jnp.float32)
        running_var = self.variable("batch_stats", "var", jnp.ones, width, jnp.float32)
        scale, bias = self.param("scale", nn.initializers.ones, width), self.param("bias", nn.initializers.zeros, width)
        mean, var = running_mean.value, running_var.value
        if train:
            mean, var = self._statistics(x, mask)
            if not self.is_initializing():
                for running, new in ((running_mean, mean), (running_var, var)):
                    running.value = (MOMENTUM * running.value + (1 - MOMENTUM) * new).astype(running.value.dtype)
        return (x - mean) * (scale * jax.lax.rsqrt(var + EPSILON)) + bias

    def _statistics(self, x: Array, mask: ArrayLike | None) -> tuple[Array, Array]:
        """Mean and variance of the frames that count, in two passes; 0 and 0 without any."""
        kept = jnp.ones_like(x, bool) if mask is None else jnp.reshape(mask, x.shape[:2] + (1,) * (x.ndim - 2))

        def total(values: Array) -> Array:
            local = jnp.where(kept, values, 0.0).sum(axis=tuple(range(x.ndim - 1)))
            mapped = self.axis_name is not None and not self.is_initializing()
            return jax.lax.psum(local, self.axis_name) if mapped else local

        count = jnp.maximum(total(jnp.ones_like(x)), 1.0)
        mean = total(x) / count
        return mean, total((x - mean) ** 2) / count
