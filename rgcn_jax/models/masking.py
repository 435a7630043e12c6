"""Means and softmaxes over the valid frames of a clip, and the minimum precision of sums."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


def at_least_float32(x: Float[ArrayLike, "*shape"]) -> Float[Array, "*shape"]:
    """Cast to float32, or leave float64 unchanged: sums, softmaxes and recurrent states avoid half precision."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def masked_mean(x: Float[ArrayLike, "b t *rest"], mask: Bool[ArrayLike, "b t"] | None) -> Float[Array, "b *rest"]:
    """Mean over the frames where ``mask`` is True (None: all); 0 for a clip without any."""
    x = at_least_float32(x)
    if mask is None:
        return x.mean(axis=1)
    kept = jnp.reshape(mask, x.shape[:2] + (1,) * (x.ndim - 2))
    count = jnp.maximum(kept.sum(axis=1), 1).astype(x.dtype)
    return jnp.where(kept, x, 0.0).sum(axis=1) / count


def masked_softmax(scores: Float[ArrayLike, "b t"], mask: Bool[ArrayLike, "b t"] | None) -> Float[Array, "b t"]:
    """Softmax over the frames where ``mask`` is True; exactly 0 for the others."""
    scores = at_least_float32(scores)
    if mask is None:
        return jax.nn.softmax(scores, axis=1)
    # The lowest finite number, unlike -inf, avoids NaN in values and gradients of a clip without valid frames.
    lowest = jnp.finfo(scores.dtype).min
    return jnp.where(mask, jax.nn.softmax(jnp.where(mask, scores, lowest), axis=1), 0.0)
