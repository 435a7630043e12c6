"""Input X of the pose encoders, computed from keypoints (section III-C1 of the paper).

The paper only states "2D position". Its literal reading, "crop", mixes the pose with the position of the person in the
crop; "centred" (decision) removes position and size, and learns far better. Confidence, velocity and bones are
additions that are not in the paper. Pure functions with static shapes.
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
"""Optional channels of a mode in addition to the position: one, two and two."""

NECK, HIPS = 1, (8, 11)

TYPICAL_TORSO = 0.3
"""Torso length in crop heights of a standing person who fills the crop: the scale of a clip without any torso."""

MIN_TORSO = 0.05
"""Minimum torso length, in crop heights; shorter ones are detection errors and do not affect the scale."""


def parse_mode(mode: str) -> tuple[str, tuple[str, ...]]:
    """Split a mode into position and additions: "centred+velocity" -> ("centred", ("velocity",)).

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
    """Mask of keypoints that were detected in valid frames."""
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
    """X of eq. 4-8. Undetected keypoints and masked frames are 0 in every channel.

    Args:
      keypoints: x and y in normalised coordinates of the crop, in [0, 1], and confidence, 0 where not detected.
      mode: "crop", x and y as they are, or "centred", see ``centre``; followed by any of the following, in the order of
        the channels: "+confidence"; "+velocity", the difference to the position in the previous frame, 0 if either is
        missing and in the first frame; "+bones", the difference to the position of the parent keypoint
        (``skeleton.PARENTS``), 0 if either is missing and for the neck.
      aspect: width of the crop over its height, in pixels. Not used by "crop".
      mask: False for frames that pad a clip, which do not affect the others. None: all frames are valid.
      fill: whether to estimate the position of undetected keypoints by ``fill_gaps``, after centring. Velocities and
        bones then use the filled positions; the confidence stays 0.
      torso: for "centred", the torso length in crop heights to divide by; None: that of the clip (``torso_length``).

    Returns:
      X in float32 (float64 for float64 keypoints), always finite: in normalised coordinates of the crop for "crop", in
      torso lengths for "centred". Velocities are per frame of the clip, whatever the time between two frames.

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
    """Fill gaps of each keypoint in a clip: by linear interpolation inside, by the nearest value at the ends.

    Values are ignored where not ``seen``. Frames that pad a clip (``mask`` False; None: none) are neither read nor
    filled. Returns x, 0 where nothing can be filled in, and its mask: all valid frames of keypoints that are seen at
    least once.
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
    """Position minus the other one; 0 if either is missing."""
    return jnp.where(detected & other(detected), position - other(position), 0.0)


def _frame_before(x: Array) -> Array:
    """Values of the previous frame; 0 before the first."""
    return jnp.pad(x[:, :-1], ((0, 0), (1, 0), (0, 0), (0, 0)))


def torso_length(position: Float[ArrayLike, "b t 14 2"], detected: Bool[ArrayLike, "b t 14"]) -> Float[Array, "b"]:
    """The scale of ``centre``: median torso length of each clip, in the units of the positions."""
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
    """Positions relative to the midpoint of the hips in the same frame, divided by the torso length of the clip.

    The origin of a frame is the midpoint of its hips, or its only detected hip. A frame without hips takes the median
    origin of the other frames; a clip without any hip takes the mean of all its detected keypoints. The scale is the
    median distance from the neck to the origin, over the frames that show the neck and a hip and where it is at least
    ``MIN_TORSO``; ``TYPICAL_TORSO`` if there is no such frame. The median of an even number of values is the mean of
    the middle two. The scale is the same for both coordinates and all keypoints.

    Args:
      position: x and y in units of the crop's height, so that the two are comparable.
      detected: mask of valid positions; the others are neither read nor set to 0.
      torso: the scale, in the same units; None: ``torso_length``.
    """
    position, detected = jnp.asarray(position), jnp.asarray(detected)
    middle, has_middle = _mean(position[..., jnp.array(HIPS), :], detected[..., jnp.array(HIPS)], axis=2)
    everything, _ = _mean(position, detected, axis=(1, 2))
    medians = [_median(middle[..., i], has_middle, everything[:, i]) for i in (0, 1)]
    fallback = jnp.stack(medians, axis=-1)[:, None, :]
    origin = jnp.where(has_middle[..., None], middle, fallback)
    scale = torso_length(position, detected) if torso is None else jnp.asarray(torso)
    return (position - origin[:, :, None, :]) / scale[:, None, None, None]


def _mean(position: Array, detected: Array, axis: int | tuple[int, ...]) -> tuple[Array, Array]:
    """Mean of the detected positions over ``axis`` (0 if there are none), and whether there are any."""
    count = detected.sum(axis=axis)
    total = jnp.where(detected[..., None], position, 0.0).sum(axis=axis)
    return total / jnp.maximum(count, 1)[..., None].astype(position.dtype), count > 0


def _median(values: Array, valid: Array, fallback: Array) -> Array:
    """Median over the second axis of the valid values, else ``fallback``. [b, t], [b, t], [b] -> [b]."""
    count = valid.sum(axis=1)
    ordered = jnp.sort(jnp.where(valid, values, jnp.inf), axis=1)
    middle = jnp.stack([(count - 1) // 2, count // 2], axis=1)
    two = jnp.take_along_axis(ordered, jnp.maximum(middle, 0), axis=1)
    return jnp.where(count > 0, two.mean(axis=1), fallback)
