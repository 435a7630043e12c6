"""Modules of BiCnet-TKS: cross-scale propagation, temporal kernel selection, divided attention.

Hou et al., "BiCnet-TKS: Learning efficient spatial-temporal representation for video person re-identification", CVPR
2021. A clip is cut into groups of four frames: one *detail* frame at full resolution and the three *context* frames
after it at half of it. Detail maps are [B, G, h, w, d] and context maps [B, G, 3, ceil(h / 2), ceil(w / 2), d] for G
groups. Windows start at the map's upper left corner; the last ones are cut off where a size does not divide, so that
maps of any size are accepted and both resolutions fall into the same number of cells.

Decisions: kernels start as PyTorch's convolutions do (uniform, +- fan-in^-1/2). No convolution has a bias: the
released network has some in the attention logits, and the normalisation that follows takes any constant out again.
Attention weights are computed in float32 (float64 for float64 input).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Bool, Float

from rgcn_jax.models.masking import at_least_float32, masked_mean

GROUP = 4
"""Frames of a group: one of detail, three of context."""

STRIPES = 8
"""Horizontal stripes of the divided attention."""

uniform_fan_in = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
"""Uniform between -+ fan-in^-1/2."""


def max_pool_2x2(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n h_out w_out d"]:
    """Maximum over 2x2 windows with stride 2: [..., h, w, d] -> [..., ceil(h / 2), ceil(w / 2), d].

    Of equal values the first receives the gradient, as in PyTorch.
    """
    # Not jnp.max: its gradient looks for the value equal to the maximum, and a compiler that computes the values a
    # second time, fused and rounded differently, lets it find none.
    left, right = jnp.moveaxis(_windows(jnp.asarray(x), 2, -jnp.inf), -2, 0)
    upper, lower = jnp.moveaxis(jnp.where(left >= right, left, right), -3, 0)
    return jnp.where(upper >= lower, upper, lower)


def average_pool(x: Float[ArrayLike, "*n h w d"], size: int) -> Float[Array, "*n h_out w_out d"]:
    """Mean over windows of ``size`` x ``size``, each over the positions that it has: [..., h, w, d] -> [..., ceil(h /
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
    """Every detail frame sends each of its three context frames a message of its own.

    The detail map is max-pooled 2x2 to the context's resolution; a 1x1 convolution, ``message`` [d, 3 d], makes the
    three messages, side by side in the order of the frames, which are added to the context maps.
    """

    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(
        self, detail: Float[ArrayLike, "b g h w d"], context: Float[ArrayLike, "b g 3 h_c w_c d"]
    ) -> Float[Array, "b g 3 h_c w_c d"]:
        """The two resolutions to the new context maps."""
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
    """Convolution over the frames, kernel 3, without a bias, zeros beyond both ends. Parameter ``kernel`` [3, d, d]:
    from the frame ``dilation`` earlier, the frame itself, the frame ``dilation`` later.
    """

    dilation: int
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "b t h w d"]) -> Float[Array, "b t h w d"]:
        """Clips of maps to clips of maps."""
        x = jnp.asarray(x).astype(self.dtype)
        t, d = x.shape[1], x.shape[-1]
        kernel = self.param("kernel", uniform_fan_in, (3, d, d), jnp.float32).astype(self.dtype)
        padded = jnp.pad(x, ((0, 0), (self.dilation, self.dilation), (0, 0), (0, 0), (0, 0)))
        shifted = [padded[:, i * self.dilation : i * self.dilation + t] for i in range(3)]
        return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(3 * d, d)


class TemporalKernelSelection(nn.Module):
    """TKS: the clip as a whole weighs short-term against long-term temporal convolutions, channel by channel.

    Detail maps are averaged over windows of 8x8 and context maps over 4x4 (a grid of 4 x 2 cells at 256 x 128
    pixels), and stand in the order of time. Two convolutions over time, dilation 1 and 2, make two branches; the mean
    of their sum over frames and cells goes through d -> d / 16 (BatchNorm, ReLU) -> 2 d and a softmax between the
    branches, and their weighted sum is spread over the windows again (nearest neighbour), normalised and added to the
    maps. The last BatchNorm, shared by both resolutions and updated by detail, then context, starts at gamma = beta =
    0: the module begins as the identity.

    Frames that do not count are zeros before the convolutions, as the padding is, and left out of the mean.
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
        """Both resolutions and the frames that count (t = 4 g) to the new maps of both."""
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
        squeezed = nn.relu(self._norm("squeeze_norm")(squeezed, use_running_average=not train))
        scores = nn.Dense(2 * d, use_bias=False, kernel_init=uniform_fan_in, name="select")(squeezed).reshape(b, 2, d)
        weights = jax.nn.softmax(scores, axis=1)[:, :, None, None, None]
        selected = (weights[:, 0] * short + weights[:, 1] * long).reshape(cells.shape)
        norm = self._norm("norm", nn.initializers.zeros)
        # Two statements: the order in which the running statistics are updated.
        to_detail = norm(_spread(selected[:, :, 0], 8, detail), use_running_average=not train)
        to_context = norm(_spread(selected[:, :, 1:], 4, context), use_running_average=not train)
        return detail + to_detail.astype(detail.dtype), context + to_context.astype(context.dtype)

    def _norm(self, name: str, scale_init: nn.initializers.Initializer = nn.initializers.ones) -> nn.BatchNorm:
        return nn.BatchNorm(momentum=0.9, epsilon=1e-5, scale_init=scale_init, axis_name=self.axis_name, name=name)


def _spread(cells: Array, size: int, like: Array) -> Array:
    """Every cell repeated over its window of ``size`` x ``size``, cut to the map ``like``."""
    h, w = like.shape[-3:-1]
    return jnp.repeat(jnp.repeat(cells, size, axis=-3), size, axis=-2)[..., :h, :w, :]


class DividedAttention(nn.Module):
    """DAO: the frames of a group attend to different horizontal stripes of the body.

    The detail map is averaged over 2x2 windows to the context's resolution, and all maps over their width and over the
    rows of 8 stripes (`stripe_means`). The stripes' weights are a softmax of, for the detail frame and the first
    context frame, the mean over the channels; for the second and the third, a learned projection to one number
    (``score2``, ``score3``), mixed across the stripes by an 8x8 matrix (``mix2``, ``mix3``) and BatchNorm. The
    weighted sum of the stripes, a vector a frame, goes through a BatchNorm of its kind of frame (``norm0`` detail,
    ``norm1`` ... ``norm3`` context) with gamma = beta = 0 at the start, so that the module begins as the identity, and
    is added to every position of the frame's map.
    """

    axis_name: str | None = None

    @nn.compact
    def __call__(
        self,
        detail: Float[ArrayLike, "b g h w d"],
        context: Float[ArrayLike, "b g 3 h_c w_c d"],
        train: bool,
    ) -> tuple[Float[Array, "b g h w d"], Float[Array, "b g 3 h_c w_c d"], Float[Array, "b g 3 stripes"]]:
        """Both resolutions to the new maps of both, and the stripes' weights of the context frames."""
        detail, context = jnp.asarray(detail), jnp.asarray(context)
        maps = [average_pool(detail, 2), *(at_least_float32(context[:, :, i]) for i in range(GROUP - 1))]
        vectors, masks = [], []
        for i, x in enumerate(maps):
            stripes = stripe_means(x)
            if i < 2:
                logits = stripes.mean(axis=-1)
            else:
                logits = nn.Dense(1, use_bias=False, kernel_init=uniform_fan_in, name=f"score{i}")(stripes)[..., 0]
                logits = nn.Dense(STRIPES, use_bias=False, kernel_init=uniform_fan_in, name=f"mix{i}")(logits)
                logits = self._norm(f"mix_norm{i}", train, nn.initializers.ones)(logits)
            masks.append(jax.nn.softmax(logits, axis=-1))
            vector = (masks[-1][..., None] * stripes).sum(axis=-2)
            vectors.append(self._norm(f"norm{i}", train, nn.initializers.zeros)(vector)[:, :, None, None])
        to_detail, to_context = vectors[0], jnp.stack(vectors[1:], axis=2)
        return (
            detail + to_detail.astype(detail.dtype),
            context + to_context.astype(context.dtype),
            jnp.stack(masks[1:], axis=2),
        )

    def _norm(self, name: str, train: bool, scale_init: nn.initializers.Initializer) -> nn.BatchNorm:
        return nn.BatchNorm(
            use_running_average=not train,
            momentum=0.9,
            epsilon=1e-5,
            scale_init=scale_init,
            axis_name=self.axis_name,
            name=name,
        )


def stripe_means(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n stripes d"]:
    """Means over 8 horizontal stripes. Stripe i of h rows is rows floor(i h / 8) to ceil((i + 1) h / 8), the end not
    included: a row each at 8 rows (256 x 128 pixels), overlapping where 8 does not divide h, the same row several
    times where there are fewer.
    """
    rows = at_least_float32(x).mean(axis=-2)
    h = rows.shape[-2]
    return jnp.stack(
        [rows[..., i * h // STRIPES : -(-(i + 1) * h // STRIPES), :].mean(axis=-2) for i in range(STRIPES)], axis=-2
    )


def diversity_loss(masks: Float[ArrayLike, "b g 3 stripes"], counts: Bool[ArrayLike, "b g 3"]) -> Float[Array, ""]:
    """How far the context frames of a group attend to the same stripes, from 0 (disjoint) to sqrt(2) / 4 (equal).

    For two frames with weights p and q: the Gram matrix of sqrt(p) and sqrt(q), minus the identity, in the Frobenius
    norm, divided by 4. As weights sum to 1 its diagonal is 0, which leaves sqrt(2) / 4 * sum_k sqrt(p_k q_k), and so it
    is computed. Mean over the pairs of a clip's groups, then over the clips. The weights of the first frame receive no
    gradient.

    ``masks``: the weights, a distribution over the stripes. ``counts``: the frames that count; pairs of others are left
    out, and a clip without any pair adds 0.
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
