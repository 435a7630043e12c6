"""BatchNorm for the CPU with little memory traffic: the gradient needs no array of the input's size but the input."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from rgcn_jax.models.masking import at_least_float32


class BatchNorm(nn.Module):
    """Normalisation of each channel by its statistics over all other axes, equivalent to `nn.BatchNorm`.

    Parameters, collections, fields and arguments are those of ``nn.BatchNorm``. Epsilon 1e-5 and momentum 0.9 (weight
    of the old value) equal torchvision's, whose momentum 0.1 is the weight of the new value. Parameters are ``scale``
    and ``bias``. The collection ``batch_stats`` has ``mean`` and ``var`` (biased), float32, [d].

    Both implementations compute the mean and the mean of squares in one pass, in float32 at least. Here the result is
    ``x * factor + offset``, with one factor and one offset per channel. The results differ by rounding, about 1e-7
    times mean / standard deviation.
    """

    use_running_average: bool | None = None
    axis_name: str | None = None
    momentum: float = 0.9
    epsilon: float = 1e-5
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "*n d"], use_running_average: bool | None = None) -> Float[Array, "*n d"]:
        """Normalise ``x`` by the statistics of the batch, which update the running ones, or by the running ones."""
        running = nn.merge_param("use_running_average", self.use_running_average, use_running_average)
        x = jnp.asarray(x)
        wide = at_least_float32(x)
        width = x.shape[-1:]
        kept: tuple[Any, Any] = (
            self.variable("batch_stats", "mean", jnp.zeros, width, jnp.float32),
            self.variable("batch_stats", "var", jnp.ones, width, jnp.float32),
        )
        scale, bias = self.param("scale", nn.initializers.ones, width), self.param("bias", nn.initializers.zeros, width)
        mean, var = kept[0].value, kept[1].value
        if not running:
            axes = tuple(range(x.ndim - 1))
            mean, mean_of_squares = wide.mean(axes), (wide * wide).mean(axes)
            if self.axis_name is not None and not self.is_initializing():
                mean, mean_of_squares = jax.lax.pmean((mean, mean_of_squares), self.axis_name)
            var = jnp.maximum(mean_of_squares - mean * mean, 0.0)
            if not self.is_initializing():
                for variable, new in zip(kept, (mean, var), strict=True):
                    updated = self.momentum * variable.value + (1 - self.momentum) * new
                    variable.value = updated.astype(variable.value.dtype)
        factor = scale * jax.lax.rsqrt(var + self.epsilon)
        return (wide * factor + (bias - mean * factor)).astype(self.dtype)
