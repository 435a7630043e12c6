"""Unbiased running variance, as in PyTorch, for all batch normalisations of a model; Flax's is biased.

For the variance v of the n values of a channel (the mean squared deviation) and momentum m, a training step updates the
running variance r to

    Flax:     m r + (1 - m) v
    PyTorch:  m r + (1 - m) v n / (n - 1)

Both normalise by v in training. Features in evaluation differ if n is small: for the neck, n is the number of clips,
32.
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
    """Interceptor for ``flax.linen.intercept_methods`` around ``model.apply`` in training.

    It scales the update of the running variance by `nn.BatchNorm`, `cpu.BatchNorm` or `MaskedBatchNorm`. A single value
    has no unbiased variance, and keeps the biased one, 0.
    """
    norm: Any = context.module
    is_norm = isinstance(norm, nn.BatchNorm | BatchNorm | MaskedBatchNorm) and context.method_name == "__call__"
    if not is_norm or norm.is_initializing():
        return call(*arguments, **keywords)
    before = norm.get_variable("batch_stats", "var")
    result = call(*arguments, **keywords)
    after = norm.get_variable("batch_stats", "var")
    if after is not before:  # otherwise the call was in evaluation mode
        mask = arguments[1] if isinstance(norm, MaskedBatchNorm) else keywords.get("mask")
        count = _count(jnp.asarray(arguments[0]), mask, norm.axis_name)
        kept = getattr(norm, "momentum", MOMENTUM) * before
        scaled = kept + (after - kept) * (count / jnp.maximum(count - 1, 1))
        norm.put_variable("batch_stats", "var", scaled.astype(after.dtype))
    return result


def _count(x: Array, mask: Any, axis_name: str | None) -> Float[Array, ""]:
    """Number of valid values of a channel (the last axis), over all devices."""
    count = jnp.float32(x.size // x.shape[-1])
    if mask is not None:
        mask = jnp.asarray(mask)
        shape = mask.shape + (1,) * (x.ndim - mask.ndim)
        count = jnp.broadcast_to(mask.reshape(shape), x.shape).sum(dtype=jnp.float32) / x.shape[-1]
    return count if axis_name is None else jax.lax.psum(count, axis_name)
