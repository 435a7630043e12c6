"""Frames as the trunk takes them: RGB in 0..255 standardised by ImageNet's mean and deviation, on the device."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalise_frames(
    frames: UInt8[Array, "b t h w 3"] | Float[Array, "b t h w 3"] | Float[Array, "b d"], dtype: Any
) -> Float[Array, "b t h w 3"] | Float[Array, "b d"]:
    """RGB in 0..255 to ImageNet's zero mean and unit standard deviation; floats, that is frames normalised already and
    given features, stay as they are.
    """
    if jnp.issubdtype(frames.dtype, jnp.floating):
        return frames
    mean, std = (255.0 * jnp.array(v, jnp.float32) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return ((frames.astype(jnp.float32) - mean) / std).astype(dtype)
