"""ResNet-50, the default frame encoder of the appearance branch.

Method (section 2): He et al., CVPR 2016, in torchvision's v1.5 variant (the stride of a bottleneck is in its 3x3
convolution, not in the first 1x1), with ImageNet weights from `rgcn_jax.models.pretrained`. Submodules have
torchvision's names (``conv1``, ``bn1``, ``layer1_0`` ... with ``downsample_conv`` and ``downsample_bn``), so that
weights only have to be renamed.

With the same weights, features agree with PyTorch to 1e-5 of their scale in float32; in float64 and training mode,
features agree to 1e-10 and gradients to 1e-7 (tests/models). On a GPU this requires `jax_default_matmul_precision`
"highest", since float32 may be multiplied in TF32.

Two departures from PyTorch: the running variance is updated with the biased batch variance (as in Flax), unless
`rgcn_jax.models.running_variance` is used; features are the same for the same weights and statistics. For ties in a
pooling window see `rgcn_jax.models.pooling.max_pool_3x3`.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from rgcn_jax.models.masking import at_least_float32
from rgcn_jax.models.pooling import max_over_positions, max_pool_3x3

EXPANSION = 4
"""Output channels of a bottleneck, as a multiple of its inner width."""

POOLINGS = ("mean", "max")

REMAT = ("none", "blocks")
"""Rematerialisation: recompute nothing, or everything in a block but its input, in the backward pass."""

PLAIN_CONV = partial(nn.Conv, use_bias=False)

PLAIN_NORM = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
"""torchvision's epsilon and momentum (its 0.1 is the weight of the new value, Flax's 0.9 that of the old)."""

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal with variance 2 / (kh * kw * d_out), as in torchvision: He et al., ICCV 2015, with the fan-out."""


class Bottleneck(nn.Module):
    """A residual block: relu(x' + bn(1x1(relu(bn(3x3(relu(bn(1x1(x)))))))), where x' is x, or its projection if the
    shape changes.

    ``width``: inner channels; the output has ``4 * width``. ``stride``: stride of the 3x3 convolution and the
    projection. ``conv``, ``norm``: as for `ResNet50`, with kernel_init, dtype and axis_name already set.
    """

    width: int
    stride: int
    conv: Callable[..., Any]
    norm: Callable[..., Any]

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "n h w d_in"], train: bool) -> Float[Array, "n h_out w_out d_out"]:
        """``x`` [N, h, w, d_in] -> [N, ceil(h / stride), ceil(w / stride), 4 * width]."""
        x = jnp.asarray(x)
        conv, norm, features = self.conv, partial(self.norm, use_running_average=not train), EXPANSION * self.width
        y = conv(self.width, (1, 1), name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = conv(self.width, (3, 3), strides=self.stride, padding=1, name="conv2")(y)
        y = nn.relu(norm(name="bn2")(y))
        y = conv(features, (1, 1), name="conv3")(y)
        y = norm(name="bn3")(y)
        if self.stride != 1 or x.shape[-1] != features:
            x = conv(features, (1, 1), strides=self.stride, name="downsample_conv")(x)
            x = norm(name="downsample_bn")(x)
        return nn.relu(x + y)


class ResNet50(nn.Module):
    """Residual network of bottleneck blocks; ResNet-50 by default, smaller for tests and demonstrations.

    ``stage_sizes``: number of blocks in each stage. ``width``: channels of the stem and inner width of the first stage;
    it doubles with every stage, so a feature has D = 4 * width * 2^(stages - 1) dimensions (2048). ``last_stride``:
    stride of the last of several stages, 1 or 2; 1, as usual in re-identification, doubles the resolution of the last
    map without changing the weights. ``pooling``: over the positions of the last map, "mean" (the paper) or "max".
    ``dtype``: data type of the computation; parameters and batch statistics are always float32. ``remat``: one of
    `REMAT`, for less memory and more time in training, with the same values. ``axis_name``: mesh axis over which
    BatchNorm's batch statistics are averaged in training under ``shard_map``; no effect in evaluation. ``conv``,
    ``norm``: constructors of a convolution without bias and of a normalisation, called like `nn.Conv` and
    `nn.BatchNorm`.

    Raises ValueError if ``last_stride``, ``pooling`` or ``remat`` is invalid, or the images are not floats with three
    channels.
    """

    stage_sizes: Sequence[int] = (3, 4, 6, 3)
    width: int = 64
    last_stride: int = 1
    pooling: str = "mean"
    remat: str = "none"
    dtype: DTypeLike = jnp.float32
    axis_name: str | None = None
    conv: Callable[..., Any] = PLAIN_CONV
    norm: Callable[..., Any] = PLAIN_NORM

    def __call__(self, images: Float[ArrayLike, "n h w 3"], train: bool) -> Float[Array, "n d"]:
        """Feature of every image: the pooled `feature_map`.

        ``images`` [N, H, W, 3]: RGB, normalised by ImageNet's mean and standard deviation. ``train``: whether to
        normalise by batch statistics and update the running ones (collection ``batch_stats`` must be mutable).
        """
        return self.pool(self.feature_map(images, train))

    def pool(self, feature_map: Float[ArrayLike, "n h w d"]) -> Float[Array, "n d"]:
        """Mean or maximum of a map over its positions, in float32 at least."""
        feature_map = jnp.asarray(feature_map)
        if self.pooling == "max":
            return at_least_float32(max_over_positions(feature_map))
        return jnp.mean(feature_map, axis=(1, 2), dtype=jnp.promote_types(feature_map.dtype, jnp.float32))

    def feature_map(self, images: Float[ArrayLike, "n h w 3"], train: bool) -> Float[Array, "n h_map w_map d"]:
        """The map before pooling: [N, H / 16, W / 16, D] with four stages and ``last_stride`` 1 (else H / 32), rounded
        up.
        """
        x = self.stem(images, train)
        for stage in range(len(self.stage_sizes)):
            x = self.stage(stage, x, train)
        return x

    def setup(self):
        """Create the submodules; those in a list are named ``layer1_0``, ``layer1_1`` ..."""
        if self.last_stride not in (1, 2):
            raise ValueError(f"last_stride is {self.last_stride}: expected 1 or 2")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is {self.pooling!r}: expected one of {', '.join(POOLINGS)}")
        if self.remat not in REMAT:
            raise ValueError(f"remat is {self.remat!r}: expected one of {', '.join(REMAT)}")
        conv = partial(self.conv, kernel_init=he_normal, dtype=self.dtype)
        norm = partial(self.norm, dtype=self.dtype, axis_name=self.axis_name)
        self.conv1 = conv(self.width, (7, 7), strides=2, padding=3)
        self.bn1 = norm()
        bottleneck = nn.remat(Bottleneck, static_argnums=(2,)) if self.remat == "blocks" else Bottleneck
        for stage, blocks in enumerate(self.stage_sizes):
            stride = 1 if stage == 0 else self.last_stride if stage == len(self.stage_sizes) - 1 else 2
            layer = [
                bottleneck(self.width * 2**stage, stride if block == 0 else 1, conv, norm) for block in range(blocks)
            ]
            setattr(self, f"layer{stage + 1}", layer)

    def stem(self, images: Float[ArrayLike, "n h w 3"], train: bool) -> Float[Array, "n h_map w_map d"]:
        """Layers before the first stage: [N, H, W, 3] -> [N, H / 4, W / 4, width], rounded up."""
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"expected images as normalised floats [N, H, W, 3], found {images.dtype}{list(images.shape)}"
            )

        def compute(module: "ResNet50", images: Array) -> Array:
            return max_pool_3x3(nn.relu(module.bn1(module.conv1(images), use_running_average=not train)))

        return nn.remat(compute)(self, images) if self.remat == "blocks" else compute(self, images)

    def stage(self, index: int, x: Float[ArrayLike, "n h w d_in"], train: bool) -> Float[Array, "n h_out w_out d_out"]:
        """Apply stage ``index`` (from 0); each call normalises by its own batch statistics and updates the running
        ones.
        """
        for block in getattr(self, f"layer{index + 1}"):
            x = block(x, train)
        return jnp.asarray(x)
