"""Standardisation of the pose input: each coordinate of each keypoint by its running mean and deviation.

Persons differ by 0.03 to 0.1 torso lengths in coordinates with a range of 4, and undetected keypoints are at the
origin, between the hips. After standardisation differences are of order 1, and 0 is the mean.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32

MOMENTUM, EPSILON = 0.95, 1e-4


class PoseNorm(nn.Module):
    """(X - mean) / sqrt(var + 1e-4) where a keypoint is present, else 0; no parameters.

    Collection ``batch_stats``: ``mean`` and ``var`` [V, C], and ``count`` [V], the effective number of observations.
    They are exact mean and variance of all observations, with those of each batch weighted 0.95 times those of the
    next; so they are valid from the first batch, and unchanged for keypoints that a batch does not show. Keypoints that
    were never seen are not standardised. In training, X is normalised by the running statistics including the current
    batch, as in evaluation.

    ``axis_name``: mesh axis over which the statistics are computed under ``shard_map``.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        x: Float[ArrayLike, "b t v c"],
        present: Bool[ArrayLike, "b t v"],
        seen: Bool[ArrayLike, "b t v"],
        train: bool = False,
    ) -> Float[Array, "b t v c"]:
        """Standardise X of ``pose_input``.

        ``present``: mask of valid keypoints in X, detected or filled; the others become 0. ``seen``: mask of keypoints
        detected in valid frames, which update the statistics if ``train``.
        """
        x = at_least_float32(x)
        shape = x.shape[2:]
        kept = {
            "count": self.variable("batch_stats", "count", jnp.zeros, shape[:1], jnp.float32),
            "mean": self.variable("batch_stats", "mean", jnp.zeros, shape, jnp.float32),
            "var": self.variable("batch_stats", "var", jnp.ones, shape, jnp.float32),
        }
        statistics = {name: variable.value for name, variable in kept.items()}
        if train and not self.is_initializing():
            statistics = self._updated(statistics, x, jnp.asarray(seen))
            for name, variable in kept.items():
                variable.value = statistics[name].astype(jnp.float32)
        return standardise(x, present, statistics["mean"], statistics["var"])

    def _updated(self, old: dict[str, Array], x: Array, seen: Array) -> dict[str, Array]:
        """Update the statistics with a batch, by merging two groups (Chan, Golub and LeVeque, 1979)."""

        def total(values: Array) -> Array:
            local = jnp.where(seen[..., None], values, 0.0).sum(axis=(0, 1))
            return local if self.axis_name is None else jax.lax.psum(local, self.axis_name)

        x = jax.lax.stop_gradient(x)
        new = total(jnp.ones_like(x[..., :1]))
        mean = total(x) / jnp.maximum(new, 1.0)
        squares = total((x - mean) ** 2)
        before = MOMENTUM * old["count"][:, None]
        count = before + new
        share = new / jnp.maximum(count, 1e-6)
        apart = mean - old["mean"]
        merged = (before * old["var"] + squares + before * share * apart**2) / jnp.maximum(count, 1e-6)
        return {
            "count": jnp.where(new > 0, count, old["count"][:, None])[:, 0],
            "mean": jnp.where(new > 0, old["mean"] + share * apart, old["mean"]),
            "var": jnp.where(new > 0, merged, old["var"]),
        }


def standardise(
    x: Float[ArrayLike, "*b v c"],
    present: Bool[ArrayLike, "*b v"],
    mean: Float[ArrayLike, "v c"],
    var: Float[ArrayLike, "v c"],
) -> Float[Array, "*b v c"]:
    """(X - mean) / sqrt(var + 1e-4) where present, else 0; with the statistics of a ``PoseNorm``."""
    x = at_least_float32(x)
    scaled = (x - jnp.asarray(mean)) * jax.lax.rsqrt(jnp.asarray(var) + EPSILON)
    return jnp.where(jnp.asarray(present)[..., None], scaled, 0.0)
