"""The encoder's input frame by frame, for ``streaming``: gaps held, standardised, beside the keypoint embedding.

The causal form of ``model.pose_fill``: a keypoint that is missing now takes its last position, where ``fill_gaps`` of
the batch path goes linearly from that to the next, which a stream does not know yet. The two agree in every frame that
shows the keypoint and after its last one. In a gap from frame a to frame b they differ by (t - a) / (b - a) of x_b -
x_a; before its first frame the batch path has x_b and the stream nothing, that is 0.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.pose_norm import standardise


class InputState(NamedTuple):
    """The last position of every keypoint, for B streams."""

    last: Float[Array, "b v c"]
    """Zeros where there is none yet."""
    present: Bool[Array, "b v"]
    """Whether the stream has shown the keypoint."""


def initial_input(streams: int, channels: int = 2, num_keypoints: int = 14) -> InputState:
    """The state before the first frame: nothing was seen."""
    return InputState(jnp.zeros((streams, num_keypoints, channels)), jnp.zeros((streams, num_keypoints), bool))


def next_input(
    state: InputState,
    x: Float[ArrayLike, "b v c"],
    seen: Bool[ArrayLike, "b v"],
    variables: Mapping[str, Any],
    *,
    fill: bool = True,
) -> tuple[InputState, Float[Array, "b v k"]]:
    """One frame: what ``streaming.step`` is fed, from the pose input of that frame.

    Args:
      state: after the frame before.
      x: X_t of ``pose_input``, without filling; what is not seen is not read.
      seen: which keypoints were detected; none of a stream that has no frame now.
      variables: of a ``TwoBranch``: X is standardised where they hold the statistics of a ``pose_norm``, and the
        ``keypoint_embedding`` is put beside it where there is one.
      fill: whether missing keypoints are held; without, they are 0.
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
