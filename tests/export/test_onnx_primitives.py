"""ONNX of single functions, run by ONNX Runtime, against JAX: every rule, with a symbolic batch."""

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from jax import export, lax

from rgcn_jax.errors import InputError
from rgcn_jax.export.onnx.convert import RULES, to_onnx

pytestmark = pytest.mark.jit

FLOATS, INTEGERS, BOOLEANS = "float32", "int32", "bool"


def jaxpr_of(function, *kinds, shape=(4, 6)):
    (batch,) = export.symbolic_shape("B")
    return jax.make_jaxpr(function)(*(jax.ShapeDtypeStruct((batch, *shape), np.dtype(kind)) for kind in kinds))


def arrays(kinds, batch, shape=(4, 6)):
    rng = np.random.default_rng(batch)
    draw = {
        FLOATS: lambda: rng.normal(size=(batch, *shape)).astype(np.float32),
        INTEGERS: lambda: rng.integers(-7, 8, (batch, *shape), dtype=np.int32),
        BOOLEANS: lambda: rng.random((batch, *shape)) < 0.5,
    }
    return [draw[kind]() for kind in kinds]


def grouped_convolution(x):
    kernel = jnp.asarray(np.random.default_rng(0).normal(size=(3, 2, 9)), jnp.float32)
    return lax.conv_general_dilated(
        x, kernel, (1,), [(2, 1)], rhs_dilation=(2,), dimension_numbers=("NWC", "WIO", "NWC"), feature_group_count=3
    )


def backwards(x):
    def step(carry, x_t):
        carry = 0.5 * carry + x_t
        return carry, (carry.sum(axis=-1), 2 * x_t)

    last, (sums, doubled) = lax.scan(step, x[:, 0], jnp.swapaxes(x, 0, 1), reverse=True)
    return last, sums, doubled


def scan_of_nothing(x):
    """Weights that evolve by themselves, as EvolveGCN-O's, and a carry that is the input as it was."""
    (same, w), _ = lax.scan(lambda c, _: ((c[0], jnp.tanh(c[1] @ c[1])), None), (x, 0.1 * jnp.ones((6, 6))), length=3)
    return same @ w


FUNCTIONS = {
    "arithmetic": (lambda x, y: (abs(x) + 1) ** y * jnp.sin(x) - jnp.cos(y) / (2 + lax.erf(x)), FLOATS, FLOATS),
    "rounding": (lambda x: jnp.floor(x) + 2 * jnp.ceil(3 * x) - jnp.sign(x) + lax.square(x), FLOATS),
    "logarithm": (lambda x: jnp.log(jnp.exp(-x) + lax.rsqrt(x**2 + 1) + jax.nn.sigmoid(x)), FLOATS),
    "truncated division": (lambda x, y: lax.rem(x, 2 * y + 1) + lax.div(x, 2 * y + 1), INTEGERS, INTEGERS),
    "limits": (
        lambda x: lax.clamp(-0.5, x, 0.5) + jnp.maximum(x, 0.1) - jnp.minimum(x, 0.2) + jnp.sqrt(abs(x)),
        FLOATS,
    ),
    "logic": (lambda x, y: (x & ~y) | (x ^ y), BOOLEANS, BOOLEANS),
    "comparison": (
        lambda x, y: ((x < y) | (x <= 0)) & ((x != y) | (y == 1)) & (x >= -5) & (y > -6),
        INTEGERS,
        INTEGERS,
    ),
    "select": (lambda x, y: (jnp.where(x, y, 0.0), jnp.where(y > 0, x, ~x)), BOOLEANS, FLOATS),
    "casts": (lambda x, y: x.astype(jnp.float32) + y.astype(jnp.int32) + (y > 0).astype(jnp.uint8), BOOLEANS, FLOATS),
    "reductions": (lambda x: (x.max(1), x.min(2), x.prod(1), x.sum(), x.mean((1, 2))), FLOATS),
    "any and all": (lambda x: (x.any(1), x.all(2)), BOOLEANS),
    "arg": (lambda x, y: (x.argmax(1), x.argmin(2), y.argmax(1)), FLOATS, BOOLEANS),
    "sort": (lambda x: (jnp.sort(x, 1), jnp.argsort(x, 2), jnp.argsort(-x, 1)), INTEGERS),
    "stable sort": (lambda x: (jnp.argsort(~x, 1, stable=True), jnp.sort(x, 2)), BOOLEANS),
    "top k": (lambda x: lax.top_k(x, 3), FLOATS),
    "cumulative": (lambda x: (jnp.cumsum(x, 1), lax.cummax(x, 2), lax.cummin(x, 1, reverse=True)), FLOATS),
    "pieces": (lambda x: jnp.stack(jnp.split(x, 3, axis=2)[::2], axis=1)[:, 0, 1:3, :1], FLOATS),
    "strided": (lambda x: lax.slice_in_dim(x, 1, 4, stride=2, axis=1), FLOATS),
    "taken apart": (
        lambda x: [a * b for a, b in zip(jnp.unstack(x, axis=1), jnp.unstack(x, axis=1)[::-1], strict=True)],
        FLOATS,
    ),
    "as it is": (lambda x: lax.squeeze(lax.stop_gradient(-x[:, :1]) * jnp.copy(x[:, 1:2]), (1,)), FLOATS),
    "pad": (lambda x: jnp.pad(x, ((0, 0), (1, 0), (0, 2)), constant_values=3.0), FLOATS),
    "nothing beside it": (lambda x: jnp.concatenate([x[:, :0], x, x[:, :1]], 1).transpose(2, 0, 1), FLOATS),
    "counting": (lambda x: x * jnp.arange(6.0) + jnp.arange(4.0)[:, None], FLOATS),
    "rows": (lambda x: (x[:, jnp.array([3, 0])], x[:, :, jnp.array([[1, 5], [2, 2]])], x[:, 2]), FLOATS),
    "rows at computed places": (lambda x: jnp.take_along_axis(x, jnp.argsort(x[:, :, :1], 1), 1), FLOATS),
    "products": (
        lambda x, y: (x @ jnp.swapaxes(y, 1, 2), jnp.einsum("bij,kj->bki", x, jnp.ones((2, 6)))),
        FLOATS,
        FLOATS,
    ),
    "grouped convolution": (grouped_convolution, FLOATS),
    "backward scan": (backwards, FLOATS),
    "scan of nothing": (scan_of_nothing, FLOATS),
    "unused input": (lambda x, y: y.reshape(-1, 3) * 2, BOOLEANS, FLOATS),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_onnx_runtime_agrees_with_jax(name):
    function, *kinds = FUNCTIONS[name]
    jaxpr = jaxpr_of(function, *kinds)
    inputs = [f"x{i}" for i in range(len(kinds))]
    outputs = [f"y{i}" for i in range(len(jaxpr.out_avals))]
    session = onnxruntime.InferenceSession(to_onnx(jaxpr, inputs, outputs, name).SerializeToString())
    for batch in (1, 5):
        given = arrays(kinds, batch)
        wanted = jax.tree.leaves(jax.jit(function)(*given))
        for found, expected in zip(session.run(None, dict(zip(inputs, given, strict=True))), wanted, strict=True):
            assert np.asarray(found).dtype == expected.dtype
            np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-5, atol=1e-6)


def test_every_rule_is_tried():
    def names(jaxpr):
        for eqn in jaxpr.eqns:
            yield eqn.primitive.name
            inner = [getattr(value, "jaxpr", value) for value in eqn.params.values()]
            for called in inner:
                yield from names(called) if hasattr(called, "eqns") else ()

    tried = {name for function, *kinds in FUNCTIONS.values() for name in names(jaxpr_of(function, *kinds).jaxpr)}
    assert set(RULES) - tried <= {"unstack"}  # of a later JAX


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda x: jnp.linalg.cholesky(x[:, :, :4] + 10 * jnp.eye(4)), "cholesky"),
        (lambda x: lax.while_loop(lambda v: v.sum() < 9, lambda v: v + 1, x), "while"),
        (lambda x: x[:, :1] * jnp.arange(x.shape[0])[:, None, None], "iota"),
        (lambda x: lax.sort((x, x + 1), num_keys=2)[0], "sort"),
    ],
)
def test_what_has_no_operator_is_named(function, named):
    with pytest.raises(InputError, match=named):
        to_onnx(jaxpr_of(function, FLOATS), ["x"], ["y"], "f")
