"""Standardisation of the pose input: each coordinate of each keypoint by its running mean and deviation.

People differ by 0.03 to 0.1 torso lengths in coordinates that range over 4, and a keypoint that was not detected stands
at the origin, between the hips. Standardised, the differences are of order 1 and 0 is the mean.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32

MOMENTUM, EPSILON = 0.95, 1e-4


class PoseNorm(nn.Module):
    """(X - mean) / sqrt(var + 1e-4) where a keypoint is present, else 0; no parameters.

    Collection ``batch_stats``: ``mean`` and ``var`` [V, C], and ``count`` [V], how many observations they stand for.
    They are the exact mean and variance of all observations so far, those of each earlier batch weighing 0.95 times
    those of the next; so they hold from the first batch on, and a keypoint that a batch does not show keeps what it
    has. One that was never seen is not changed. In training too X is normalised by the running statistics, after the
    batch has entered them: training and evaluation then differ by nothing but what was seen since.

    ``axis_name``: the mesh axis over which the statistics are taken under ``shard_map``.
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
        """X standardised.

        Args:
          x: of ``pose_input``.
          present: which keypoints of X mean anything, detected or filled; the others come out as 0.
          seen: which were detected in a frame that counts: these alone enter the statistics.
          train: whether they do.
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
        """The statistics with a batch's observations: two groups merged (Chan, Golub and LeVeque, 1979)."""

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
    """(X - mean) / sqrt(var + 1e-4) where present, else 0; with ``mean`` and ``var`` of a ``PoseNorm``."""
    x = at_least_float32(x)
    scaled = (x - jnp.asarray(mean)) * jax.lax.rsqrt(jnp.asarray(var) + EPSILON)
    return jnp.where(jnp.asarray(present)[..., None], scaled, 0.0)
