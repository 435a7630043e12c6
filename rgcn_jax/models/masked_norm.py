"""Masked batch normalisation: statistics over valid frames only, independent of the number of devices.

Flax's BatchNorm takes a mask too, but averages the means of the devices with equal weights, although these may have
different numbers of valid frames. Here sums and counts are reduced instead.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32

MOMENTUM, EPSILON = 0.9, 1e-5


class MaskedBatchNorm(nn.Module):
    """BatchNorm over all axes but the last, in float32 at least.

    Parameters ``scale`` and ``bias``; collection ``batch_stats`` with ``mean`` and ``var`` (biased); all [d], as in
    Flax. Momentum 0.9, epsilon 1e-5. ``axis_name``: mesh axis over which statistics are computed under ``shard_map``.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self, x: Float[ArrayLike, "b t *rest d"], mask: Bool[ArrayLike, "b t"] | None, train: bool
    ) -> Float[Array, "b t *rest d"]:
        """Normalise ``x`` by batch statistics, which update the running ones; in evaluation by running statistics.

        Frames where ``mask`` is False are normalised too, but excluded from the statistics.
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
        """Mean and variance over valid frames, in two passes; both 0 if there are none."""
        kept = jnp.ones_like(x, bool) if mask is None else jnp.reshape(mask, x.shape[:2] + (1,) * (x.ndim - 2))

        def total(values: Array) -> Array:
            local = jnp.where(kept, values, 0.0).sum(axis=tuple(range(x.ndim - 1)))
            mapped = self.axis_name is not None and not self.is_initializing()
            return jax.lax.psum(local, self.axis_name) if mapped else local

        count = jnp.maximum(total(jnp.ones_like(x)), 1.0)
        mean = total(x) / count
        return mean, total((x - mean) ** 2) / count
