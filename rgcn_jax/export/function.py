"""The exported function: frames, keypoints and mask of B clips to their features, with symbolic B.

    (frames uint8 [B, T, H, W, 3], keypoints float32 [B, T, 14, 3], frame_mask bool [B, T])
        -> (appearance [B, D_a], pose [B, D_p], fused [B, D])

It includes the weights and the normalisation of the frames. T, H and W are those of the run. A model with precomputed
appearance takes ``features`` float32 [B, D_a] instead of ``frames``; without a pose branch there are neither
``keypoints`` nor ``pose``. It computes in float32 with the default implementation of the models, since not all runtimes
support bfloat16.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import export
from jaxtyping import Array, Float

from rgcn_jax.config import EvaluationConfig
from rgcn_jax.embedder import Embedder
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import NO_FUSED_FEATURE, FeatureStatistics, inverse_std
from rgcn_jax.models.build import build_model
from rgcn_jax.models.frame_input import normalise_frames

BATCH = "B"


class ExportedFunction(NamedTuple):
    """``call`` takes the inputs and returns the outputs as tuples, in the order of ``inputs`` and ``outputs``."""

    call: Callable[..., tuple[Array, ...]]
    inputs: Mapping[str, jax.ShapeDtypeStruct]
    outputs: tuple[str, ...]

    def signature(self, batch: str | None) -> dict[str, list[dict[str, Any]]]:
        """Name, shape and dtype of the ``inputs`` and ``outputs`` as JSON values, with ``batch`` as the first size."""
        found = jax.eval_shape(self.call, *self.inputs.values())
        outputs = dict(zip(self.outputs, found, strict=True))
        return {
            kind: [
                {"name": name, "shape": [batch, *aval.shape[1:]], "dtype": str(aval.dtype)}
                for name, aval in avals.items()
            ]
            for kind, avals in (("inputs", self.inputs), ("outputs", outputs))
        }


def exported_function(embedder: Embedder) -> ExportedFunction:
    """Build the function of an embedder's model with its weights. Raises InputError for the distance "calibrated"."""
    config, statistics = embedder.config, embedder.statistics
    if config.evaluation.distance == "calibrated":
        raise InputError(NO_FUSED_FEATURE)
    model = build_model(asdict(config.model), 0, aspect=config.aspect)
    variables = jax.device_get(embedder.variables)
    (batch,) = export.symbolic_shape(BATCH)
    clip = (batch, config.frames_per_clip)
    precomputed = config.model.appearance == "precomputed"
    inputs = (
        {"features": jax.ShapeDtypeStruct((batch, len(statistics.mean_a)), jnp.float32)}
        if precomputed
        else {"frames": jax.ShapeDtypeStruct((*clip, *config.frame_size, 3), jnp.uint8)}
    )
    if config.with_pose:
        inputs["keypoints"] = jax.ShapeDtypeStruct((*clip, 14, 3), jnp.float32)
    inputs["frame_mask"] = jax.ShapeDtypeStruct(clip, jnp.bool_)
    names = tuple(inputs)

    def call(*arrays: Array) -> tuple[Array, ...]:
        given = dict(zip(names, arrays, strict=True))
        seen = given["features"] if precomputed else normalise_frames(given["frames"], jnp.float32)
        mask = given["frame_mask"]
        keypoints = given.get("keypoints", jnp.zeros((*mask.shape, 14, 3), jnp.float32))
        features: Any = model.apply(variables, seen, keypoints, mask, train=False)
        branches = [features.appearance, features.pose] if config.with_pose else [features.appearance]
        return *branches, fused(branches, config.evaluation, statistics)

    return ExportedFunction(
        call, inputs, ("appearance", "pose", "fused") if config.with_pose else ("appearance", "fused")
    )


def fused(
    branches: list[Float[Array, "b _"]], settings: EvaluationConfig, statistics: FeatureStatistics
) -> Float[Array, "b d"]:
    """Fuse both branches, like ``evaluation.distance.fuse``, in JAX: Euclidean distances are the run's distances.

    A single branch has weight 1.
    """
    parts = []
    moments = (statistics.mean_a, statistics.std_a), (statistics.mean_p, statistics.std_p)
    weights = (1.0, settings.pose_weight)
    for x, (mean, std), weight in zip(branches, moments, weights, strict=False):
        if settings.distance == "standardized":
            x = (x - mean) * inverse_std(std)
        if settings.distance != "euclidean":
            squares = (x * x).sum(axis=1, keepdims=True)
            x = x * (np.float32(weight) / jnp.sqrt(jnp.where(squares > 0, squares, 1.0)))
        parts.append(x)
    return jnp.concatenate(parts, axis=1)
