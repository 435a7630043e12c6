"""Modules of BiCnet-TKS: cross-scale propagation, temporal kernel selection, divided attention.

Hou et al., "BiCnet-TKS: Learning efficient spatial-temporal representation for video person re-identification", CVPR
2021. A clip is divided into groups of four frames: one *detail* frame at full resolution and the next three, *context*
frames, at half resolution. Detail maps are [B, G, h, w, d] and context maps [B, G, 3, ceil(h / 2), ceil(w / 2), d] for
G groups. Pooling windows start at the upper left corner of the map, and the last ones are truncated, so that maps of
any size are accepted and both resolutions have the same number of cells.

Decisions: kernels are initialised as in PyTorch (uniform, +- fan-in^-1/2). Convolutions have no bias: the released
network has some in the attention logits, where the following normalisation cancels them. Attention weights are computed
in float32 (float64 for float64 input).
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32, masked_mean
from rgcn_jax.models.resnet import PLAIN_NORM

GROUP = 4
"""Frames per group: one detail and three context frames."""

STRIPES = 8
"""Number of horizontal stripes of the divided attention."""

uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform in +- fan-in^-1/2."""


def max_pool_2x2(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n h_out w_out d"]:
    """Maximum over 2x2 windows with stride 2: [..., h, w, d] -> [..., ceil(h / 2), ceil(w / 2), d].

    The first of several equal maxima receives the gradient, as in PyTorch.
    """
    # Not jnp.max: its gradient searches for the value equal to the maximum, which fails if a compiler recomputes the
    # values with different rounding.
    left, right = jnp.moveaxis(_windows(jnp.asarray(x), 2, -jnp.inf), -2, 0)
    upper, lower = jnp.moveaxis(jnp.where(left >= right, left, right), -3, 0)
    return jnp.where(upper >= lower, upper, lower)


def average_pool(x: Float[ArrayLike, "*n h w d"], size: int) -> Float[Array, "*n h_out w_out d"]:
    """Average pooling over windows of ``size`` x ``size``, truncated at the edges: [..., h, w, d] -> [..., ceil(h /
    size), ceil(w / size), d].
    """
    x = at_least_float32(x)
    inside = jnp.ones((*x.shape[-3:-1], 1), x.dtype)
    return _windows(x, size, 0.0).sum(axis=(-4, -2)) / _windows(inside, size, 0.0).sum(axis=(-4, -2))


def _windows(x: Array, size: int, fill: float) -> Array:
    """[..., h, w, d] -> [..., ceil(h / size), size, ceil(w / size), size, d]."""
    h, w, d = x.shape[-3:]
    rows, columns = -(-h // size), -(-w // size)
    margins = [(0, 0)] * (x.ndim - 3) + [(0, rows * size - h), (0, columns * size - w), (0, 0)]
    return jnp.pad(x, margins, constant_values=fill).reshape(*x.shape[:-3], rows, size, columns, size, d)


class CrossScalePropagation(nn.Module):
    """Cross-scale propagation: every detail frame adds a separate message to each of its three context frames.

    The detail map is max-pooled 2x2 to the context's resolution. A 1x1 convolution, ``message`` [d, 3 d], computes the
    three messages, concatenated in the order of the frames.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, detail: Float[ArrayLike, "b g h w d"], context: Float[ArrayLike, "b g 3 h_c w_c d"]
    ) -> Float[Array, "b g 3 h_c w_c d"]:
        """Maps of both resolutions to the new context maps."""
        context, pooled = jnp.asarray(context), max_pool_2x2(detail)
        messages = nn.Dense(
            (GROUP - 1) * pooled.shape[-1],
            use_bias=False,
            kernel_init=uniform_fan_in,
            dtype=self.dtype,
            name="message",
        )(pooled)
        messages = messages.reshape(*pooled.shape[:-1], GROUP - 1, pooled.shape[-1])
        return context + jnp.moveaxis(messages, -2, 2)


class TemporalConv(nn.Module):
    """Convolution over the frames with kernel size 3 and zero padding, without bias.

    Parameter ``kernel`` [3, d, d]: for the frame ``dilation`` earlier, the frame itself, and the frame ``dilation``
    later.
    """

    dilation: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "b t h w d"]) -> Float[Array, "b t h w d"]:
        """Maps of a clip to maps of the same shape."""
        x = jnp.asarray(x).astype(self.dtype)
        t, d = x.shape[1], x.shape[-1]
        kernel = self.param("kernel", uniform_fan_in, (3, d, d), jnp.float32).astype(self.dtype)
        padded = jnp.pad(x, ((0, 0), (self.dilation, self.dilation), (0, 0), (0, 0), (0, 0)))
        shifted = [padded[:, i * self.dilation : i * self.dilation + t] for i in range(3)]
        return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(3 * d, d)


class TemporalKernelSelection(nn.Module):
    """Temporal kernel selection (TKS): channel-wise weighting of short-term and long-term temporal convolutions.

    Detail maps are averaged over 8x8 windows and context maps over 4x4 (a grid of 4 x 2 cells at 256 x 128 pixels), and
    ordered by time. Two temporal convolutions with dilations 1 and 2 form two branches. The mean of their sum over
    frames and cells passes through d -> d / 16 (BatchNorm, ReLU) -> 2 d and a softmax over the branches. Their weighted
    sum is upsampled to the windows (nearest neighbour), normalised and added to the maps. The last BatchNorm, shared by
    both resolutions and updated by detail, then context, is initialised with gamma = beta = 0, so that the module is
    initially the identity.

    Invalid frames are zeroed before the convolutions, like padding, and excluded from the mean.
    """

    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        detail: Float[ArrayLike, "b g h w d"],
        context: Float[ArrayLike, "b g 3 h_c w_c d"],
        counts: Bool[ArrayLike, "b t"],
        train: bool,
    ) -> tuple[Float[Array, "b g h w d"], Float[Array, "b g 3 h_c w_c d"]]:
        """Maps of both resolutions and mask of valid frames (t = 4 g) to the new maps of both."""
        detail, context = jnp.asarray(detail), jnp.asarray(context)
        b, g, d = *detail.shape[:2], detail.shape[-1]
        cells = jnp.concatenate([average_pool(detail, 8)[:, :, None], average_pool(context, 4)], axis=2)
        clip = cells.reshape(b, g * GROUP, *cells.shape[3:])
        clip = jnp.where(jnp.asarray(counts)[..., None, None, None], clip, 0.0)
        short, long = (
            TemporalConv(dilation, self.dtype, name=f"dilation{dilation}")(clip).astype(clip.dtype)
            for dilation in (1, 2)
        )
        squeezed = nn.Dense(max(d // 16, 1), use_bias=False, kernel_init=uniform_fan_in, name="squeeze")(
            masked_mean(short + long, counts).mean(axis=(1, 2))
        )
        batch_norm = partial(PLAIN_NORM, use_running_average=not train, axis_name=self.axis_name)
        squeezed = nn.relu(batch_norm(name="squeeze_norm")(squeezed))
        scores = nn.Dense(2 * d, use_bias=False, kernel_init=uniform_fan_in, name="select")(squeezed).reshape(b, 2, d)
        weights = jax.nn.softmax(scores, axis=1)[:, :, None, None, None]
        selected = (weights[:, 0] * short + weights[:, 1] * long).reshape(cells.shape)
        norm = batch_norm(scale_init=nn.initializers.zeros, name="norm")
        # Separate statements fix the order in which the running statistics are updated.
        to_detail = norm(_spread(selected[:, :, 0], 8, detail))
        to_context = norm(_spread(selected[:, :, 1:], 4, context))
        return detail + to_detail.astype(detail.dtype), context + to_context.astype(context.dtype)


def _spread(cells: Array, size: int, like: Array) -> Array:
    """Repeat every cell over its window of ``size`` x ``size``, cropped to the map ``like``."""
    h, w = like.shape[-3:-1]
    return jnp.repeat(jnp.repeat(cells, size, axis=-3), size, axis=-2)[..., :h, :w, :]


class DividedAttention(nn.Module):
    """Divided attention operation (DAO): the frames of a group attend to different horizontal stripes of the body.

    The detail map is averaged over 2x2 windows to the context's resolution, and all maps over their width and over the
    rows of 8 stripes (`stripe_means`). Stripe weights are a softmax of logits: for the detail frame and the first
    context frame, the mean over channels; for the second and third, a learned projection to a scalar (``score2``,
    ``score3``), mixed across stripes by an 8x8 matrix (``mix2``, ``mix3``) and BatchNorm. The weighted sum of the
    stripes, one vector per frame, passes through a BatchNorm for its position in the group (``norm0`` detail, ``norm1``
    ... ``norm3`` context), initialised with gamma = beta = 0 so that the module is initially the identity, and is added
    to every position of the frame's map.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        detail: Float[ArrayLike, "b g h w d"],
        context: Float[ArrayLike, "b g 3 h_c w_c d"],
        train: bool,
    ) -> tuple[Float[Array, "b g h w d"], Float[Array, "b g 3 h_c w_c d"], Float[Array, "b g 3 stripes"]]:
        """Maps of both resolutions to the new maps of both, and the stripe weights of the context frames."""
        detail, context = jnp.asarray(detail), jnp.asarray(context)
        maps = [average_pool(detail, 2), *(at_least_float32(context[:, :, i]) for i in range(GROUP - 1))]
        norm = partial(PLAIN_NORM, use_running_average=not train, axis_name=self.axis_name)
        vectors, masks = [], []
        for i, x in enumerate(maps):
            stripes = stripe_means(x)
            if i < 2:
                logits = stripes.mean(axis=-1)
            else:
                logits = nn.Dense(1, use_bias=False, kernel_init=uniform_fan_in, name=f"score{i}")(stripes)[..., 0]
                logits = nn.Dense(STRIPES, use_bias=False, kernel_init=uniform_fan_in, name=f"mix{i}")(logits)
                logits = norm(name=f"mix_norm{i}")(logits)
            masks.append(jax.nn.softmax(logits, axis=-1))
            vector = (masks[-1][..., None] * stripes).sum(axis=-2)
            vector = norm(scale_init=nn.initializers.zeros, name=f"norm{i}")(vector)
            vectors.append(vector[:, :, None, None])
        to_detail, to_context = vectors[0], jnp.stack(vectors[1:], axis=2)
        return (
            detail + to_detail.astype(detail.dtype),
            context + to_context.astype(context.dtype),
            jnp.stack(masks[1:], axis=2),
        )


def stripe_means(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n stripes d"]:
    """Means over 8 horizontal stripes: stripe i of h rows has the rows floor(i h / 8) to ceil((i + 1) h / 8) - 1.

    One row each for 8 rows (256 x 128 pixels); stripes overlap if 8 does not divide h, and repeat rows if h < 8.
    """
    rows = at_least_float32(x).mean(axis=-2)
    h = rows.shape[-2]
    return jnp.stack(
        [rows[..., i * h // STRIPES : -(-(i + 1) * h // STRIPES), :].mean(axis=-2) for i in range(STRIPES)], axis=-2
    )


def diversity_loss(masks: Float[ArrayLike, "b g 3 stripes"], counts: Bool[ArrayLike, "b g 3"]) -> Float[Array, ""]:
    """Overlap of the stripes that the context frames of a group attend to, from 0 (disjoint) to sqrt(2) / 4 (equal).

    For two frames with weights p and q: the Frobenius norm of the Gram matrix of sqrt(p) and sqrt(q) minus the
    identity, divided by 4. Since weights sum to 1, this is sqrt(2) / 4 * sum_k sqrt(p_k q_k). Averaged over the pairs
    within the groups of a clip, then over clips. The weights of the first frame receive no gradient.

    ``masks``: weights, a distribution over the stripes. ``counts``: valid frames; pairs with invalid ones are ignored,
    and a clip without any pair contributes 0.
    """
    masks, counts = jnp.asarray(masks), jnp.asarray(counts)
    # The bound keeps the gradient at an underflowing weight finite.
    roots = jnp.sqrt(jnp.maximum(masks, 1e-24))
    roots = jnp.concatenate([jax.lax.stop_gradient(roots[:, :, :1]), roots[:, :, 1:]], axis=2)
    first, second = jnp.array([0, 0, 1]), jnp.array([1, 2, 2])
    overlap = (roots[:, :, first] * roots[:, :, second]).sum(axis=-1)
    both = counts[:, :, first] & counts[:, :, second]
    clips = jnp.where(both, overlap, 0.0).sum(axis=(1, 2)) / jnp.maximum(both.sum(axis=(1, 2)), 1)
    return 2**0.5 / 4 * clips.mean()
