"""Convolution and max pooling in the form that runs fastest where they run; the numbers are the same in every form.

On an accelerator a convolution is XLA's own (cuDNN on a GPU). On the CPU that one collapses where a map has few
positions left, as in the last stages of a trunk that is fed small crops: at 4 x 2 positions a 3x3 layer is 10 to 200
times faster as one matrix product over gathered patches, at 32 positions the two are level, and above XLA's wins. A
1x1 convolution is a matrix product throughout. `convolution_form` makes this choice from the backend and static
shapes only.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

FEW_POSITIONS = 16
"""Output positions of an image up to which the CPU gathers patches (measured: XLA collapses at 8 and is level from 12
to 32).
"""

he_normal = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
"""Normal with variance 2 / (kh * kw * d_out): He et al., ICCV 2015, with the fan-out, as torchvision initialises its
ResNets.
"""


def convolution_form(
    backend: str, kernel_size: tuple[int, int], output_positions: int
) -> Literal["convolution", "patches"]:
    """How a convolution is computed on ``backend`` (`jax.default_backend()`).

    ``"convolution"``: XLA's own; always so off the CPU. ``"patches"``: the patches are gathered and multiplied with
    the kernel in one matrix product; on the CPU for 1x1 kernels and where an image has at most `FEW_POSITIONS` output
    positions.
    """
    if backend == "cpu" and (kernel_size == (1, 1) or output_positions <= FEW_POSITIONS):
        return "patches"
    return "convolution"


class Conv(nn.Module):
    """2D convolution without a bias; same parameter (``kernel`` [kh, kw, d_in, d_out]) and same numbers as `nn.Conv`.

    ``strides`` and ``padding`` (zeros, explicit, as PyTorch pads: both sides alike) hold for both axes. ``dtype``: of
    the computation; the kernel is stored in float32. The sum over a patch is taken in another order by each form, so
    results agree to about 1e-6 of their scale.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int = 0
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "n h w d_in"]) -> Float[Array, "n h_out w_out d_out"]:
        """``x`` [N, h, w, d_in] -> [N, (h + 2 padding - kh) // strides + 1, likewise for w, features]."""
        x = jnp.asarray(x)
        kernel = self.param("kernel", he_normal, (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
        height, width = (
            (size + 2 * self.padding - k) // self.strides + 1
            for size, k in zip(x.shape[1:3], self.kernel_size, strict=True)
        )
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        if convolution_form(jax.default_backend(), self.kernel_size, height * width) == "patches":
            return patches_convolution(x, kernel, self.strides, self.padding)
        return xla_convolution(x, kernel, self.strides, self.padding)


def xla_convolution(
    x: Float[ArrayLike, "n h w d_in"], kernel: Float[ArrayLike, "kh kw d_in d_out"], stride: int, padding: int
) -> Float[Array, "n h_out w_out d_out"]:
    """Cross-correlation of ``x``, padded by ``padding`` zeros on every side, with ``kernel``, by XLA's convolution."""
    return jax.lax.conv_general_dilated(
        jnp.asarray(x),
        jnp.asarray(kernel),
        (stride, stride),
        [(padding, padding)] * 2,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
    )


def patches_convolution(
    x: Float[ArrayLike, "n h w d_in"], kernel: Float[ArrayLike, "kh kw d_in d_out"], stride: int, padding: int
) -> Float[Array, "n h_out w_out d_out"]:
    """The same as `xla_convolution`: patches [N, h_out, w_out, kh * kw * d_in] times the kernel as [kh * kw * d_in,
    d_out].
    """
    kernel = jnp.asarray(kernel)
    kernel_height, kernel_width, _, features = kernel.shape
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = x.shape[1] - kernel_height + 1, x.shape[2] - kernel_width + 1
    shifted = [
        x[:, i : i + height : stride, j : j + width : stride] for i in range(kernel_height) for j in range(kernel_width)
    ]
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, features)


def max_pool_3x3(x: Float[ArrayLike, "n h w d"]) -> Float[Array, "n h_out w_out d"]:
    """Maximum over 3x3 windows with stride 2 and padding 1: [N, h, w, d] -> [N, ceil(h / 2), ceil(w / 2), d].

    Taken as maxima of shifted slices, along the height and then along the width, because the gradient of XLA's
    pooling is slow on the CPU (7 times). Departure from PyTorch, in gradients only: where several values of a window
    are equal and largest, they share the gradient, where PyTorch gives it to the first one. After a ReLU most such
    ties are zeros, whose gradient is zero anyhow.
    """
    x = jnp.asarray(x)
    for axis in (1, 2):
        size = x.shape[axis]
        padding = [(0, 0)] * 4
        padding[axis] = (1, 1)
        padded = jnp.pad(x, padding, constant_values=-jnp.inf)
        first, second, third = (
            jax.lax.slice_in_dim(padded, start, start + size, stride=2, axis=axis) for start in range(3)
        )
        x = jnp.maximum(jnp.maximum(first, second), third)
    return x


def max_over_positions(x: Float[ArrayLike, "*n h w d"]) -> Float[Array, "*n d"]:
    """Maximum over a map, [..., h, w, d] -> [..., d]; of equal values the first receives the gradient."""
    x = jnp.asarray(x)
    x = x.reshape(*x.shape[:-3], -1, x.shape[-1])
    # By its position, not by jnp.max: its gradient looks for the value equal to the maximum, and a compiler that
    # computes the values a second time, fused and rounded differently, lets it find none.
    return jnp.take_along_axis(x, x.argmax(axis=-2, keepdims=True), axis=-2)[..., 0, :]
