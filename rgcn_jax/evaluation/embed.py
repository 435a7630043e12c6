"""Feature extraction: the compiled step from a batch of clips to features, and one embedding per tracklet."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Float, Int32

from rgcn_jax import parallel
from rgcn_jax.errors import InputError
from rgcn_jax.models.frame_input import normalise_frames
from rgcn_jax.types import DeviceBatch, Embeddings, Tracklet


def make_embed_step(
    model: nn.Module, mesh: Mesh, dtype: Any = jnp.float32
) -> Callable[[Any, DeviceBatch], tuple[Float[Array, "b d_a"], Float[Array, "b d_p"]]]:
    """The compiled feature extraction: (variables, batch) -> (f_a, f_p), float32, a row a clip, of all clips on every
    device.
    """

    def embed(variables: Any, batch: DeviceBatch) -> tuple[Array, Array]:
        frames = normalise_frames(batch["frames"], dtype)
        features: Any = model.apply(variables, frames, batch["keypoints"], batch["frame_mask"], train=False)
        return features.appearance, features.pose

    replicated, sharded = parallel.REPLICATED, parallel.SHARDED
    over_clips = parallel.over_clips(embed, mesh, (replicated, sharded), (sharded, sharded))
    return jax.jit(over_clips, out_shardings=NamedSharding(mesh, replicated))


def embed_tracklets(
    tracklets: Sequence[Tracklet],
    clips: Iterable[tuple[Int32[np.ndarray, "b"], tuple[Float[Array, "b d_a"], Float[Array, "b d_p"]]]],
) -> Embeddings:
    """Features of the tracklets: the mean over the clips of each (method: "dense" or "even", whatever the batches
    hold).

    Args:
      tracklets: what ``index`` of a batch counts.
      clips: for each batch its ``index`` and (f_a, f_p), a row a clip: all clips of all tracklets; one with ``index``
        -1 is ignored. The numbers need not be there yet: while a batch is computed the one before it is summed.

    Raises:
      ValueError: a tracklet has no clip in the batches.
      InputError: a feature is not finite.
    """
    sums: list[np.ndarray] = []
    counts = np.zeros(len(tracklets), np.int64)

    def add(index: np.ndarray, features: tuple) -> None:
        rows = index >= 0
        for i, feature in enumerate(features):
            values = np.asarray(feature, np.float32)[rows]
            if len(sums) <= i:
                sums.append(np.zeros((len(tracklets), values.shape[1]), np.float64))
            np.add.at(sums[i], index[rows], values)
        np.add.at(counts, index[rows], 1)

    waiting = None
    for computed in clips:
        if waiting is not None:
            add(*waiting)
        waiting = computed
    if waiting is not None:
        add(*waiting)
    if not counts.all():
        missing = np.flatnonzero(counts == 0)
        raise ValueError(
            f"{len(missing)} of {len(tracklets)} tracklets have no clip in the batches, the first is {missing[0]}."
        )
    appearance, pose = ((total / counts[:, None]).astype(np.float32) for total in sums)
    if not (np.isfinite(appearance).all() and np.isfinite(pose).all()):
        raise InputError(
            "the model gave a feature that is not finite: its parameters have diverged; lower the learning rate."
        )
    return Embeddings(
        appearance=appearance,
        pose=pose,
        person_ids=np.array([t.person_id for t in tracklets], np.int32),
        camera_ids=np.array([t.camera_id for t in tracklets], np.int32),
    )
