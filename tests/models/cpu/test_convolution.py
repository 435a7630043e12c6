import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import parallel
from rgcn_jax.models.cpu.convolution import (
    FEW_POSITIONS,
    MANY_CHANNELS,
    Conv,
    convolution_form,
    cpu_convolution,
    input_gradient_form,
    patches_convolution,
    xla_convolution,
)
from tests.models.untyped import untyped
from tests.tiny import leaves_close

# kernel, stride, padding, height, width: every layer type of the trunk, odd sizes, and one without padding.
CASES = [
    pytest.param(7, 2, 3, 9, 6, marks=pytest.mark.jit),  # 49 slices, one after the other without
    (3, 1, 1, 4, 2),
    (3, 2, 1, 5, 4),
    (3, 2, 1, 4, 3),
    (1, 1, 0, 3, 2),
    (1, 2, 0, 5, 4),
    (3, 1, 0, 5, 3),
]


def drawn(seed, *shape):
    return jnp.asarray(np.random.default_rng(seed).standard_normal(shape), jnp.float32)


def looped(x, kernel, stride, padding):
    """The definition: one sum per output number, in float64."""
    n, h, w, _ = x.shape
    kh, kw, _, features = kernel.shape
    padded = np.zeros((n, h + 2 * padding, w + 2 * padding, x.shape[3]))
    padded[:, padding : padding + h, padding : padding + w] = x
    rows, columns = (h + 2 * padding - kh) // stride + 1, (w + 2 * padding - kw) // stride + 1
    out = np.zeros((n, rows, columns, features))
    for i in range(rows):
        for j in range(columns):
            patch = padded[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
            out[:, i, j] = np.tensordot(patch, np.asarray(kernel, np.float64), axes=3)
    return out


@pytest.mark.parametrize(("k", "stride", "padding", "h", "w"), CASES)
@pytest.mark.parametrize("form", [patches_convolution, xla_convolution])
def test_both_forms_are_the_definition(form, k, stride, padding, h, w):
    x, kernel = drawn(0, 2, h, w, 3), drawn(1, k, k, 3, 5)
    convolve = jax.jit(form, static_argnums=(2, 3))
    np.testing.assert_allclose(
        convolve(x, kernel, stride, padding), looped(x, kernel, stride, padding), rtol=1e-5, atol=1e-5
    )


@pytest.mark.jit
@pytest.mark.parametrize(("k", "stride", "padding", "h", "w"), CASES)
def test_gradients_of_both_forms_agree(k, stride, padding, h, w):
    x, kernel = drawn(2, 2, h, w, 3), drawn(3, k, k, 3, 5)
    cotangent = drawn(4, 2, (h + 2 * padding - k) // stride + 1, (w + 2 * padding - k) // stride + 1, 5)

    @jax.jit
    def gradients(x, kernel, cotangent):
        _, pull_patches = jax.vjp(lambda x, kernel: patches_convolution(x, kernel, stride, padding), x, kernel)
        _, pull_xla = jax.vjp(lambda x, kernel: xla_convolution(x, kernel, stride, padding), x, kernel)
        return pull_patches(cotangent), pull_xla(cotangent)

    for ours, xlas in zip(*gradients(x, kernel, cotangent), strict=True):
        np.testing.assert_allclose(ours, xlas, rtol=1e-5, atol=1e-5)


@pytest.mark.jit
@pytest.mark.parametrize(
    ("k", "stride", "padding", "h", "w", "channels"),
    [
        (3, 1, 1, 4, 2, 3),
        (3, 2, 1, 5, 4, 70),
        (3, 1, 1, 9, 5, 3),
        (3, 1, 1, 9, 5, 70),
        (3, 2, 1, 9, 8, 70),
        (3, 1, 0, 7, 7, 70),
        (3, 1, 1, 9, 5, MANY_CHANNELS + 1),
        (3, 2, 1, 9, 8, MANY_CHANNELS + 1),
        (3, 2, 0, 9, 12, MANY_CHANNELS + 1),
        (1, 1, 0, 3, 2, 3),
        (1, 1, 0, 3, 2, 70),
        (1, 2, 0, 5, 4, 3),
        (1, 2, 0, 5, 4, 70),
    ],
)
def test_gradients_on_the_cpu_are_xlas(k, stride, padding, h, w, channels):
    """In whatever form: few and many positions, few and many channels, the input narrower than the output or wider."""
    x, kernel = drawn(2, 2, h, w, channels), drawn(3, k, k, channels, 5)

    @jax.jit
    def both(x, kernel):
        found = []
        for form in (cpu_convolution, xla_convolution):
            out, pull = jax.vjp(lambda x, kernel, form=form: form(x, kernel, stride, padding), x, kernel)
            found.append((out, *pull(jnp.sin(out))))
        return found

    for ours, xlas in zip(*both(x, kernel), strict=True):
        np.testing.assert_allclose(ours, xlas, rtol=1e-5, atol=1e-5 * np.abs(xlas).max())


@pytest.mark.jit
@pytest.mark.parametrize("k", [1, 3])
def test_gradients_under_a_mesh_are_those_of_the_whole_batch(k):
    """The kernel is one, the images are divided over the devices."""
    x, kernel = drawn(2, 4, 9, 5, 70), drawn(3, k, k, 70, 5)

    def loss(x, kernel, mapped):
        total = jnp.sum(cpu_convolution(x, kernel, 1, k // 2) ** 2)
        return jax.lax.psum(total, parallel.AXIS) if mapped else total

    mesh = parallel.make_mesh(2)
    mapped = parallel.over_clips(
        lambda x, kernel: loss(x, kernel, True), mesh, (parallel.SHARDED, parallel.REPLICATED), parallel.REPLICATED
    )
    for ours, whole in zip(
        jax.jit(jax.grad(mapped, argnums=(0, 1)))(x, kernel),
        jax.jit(jax.grad(lambda x, kernel: loss(x, kernel, False), argnums=(0, 1)))(x, kernel),
        strict=True,
    ):
        np.testing.assert_allclose(ours, whole, rtol=1e-4, atol=1e-4 * np.abs(whole).max())


@pytest.mark.parametrize(
    ("kernel", "positions", "form"),
    [
        ((1, 1), 10_000, "patches"),
        ((3, 3), FEW_POSITIONS, "patches"),
        ((3, 3), FEW_POSITIONS + 1, "convolution"),
        ((7, 7), 512, "convolution"),
    ],
)
def test_form_of_a_convolution(kernel, positions, form):
    assert convolution_form(kernel, positions) == form


@pytest.mark.parametrize(
    ("kernel", "positions", "channels", "form"),
    [
        ((1, 1), 10_000, 3, "patches"),
        ((3, 3), FEW_POSITIONS, 3, "patches"),
        ((3, 3), FEW_POSITIONS + 1, MANY_CHANNELS, "convolution"),
        ((3, 3), FEW_POSITIONS + 1, MANY_CHANNELS + 1, "patches"),
    ],
)
def test_form_of_the_gradient_for_the_input(kernel, positions, channels, form):
    assert input_gradient_form(kernel, positions, channels) == form


@pytest.mark.parametrize(
    ("height", "width", "k", "product"),
    [(4, 2, 3, "dot_general"), (8, 4, 3, "conv_general_dilated"), (8, 4, 1, "dot_general")],
)
def test_module_follows_the_choice(height, width, k, product):
    conv = Conv(4, (k, k), padding=k // 2)
    variables = {"params": {"kernel": jnp.zeros((k, k, 3, 4))}}
    traced = jax.make_jaxpr(lambda x: conv.apply(variables, x))(jnp.zeros((2, height, width, 3)))
    assert {name for name in ("dot_general", "conv_general_dilated") if f" {name}[" in str(traced)} == {product}


@pytest.mark.parametrize(("h", "w"), [(4, 2), (8, 4)])
def test_parameters_and_numbers_are_those_of_flax(h, w):
    x = drawn(5, 2, h, w, 3)
    ours = untyped(Conv(6, (3, 3), strides=2, padding=1))
    flaxs = untyped(nn.Conv(6, (3, 3), strides=2, padding=1, use_bias=False))
    variables = ours.init(jax.random.key(0), x)
    leaves_close(variables, flaxs.init(jax.random.key(0), x), rtol=0)
    np.testing.assert_allclose(ours.apply(variables, x), flaxs.apply(variables, x), rtol=1e-5, atol=1e-5)


def test_bfloat16_computes_in_bfloat16_and_keeps_the_kernel_in_float32():
    conv = untyped(Conv(6, (3, 3), padding=1, dtype=jnp.bfloat16))
    x = drawn(6, 2, 4, 2, 3)
    variables = conv.init(jax.random.key(0), x)
    assert variables["params"]["kernel"].dtype == jnp.float32
    out = conv.apply(variables, x)
    assert out.dtype == jnp.bfloat16
    exact = looped(x, np.asarray(variables["params"]["kernel"]), 1, 1)
    np.testing.assert_allclose(np.asarray(out, np.float32), exact, atol=0.02 * np.abs(exact).max())
