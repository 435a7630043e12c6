"""2D convolution for the CPU: XLA's own, gathered patches or matrix products, whichever is fastest for the shapes.

`convolution_form` and `input_gradient_form` choose from static shapes only. ``python -m benchmarks.convolution_forms``
times every choice.

- A 1x1 convolution is a matrix product.
- XLA's convolution is slow on maps with few positions, as in the last stages of a ResNet on small crops. At 4 x 2
  positions, a 3x3 layer is 10 to 200 times faster as one matrix product over gathered patches. From 12 to 32 positions
  both are equally fast, and above that XLA's is faster.
- The gradient for the input of a wide layer is a product with the untransposed kernel, whose results are summed. XLA's
  own transposes the kernel first, which for 512 channels takes longer than the arithmetic.
- The gradient of a 1x1 kernel is a product over all positions, whose factors are used as they lie in memory. XLA's own
  gradient transposes one of them as part of the operation before it, which then writes its result column by column.
  The gradient of a larger kernel is computed by XLA's convolution.
"""

from typing import Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.linen.dtypes import promote_dtype
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from rgcn_jax.models.cpu.mapped_axes import varying_like

FEW_POSITIONS = 16
"""Maximum number of output positions per image for which the CPU gathers patches. As measured, XLA is far slower at 8
and equally fast from 12 to 32.
"""

MANY_CHANNELS = 128
"""Number of input channels above which the CPU computes the input gradient of a larger kernel as one product. As
measured, this is faster from 256 channels on and equally fast at 128.
"""


def convolution_form(kernel_size: tuple[int, ...], output_positions: int) -> Literal["convolution", "patches"]:
    """Choose how a convolution is computed on the CPU.

    ``"convolution"``: XLA's own. ``"patches"``: the patches are gathered and multiplied with the kernel in one matrix
    product. The latter is used for 1x1 kernels and for at most `FEW_POSITIONS` output positions per image.
    """
    return "patches" if kernel_size == (1, 1) or output_positions <= FEW_POSITIONS else "convolution"


def input_gradient_form(
    kernel_size: tuple[int, ...], output_positions: int, channels: int
) -> Literal["convolution", "patches"]:
    """Choose how the input gradient is computed on the CPU: in the form of the convolution, except for wide layers."""
    return "patches" if channels > MANY_CHANNELS else convolution_form(kernel_size, output_positions)


class Conv(nn.Module):
    """2D convolution without a bias: `nn.Conv` with ``use_bias=False``, computed by `cpu_convolution`.

    It has the same parameter (``kernel`` [kh, kw, d_in, d_out], float32) and the same fields. ``strides`` and
    ``padding`` (with zeros) are one number for both axes and both sides. The sum over a patch is computed in another
    order, so results agree with `nn.Conv` to a relative error of about 1e-6.
    """

    features: int
    kernel_size: tuple[int, int]
    strides: int = 1
    padding: int = 0
    kernel_init: nn.initializers.Initializer = nn.initializers.lecun_normal()
    dtype: DTypeLike = jnp.float32

    @nn.compact
    def __call__(self, x: Float[ArrayLike, "n h w d_in"]) -> Float[Array, "n h_out w_out d_out"]:
        """Convolve ``x`` [N, h, w, d_in] -> [N, (h + 2 padding - kh) // strides + 1, the same for w, features]."""
        x = jnp.asarray(x)
        kernel = self.param("kernel", self.kernel_init, (*self.kernel_size, x.shape[-1], self.features), jnp.float32)
        x, kernel = promote_dtype(x, kernel, dtype=self.dtype)
        return cpu_convolution(x, kernel, self.strides, self.padding)


def cpu_convolution(
    x: Float[ArrayLike, "n h w d_in"], kernel: Float[ArrayLike, "kh kw d_in d_out"], stride: int, padding: int
) -> Float[Array, "n h_out w_out d_out"]:
    """Compute `xla_convolution`, with the forward pass and both gradients each in the form chosen for the CPU."""
    x, kernel = jnp.asarray(x), jnp.asarray(kernel)
    return _cpu_convolution(x, varying_like(kernel, x), stride, padding)


def _positions(x: Array, kernel: Array, stride: int, padding: int) -> int:
    """Number of output positions per image."""
    rows, columns = (
        (size + 2 * padding - k) // stride + 1 for size, k in zip(x.shape[1:3], kernel.shape[:2], strict=True)
    )
    return rows * columns


def _in_chosen_form(x: Array, kernel: Array, stride: int, padding: int) -> Array:
    form = convolution_form(kernel.shape[:2], _positions(x, kernel, stride, padding))
    return _FORMS[form](x, kernel, stride, padding)


_cpu_convolution = jax.custom_vjp(_in_chosen_form, nondiff_argnums=(2, 3))


def _forward(x: Array, kernel: Array, stride: int, padding: int) -> tuple[Array, tuple[Array, Array]]:
    return _in_chosen_form(x, kernel, stride, padding), (x, kernel)


def _backward(stride: int, padding: int, kept: tuple[Array, Array], dy: Array) -> tuple[Array, Array]:
    x, kernel = kept
    form = _FORMS[input_gradient_form(kernel.shape[:2], _positions(x, kernel, stride, padding), x.shape[-1])]
    (dx,) = jax.linear_transpose(lambda x: form(x, kernel, stride, padding), x)(dy)
    if kernel.shape[:2] == (1, 1):
        return dx, pointwise_kernel_gradient(x, dy, stride, padding)
    return dx, jax.linear_transpose(lambda kernel: xla_convolution(x, kernel, stride, padding), kernel)(dy)[0]


_cpu_convolution.defvjp(_forward, _backward)


def xla_convolution(
    x: Float[ArrayLike, "n h w d_in"], kernel: Float[ArrayLike, "kh kw d_in d_out"], stride: int, padding: int
) -> Float[Array, "n h_out w_out d_out"]:
    """Cross-correlate ``x``, padded by ``padding`` zeros on every side, with ``kernel``, by XLA's convolution."""
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
    """Compute `xla_convolution` as patches [N, h_out, w_out, kh * kw * d_in] times the kernel as [kh * kw * d_in,
    d_out].
    """
    kernel = jnp.asarray(kernel)
    shifted = _shifted(jnp.asarray(x), kernel.shape[:2], stride, padding)
    return jnp.concatenate(shifted, axis=-1) @ kernel.reshape(-1, kernel.shape[-1])


_FORMS = {"convolution": xla_convolution, "patches": patches_convolution}


def pointwise_kernel_gradient(
    x: Float[ArrayLike, "n h w d_in"], dy: Float[ArrayLike, "n h_out w_out d_out"], stride: int, padding: int
) -> Float[Array, "1 1 d_in d_out"]:
    """Gradient of the 1x1 kernel of `xla_convolution`, from the output gradient ``dy``: the product of the inputs of
    the kernel with ``dy``, summed over all positions.
    """
    (seen,), dy = _shifted(jnp.asarray(x), (1, 1), stride, padding), jnp.asarray(dy)
    # Without the barrier, XLA repeats the operations that compute the factors.
    rows, d = jax.lax.optimization_barrier((seen.reshape(-1, seen.shape[-1]), dy.reshape(-1, dy.shape[-1])))
    return jax.lax.dot_general(rows, d, (((0,), (0,)), ((), ())))[None, None]


def _shifted(x: Array, kernel_size: tuple[int, ...], stride: int, padding: int) -> list[Array]:
    """The inputs of each position of the kernel, in row-major order: arrays [N, h_out, w_out, d_in]."""
    x = jnp.pad(x, ((0, 0), (padding, padding), (padding, padding), (0, 0)))
    height, width = x.shape[1] - kernel_size[0] + 1, x.shape[2] - kernel_size[1] + 1
    places = [(i, j) for i in range(kernel_size[0]) for j in range(kernel_size[1])]
    return [x[:, i : i + height : stride, j : j + width : stride] for i, j in places]
