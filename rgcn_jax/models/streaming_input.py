"""Encoder input frame by frame, for ``streaming``: filled gaps, standardisation and keypoint embedding.

Filling is a causal form of ``model.pose_fill``: a missing keypoint keeps its last position, while ``fill_gaps`` of the
batch computation interpolates to the next one. Both agree in frames that show the keypoint and after its last one. In a
gap from frame a to frame b they differ by (t - a) / (b - a) of x_b - x_a; before its first frame, the batch computation
has x_b and the stream 0.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.pose_norm import standardise
from rgcn_jax.skeleton import KEYPOINTS


class InputState(NamedTuple):
    """Last position of every keypoint, for B streams."""

    last: Float[Array, "b v c"]
    """Zeros before the first detection."""
    present: Bool[Array, "b v"]
    """Whether the keypoint has been detected."""


def initial_input(streams: int, channels: int = 2) -> InputState:
    """The state before the first frame."""
    shape = streams, len(KEYPOINTS)
    return InputState(jnp.zeros((*shape, channels)), jnp.zeros(shape, bool))


def next_input(
    state: InputState,
    x: Float[ArrayLike, "b v c"],
    seen: Bool[ArrayLike, "b v"],
    variables: Mapping[str, Any],
    *,
    fill: bool = True,
) -> tuple[InputState, Float[Array, "b v k"]]:
    """Process one frame: from its pose input to the input of ``streaming.step``.

    Args:
      state: state after the previous frame.
      x: X_t of ``pose_input`` without filling; ignored where not seen.
      seen: mask of detected keypoints; all False for a stream without a frame now.
      variables: variables of a ``TwoBranch``: X is standardised if they include statistics of a ``pose_norm``, and the
        ``keypoint_embedding`` is appended if there is one.
      fill: whether missing keypoints keep their last position; otherwise they are 0.
    """
    x, seen = at_least_float32(x), jnp.asarray(seen)
    held = InputState(jnp.where(seen[..., None], x, state.last), state.present | seen)
    last, present = held if fill else (x, seen)
    statistics = variables.get("batch_stats", {}).get("pose_norm")
    if statistics is None:
        x = jnp.where(present[..., None], last, 0.0)
    else:
        x = standardise(last, present, statistics["mean"], statistics["var"])
    embedding = variables.get("params", {}).get("keypoint_embedding")
    if embedding is not None:
        x = jnp.concatenate([x, jnp.broadcast_to(embedding, (*x.shape[:2], embedding.shape[-1]))], axis=-1)
    return held, x
