"""PyTorch's running variance for every batch normalisation of a model: the unbiased estimate, where Flax keeps the
biased one.

With the variance v of the n values of a channel, the mean of their squared deviations, and a momentum m, a training
step makes of the running variance r

    Flax:     m r + (1 - m) v
    PyTorch:  m r + (1 - m) v n / (n - 1)

Both normalise by v in training; features in evaluation differ where n is small: the neck sees a clip once, n = 32.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from rgcn_jax.models.cpu.normalisation import BatchNorm
from rgcn_jax.models.masked_norm import MOMENTUM, MaskedBatchNorm


def unbiased_running_variance(
    call: Callable[..., Any],
    arguments: tuple[Any, ...],
    keywords: dict[str, Any],
    context: nn.module.InterceptorContext,
) -> Any:
    """An interceptor for ``flax.linen.intercept_methods``, around ``model.apply`` in training.

    It scales what a call of `nn.BatchNorm`, `cpu.BatchNorm` or `MaskedBatchNorm` adds to its running variance. A
    single value has no unbiased variance, and keeps the biased one, 0.
    """
    norm: Any = context.module
    is_norm = isinstance(norm, nn.BatchNorm | BatchNorm | MaskedBatchNorm) and context.method_name == "__call__"
    if not is_norm or norm.is_initializing():
        return call(*arguments, **keywords)
    before = norm.get_variable("batch_stats", "var")
    result = call(*arguments, **keywords)
    after = norm.get_variable("batch_stats", "var")
    if after is not before:  # else the call was one of evaluation
        mask = arguments[1] if isinstance(norm, MaskedBatchNorm) else keywords.get("mask")
        count = _count(jnp.asarray(arguments[0]), mask, norm.axis_name)
        kept = getattr(norm, "momentum", MOMENTUM) * before
        scaled = kept + (after - kept) * (count / jnp.maximum(count - 1, 1))
        norm.put_variable("batch_stats", "var", scaled.astype(after.dtype))
    return result


def _count(x: Array, mask: Any, axis_name: str | None) -> Float[Array, ""]:
    """Values of a channel that count, over all devices; the channels are the last axis."""
    count = jnp.float32(x.size // x.shape[-1])
    if mask is not None:
        mask = jnp.asarray(mask)
        shape = mask.shape + (1,) * (x.ndim - mask.ndim)
        count = jnp.broadcast_to(mask.reshape(shape), x.shape).sum(dtype=jnp.float32) / x.shape[-1]
    return count if axis_name is None else jax.lax.psum(count, axis_name)
