"""The compiled feature-extraction step, from a batch of clips to features. Independent of data set and config."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float

from rgcn_jax import parallel
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.types import DeviceBatch


class ClipFeatures(NamedTuple):
    """Features of a batch of clips, float32, replicated on all devices."""

    appearance: Float[Array, "b d_a"]
    pose: Float[Array, "b d_p"]
    attention: dict[str, Array]
    """Attention weights of the readout: "node" [B, 14] and "time" [B, T], if it has them."""


EmbedStep = Callable[[Any, DeviceBatch], ClipFeatures]


def make_embed_step(model: nn.Module, mesh: Mesh, dtype: Any = jnp.float32) -> EmbedStep:
    """Compile the feature extraction: (variables, batch) -> ``ClipFeatures`` of all clips."""

    def embed(variables: Any, batch: DeviceBatch) -> ClipFeatures:
        frames = normalise_frames(batch["frames"], dtype)
        features: Any = model.apply(variables, frames, batch["keypoints"], batch["frame_mask"], train=False)
        return ClipFeatures(features.appearance, features.pose, features.attention)

    replicated, sharded = parallel.REPLICATED, parallel.SHARDED
    over_clips = parallel.over_clips(embed, mesh, (replicated, sharded), sharded)
    return jax.jit(over_clips, out_shardings=NamedSharding(mesh, replicated))
