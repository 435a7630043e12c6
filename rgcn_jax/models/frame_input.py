"""Normalisation of frames on the device: RGB in 0..255 to ImageNet's zero mean and unit standard deviation."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise_frames(
    frames: UInt8[Array, "b t h w 3"] | Float[Array, "b t h w 3"] | Float[Array, "b d"], dtype: Any
) -> Float[Array, "b t h w 3"] | Float[Array, "b d"]:
    """Normalise uint8 RGB by ImageNet's mean and standard deviation; return floats (normalised or f_a) unchanged."""
    if jnp.issubdtype(frames.dtype, jnp.floating):
        return frames
    mean, std = (255.0 * jnp.array(v, jnp.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((frames.astype(jnp.float32) - mean) / std).astype(dtype)
