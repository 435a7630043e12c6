"""ResNet-50, the trunk of the appearance branch: frames -> one feature each.

Method (section 2): He et al., CVPR 2016, in the form that torchvision calls v1.5 (the stride of a bottleneck sits in
its 3x3 convolution, not in the first 1x1), with ImageNet weights from `rgcn_jax.models.pretrained`. Submodules carry
torchvision's names (``conv1``, ``bn1``, ``layer1_0`` ... with ``downsample_conv`` and ``downsample_bn``), so that the
mapping of weights is a renaming.

From the same weights it agrees with PyTorch to 1e-5 of the features' scale in float32; in float64 and training mode
features agree to 1e-10 and gradients to 1e-7 (tests/models). A GPU may multiply float32 numbers in TF32 unless
`jax_default_matmul_precision` is "highest"; such agreement needs that.

Two departures from PyTorch. The running variance is updated with the batch's biased variance (Flax), where PyTorch uses
the unbiased one, unless training asks for that (`rgcn_jax.models.running_variance`); features of the same weights and
statistics are the same. Where several values of a pooling window are equal and largest, see
`rgcn_jax.models.pooling.max_pool_3x3`.
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
"""A bottleneck's output channels, as a multiple of its inner width."""

POOLINGS = ("mean", "max")

REMAT = ("none", "blocks")
"""Rematerialisation, what the backward pass computes again instead of keeping it: nothing, or all of a block but its
input.
"""

PLAIN_CONV = partial(nn.Conv, use_bias=False)

PLAIN_NORM = partial(nn.BatchNorm, momentum=0.9, epsilon=1e-5)
"""torchvision's epsilon and momentum (whose 0.1 is the weight of the new value, where Flax's is that of the old)."""

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal with variance 2 / (kh * kw * d_out): He et al., ICCV 2015, with the fan-out, as torchvision initialises its
ResNets.
"""


class Bottleneck(nn.Module):
    """A residual block: relu(x' + bn(1x1(relu(bn(3x3(relu(bn(1x1(x)))))))), x' = x or its projection where the shape
    changes.

    ``width``: inner channels; the output has ``4 * width``. ``stride``: of the 3x3 convolution and the projection.
    ``conv``, ``norm``: as `ResNet50`'s, with kernel_init, dtype and axis_name set already.
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
    """Residual network of bottlenecks; ResNet-50 by default, smaller for tests and demonstrations.

    ``stage_sizes``: blocks of each stage. ``width``: channels of the stem and inner width of the first stage; it
    doubles with every stage, so a feature has D = 4 * width * 2^(stages - 1) dimensions (2048). ``last_stride``: 1 or
    2, the stride of the last of several stages; 1 keeps a map twice as fine (method: the field's convention for
    re-identification), the weights are the same. ``pooling``: over the positions of the last map, "mean" (the paper) or
    "max". ``dtype``: of the computation; parameters and batch statistics are float32 in any case. ``remat``: one of
    `REMAT`, in training; the values are the same, with less memory and more time. ``axis_name``: mesh axis over which
    BatchNorm's batch statistics are averaged in training under ``shard_map``; without effect in evaluation. ``conv``,
    ``norm``: what makes a convolution without a bias and a normalisation, called as `nn.Conv` and `nn.BatchNorm`.

    Raises ValueError where ``last_stride`` is neither 1 nor 2, ``pooling`` or ``remat`` is unknown, or the images are
    not floats with three channels.
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
        """Feature of every image: `feature_map`, pooled.

        ``images`` [N, H, W, 3]: RGB, ImageNet mean and standard deviation already applied. ``train``: normalise by
        the batch's statistics and update the running ones (collection ``batch_stats`` must be mutable), instead of
        using the latter.
        """
        return self.pool(self.feature_map(images, train))

    def pool(self, feature_map: Float[ArrayLike, "n h w d"]) -> Float[Array, "n d"]:
        """The mean, or the maximum, of a map over its positions, in float32 at least."""
        feature_map = jnp.asarray(feature_map)
        if self.pooling == "max":
            return at_least_float32(max_over_positions(feature_map))
        return jnp.mean(feature_map, axis=(1, 2), dtype=jnp.promote_types(feature_map.dtype, jnp.float32))

    def feature_map(self, images: Float[ArrayLike, "n h w 3"], train: bool) -> Float[Array, "n h_map w_map d"]:
        """The map before pooling, [N, H / 16, W / 16, D] with four stages and ``last_stride`` 1 (else H / 32),
        rounded up.
        """
        x = self.stem(images, train)
        for stage in range(len(self.stage_sizes)):
            x = self.stage(stage, x, train)
        return x

    def setup(self):
        """Names the submodules; those of a list are numbered: ``layer1_0``, ``layer1_1`` ..."""
        if self.last_stride not in (1, 2):
            raise ValueError(f"last_stride is 1 or 2, not {self.last_stride}")
        if self.pooling not in POOLINGS:
            raise ValueError(f"pooling is one of {', '.join(POOLINGS)}, not {self.pooling!r}")
        if self.remat not in REMAT:
            raise ValueError(f"remat is one of {', '.join(REMAT)}, not {self.remat!r}")
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
        """What comes before the first stage: [N, H, W, 3] -> [N, H / 4, W / 4, width], rounded up."""
        images = jnp.asarray(images)
        if images.ndim != 4 or images.shape[-1] != 3 or not jnp.issubdtype(images.dtype, jnp.floating):
            raise ValueError(
                f"the images must be normalised floats [N, H, W, 3]; found {images.dtype}{list(images.shape)}"
            )

        def compute(module: "ResNet50", images: Array) -> Array:
            return max_pool_3x3(nn.relu(module.bn1(module.conv1(images), use_running_average=not train)))

        return nn.remat(compute)(self, images) if self.remat == "blocks" else compute(self, images)

    def stage(self, index: int, x: Float[ArrayLike, "n h w d_in"], train: bool) -> Float[Array, "n h_out w_out d_out"]:
        """Stage ``index`` (from 0) on a map; called twice, it normalises each batch by its own statistics and updates
        the running ones twice.
        """
        for block in getattr(self, f"layer{index + 1}"):
            x = block(x, train)
        return jnp.asarray(x)
