"""Input X of the pose encoders, from stored keypoints (the paper's section III-C1).

The paper says "2D position" and no more. Its literal reading, "crop", hides the pose behind where the person stands
in the crop; "centred" (decision) takes position and size out and learns far better. What may be added to the position,
confidence, velocity and bones, is beyond the paper. Pure functions, static shapes.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.errors import InputError
from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.skeleton import PARENTS

POSITIONS = ("crop", "centred")

ADDITIONS = ("confidence", "velocity", "bones")
"""What a mode may add to the position: one channel, two and two."""

NECK, HIPS = 1, (8, 11)

TYPICAL_TORSO = 0.3
"""Torso length in crop heights of a standing person who fills the crop: stands in where a clip shows no torso at
all."""

MIN_TORSO = 0.05
"""A torso shorter than this, in crop heights, is a slip of the pose detector and has no say in the scale."""


def parse_mode(mode: str) -> tuple[str, tuple[str, ...]]:
    """The position and the additions that a mode names: "centred+velocity" -> ("centred", ("velocity",)).

    Raises:
      InputError: the mode is not one of ``POSITIONS``, followed by some of ``ADDITIONS``, each at most once.
    """
    position, *additions = mode.split("+")
    if position not in POSITIONS or not set(additions) <= set(ADDITIONS) or len(set(additions)) < len(additions):
        choices = "".join(f"[+{name}]" for name in ADDITIONS)
        raise InputError(f"unknown pose input {mode!r}: expected {' or '.join(POSITIONS)}, then {choices}.")
    return position, tuple(name for name in ADDITIONS if name in additions)


def detections(
    keypoints: Float[ArrayLike, "b t 14 3"], mask: Bool[ArrayLike, "b t"] | None = None
) -> Bool[Array, "b t 14"]:
    """Which keypoints were detected, in frames that count."""
    detected = jnp.asarray(keypoints)[..., 2] > 0
    return detected if mask is None else detected & jnp.asarray(mask)[:, :, None]


def pose_input(
    keypoints: Float[ArrayLike, "b t 14 3"],
    mode: str,
    aspect: float,
    mask: Bool[ArrayLike, "b t"] | None = None,
    fill: bool = False,
    torso: Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b t 14 c"]:
    """X of eq. 4-8 from the stored keypoints. A keypoint that was not detected, and a masked frame, is 0 in every
    channel.

    Args:
      keypoints: x and y in normalised coordinates of the crop, in [0, 1], and confidence, 0 where not detected.
      mode: "crop", x and y as they are, or "centred", see ``centre``; then any of these, in the order of the channels:
        "+confidence", as stored; "+velocity", the position less that in the frame before, 0 where either is missing
        and in the first frame; "+bones", the position less that of the neighbour on the way to the neck
        (``skeleton.PARENTS``), 0 where either is missing, and for the neck.
      aspect: width of the crop over its height, in pixels. Not used by "crop".
      mask: False for frames that pad a clip; they have no influence on the others. None: all frames count.
      fill: give a keypoint that was not detected a position by ``fill_gaps``, after centring; velocities and bones are
        those of the filled positions, and its confidence is 0.
      torso: for "centred", the length in crop heights to divide by; None: that of the clip (``torso_length``).

    Returns:
      X in float32 (float64 for float64 keypoints), always finite. "crop" is in normalised
      coordinates of the crop, in [0, 1], "centred" in torso lengths; velocities and bones are so too, the former for
      each frame of the clip, whatever time lies between two frames.

    Raises:
      InputError: the mode is unknown.
    """
    place, additions = parse_mode(mode)
    keypoints = at_least_float32(keypoints)
    detected = detections(keypoints, mask)[..., None]
    confidence = jnp.where(detected, keypoints[..., 2:], 0.0)
    position = keypoints[..., :2]
    if place == "centred":
        position = centre(position * jnp.array([aspect, 1.0], keypoints.dtype), detected[..., 0], torso)
    position = jnp.where(detected, position, 0.0)
    if fill:
        position, filled = fill_gaps(position, detected[..., 0], mask)
        detected = filled[..., None]
    channels = {
        "confidence": lambda: confidence,
        "velocity": lambda: _difference(position, detected, _frame_before),
        "bones": lambda: _difference(position, detected, lambda x: x[:, :, jnp.array(PARENTS)]),
    }
    stacked = jnp.concatenate([position, *(channels[name]() for name in additions)], axis=-1)
    return jnp.where(detected, stacked, 0.0)


def fill_gaps(
    x: Float[ArrayLike, "b t v c"], seen: Bool[ArrayLike, "b t v"], mask: Bool[ArrayLike, "b t"] | None = None
) -> tuple[Float[Array, "b t v c"], Bool[Array, "b t v"]]:
    """Gaps of a keypoint inside a clip filled linearly between the frames that show it; ends hold the nearest.

    Args:
      x: by clip, frame and keypoint; what is not seen is not read.
      seen: which of it means anything.
      mask: False for frames that pad a clip; they are neither read nor filled. None: all frames count.

    Returns:
      x, 0 where there is nothing to fill from, and which of it means anything now: all frames that count of a keypoint
      that the clip shows at all.
    """
    x, seen = jnp.asarray(x), jnp.asarray(seen)
    if mask is not None:
        seen &= jnp.asarray(mask)[:, :, None]
    frames = seen.shape[1]
    index = jnp.arange(frames)[None, :, None]
    before = jax.lax.cummax(jnp.where(seen, index, -1), axis=1)
    after = jax.lax.cummin(jnp.where(seen, index, frames), axis=1, reverse=True)
    first, last = jnp.where(before < 0, after, before), jnp.where(after == frames, before, after)
    share = ((index - first) / jnp.maximum(last - first, 1))[..., None].astype(x.dtype)
    ends = [jnp.take_along_axis(x, jnp.clip(at, 0, frames - 1)[..., None], axis=1) for at in (first, last)]
    present = jnp.broadcast_to(seen.any(axis=1, keepdims=True), seen.shape)
    if mask is not None:
        present &= jnp.asarray(mask)[:, :, None]
    between = jnp.where(seen[..., None], x, ends[0] + share * (ends[1] - ends[0]))
    return jnp.where(present[..., None], between, 0.0), present


def _difference(position: Array, detected: Array, other: Callable[[Array], Array]) -> Array:
    """Position less the other one, 0 where either is missing."""
    return jnp.where(detected & other(detected), position - other(position), 0.0)


def _frame_before(x: Array) -> Array:
    """What was there one frame earlier; nothing before the first."""
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))


def torso_length(position: Float[ArrayLike, "b t 14 2"], detected: Bool[ArrayLike, "b t 14"]) -> Float[Array, "b"]:
    """The scale of ``centre``: the median torso of each clip, in the units of the positions."""
    position, detected = jnp.asarray(position), jnp.asarray(detected)
    middle, has_middle = _mean(position[..., jnp.array(HIPS), :], detected[..., jnp.array(HIPS)], axis=2)
    torso = jnp.linalg.norm(position[..., NECK, :] - middle, axis=-1)
    has_torso = has_middle & detected[..., NECK] & (torso >= MIN_TORSO)
    return _median(torso, has_torso, jnp.full_like(torso[:, 0], TYPICAL_TORSO))


def centre(
    position: Float[ArrayLike, "b t 14 2"],
    detected: Bool[ArrayLike, "b t 14"],
    torso: Float[ArrayLike, "b"] | None = None,
) -> Float[Array, "b t 14 2"]:
    """Positions relative to the middle of the hips of the same frame, in torso lengths of the clip.

    The origin of a frame is the middle of its hips, or its only detected hip. A frame without hips takes the median
    origin of the clip's frames that have one; a clip without any hip takes the mean of all its detected keypoints,
    in every frame. The scale is the median over the clip of the distance from the neck to the frame's own origin,
    over the frames that show the neck and a hip and where it is at least ``MIN_TORSO``; ``TYPICAL_TORSO`` in a clip
    without such a frame. The median of an even number of values is the mean of the middle two. One scale serves both
    coordinates and all keypoints.

    Args:
      position: x and y in units of the crop's height, so that the two are comparable.
      detected: which positions mean anything; the others are neither read nor set to 0.
      torso: the scale, in the same units; None: ``torso_length``.
    """
    position, detected = jnp.asarray(position), jnp.asarray(detected)
    middle, has_middle = _mean(position[..., jnp.array(HIPS), :], detected[..., jnp.array(HIPS)], axis=2)
    everything, _ = _mean(position, detected, axis=(1, 2))
    median_x = _median(middle[..., 0], has_middle, everything[:, 0])
    median_y = _median(middle[..., 1], has_middle, everything[:, 1])
    fallback = jnp.stack([median_x, median_y], axis=-1)[:, None, :]
    origin = jnp.where(has_middle[..., None], middle, fallback)
    scale = torso_length(position, detected) if torso is None else jnp.asarray(torso)
    return (position - origin[:, :, None, :]) / scale[:, None, None, None]


def _mean(position: Array, detected: Array, axis: int | tuple[int, ...]) -> tuple[Array, Array]:
    """Mean of the detected positions over ``axis`` (0 where there is none), and whether there is any."""
    count = detected.sum(axis=axis)
    total = jnp.where(detected[..., None], position, 0.0).sum(axis=axis)
    return total / jnp.maximum(count, 1)[..., None].astype(position.dtype), count > 0


def _median(values: Array, valid: Array, fallback: Array) -> Array:
    """Median over the second axis of the valid values, ``fallback`` where there is none. [b, t], [b, t], [b] -> [b]."""
    count = valid.sum(axis=1)
    ordered = jnp.sort(jnp.where(valid, values, jnp.inf), axis=1)
    middle = jnp.stack([(count - 1) // 2, count // 2], axis=1)
    two = jnp.take_along_axis(ordered, jnp.maximum(middle, 0), axis=1)
    return jnp.where(count > 0, two.mean(axis=1), fallback)
