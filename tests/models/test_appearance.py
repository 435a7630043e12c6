import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.typing import DTypeLike

from rgcn_jax.models.appearance import (
    AttentionAggregation,
    AveragePooling,
    ConvolutionalAttention,
    FrameAppearance,
    RecurrentAggregation,
)
from tests.models.untyped import untyped

AGGREGATIONS = [AveragePooling(), AttentionAggregation(), RecurrentAggregation(4)]
MASK = np.array(
    [[True] * 5, [True, True, False, False, False], [False, True, False, True, True], [True, False, False, True, False]]
)


def features(seed=0):
    return jnp.asarray(np.random.default_rng(seed).standard_normal((4, 5, 5)), jnp.float32)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def average(frames, params):
    return sum(frames) / len(frames)


def attention(frames, params):
    scores = [np.exp(f @ params["w"]) for f in frames]
    return sum(s / sum(scores) * f for s, f in zip(scores, frames, strict=True))


def recurrent(frames, params):
    """The mean of the outputs of an LSTM, each gate from its own columns: forget, input, output, candidate."""
    W, U, b = (np.split(params[k], 4, axis=-1) for k in ("W", "U", "b"))
    h, c, outputs = np.zeros(4), np.zeros(4), []
    for x in frames:
        forget, keep, out = (sigmoid(x @ W[k] + h @ U[k] + b[k]) for k in range(3))
        c = forget * c + keep * np.tanh(x @ W[3] + h @ U[3] + b[3])
        h = out * np.tanh(c)
        outputs.append(h)
    return sum(outputs) / len(outputs)


@pytest.mark.parametrize("mask", [None, MASK])
@pytest.mark.parametrize(
    ("module", "reference"), zip(AGGREGATIONS, (average, attention, recurrent), strict=True), ids=["AP", "AA", "RA"]
)
def test_equals_the_equation_written_as_a_loop(module, reference, mask):
    f = features()
    variables = module.init(jax.random.key(1), f)
    params = jax.tree.map(lambda p: np.asarray(p, np.float64), variables.get("params", {}))
    f_a = module.apply(variables, f, None if mask is None else jnp.asarray(mask))
    for b in range(4):
        frames = [np.asarray(f[b, t], np.float64) for t in range(5) if mask is None or mask[b, t]]
        np.testing.assert_allclose(f_a[b], reference(frames, params), atol=1e-5)


@pytest.mark.jit
@pytest.mark.parametrize("module", AGGREGATIONS)
def test_masked_frames_change_nothing_and_a_clip_without_frames_is_finite(module):
    f = features()
    variables = jax.jit(module.init)(jax.random.key(1), f)
    apply = jax.jit(module.apply)
    one = apply(variables, f, MASK)
    np.testing.assert_array_equal(apply(variables, np.where(MASK[..., None], f, np.float32(1e6)), MASK), one)
    none = np.zeros((4, 5), bool)
    assert np.isfinite(apply(variables, f, none)).all()
    gradient = jax.jit(jax.grad(lambda v: module.apply(v, f, none).sum()))(variables)
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(gradient))


@pytest.mark.jit
@pytest.mark.parametrize("module", AGGREGATIONS[1:])
def test_every_parameter_gets_a_gradient(module):
    f = features()
    variables = jax.jit(module.init)(jax.random.key(1), f)
    gradient = jax.jit(jax.grad(lambda v: (module.apply(v, f) ** 2).sum()))({"params": variables["params"]})
    assert all((np.asarray(g) != 0).all() for g in jax.tree.leaves(gradient))


def test_attention_weights_are_sown_and_sum_to_one():
    f = features()
    variables = AttentionAggregation().init(jax.random.key(1), f)
    params = {"params": variables["params"]}
    _, state = untyped(AttentionAggregation()).apply(params, f, jnp.asarray(MASK), mutable="intermediates")
    (weights,) = state["intermediates"]["weights"]
    np.testing.assert_allclose(weights.sum(axis=1), 1.0, atol=1e-6)
    assert not np.asarray(weights)[~MASK].any()


def test_half_precision_features_are_averaged_in_float32():
    f = jnp.full((1, 3, 2), 1.0, jnp.bfloat16).at[0, 0].set(1.0078125)
    np.testing.assert_allclose(untyped(AveragePooling()).apply({}, f), 1.0 + 0.0078125 / 3, rtol=1e-6)


class ColourTrunk(nn.Module):
    """Mean colour of an image, through a BatchNorm."""

    @nn.compact
    def __call__(self, images, train):
        return nn.BatchNorm(use_running_average=not train, momentum=0.0, epsilon=0.0)(images.mean(axis=(1, 2)))


def test_the_trunk_sees_the_frames_of_all_clips_as_one_batch():
    frames = jax.random.normal(jax.random.key(0), (4, 5, 8, 4, 3))
    model = untyped(FrameAppearance(ColourTrunk(), AveragePooling()))
    variables = model.init(jax.random.key(1), frames)
    (f_a, aux), state = model.apply(variables, frames, train=True, mutable=["batch_stats"])
    colours = np.asarray(frames, np.float64).mean(axis=(2, 3))
    mean, std = colours.reshape(20, 3).mean(axis=0), colours.reshape(20, 3).std(axis=0)
    np.testing.assert_allclose(aux["frame_features"], (colours - mean) / std, atol=1e-4)
    np.testing.assert_allclose(f_a, ((colours - mean) / std).mean(axis=1), atol=1e-4)
    np.testing.assert_allclose(state["batch_stats"]["trunk"]["BatchNorm_0"]["mean"], mean, atol=1e-6)


def test_frames_keep_to_their_clip():
    frames = jax.random.normal(jax.random.key(0), (4, 5, 8, 4, 3))
    mask = jnp.asarray(MASK)
    model = FrameAppearance(ColourTrunk(), AveragePooling())
    f_a, _ = model.apply(model.init(jax.random.key(1), frames), frames, mask)
    colours = np.asarray(frames).mean(axis=(2, 3))
    for b in range(4):
        np.testing.assert_allclose(f_a[b], colours[b, MASK[b]].mean(axis=0), atol=1e-5)


class MapTrunk(nn.Module):
    """Pixels as the map, their mean as the feature: [N, 2, 3, 4]."""

    def feature_map(self, images, train):
        return images

    def pool(self, feature_map):
        return feature_map.mean(axis=(1, 2))


def maps(seed=0, dtype: DTypeLike = np.float32):
    return np.random.default_rng(seed).standard_normal((4, 5, 2, 3, 3)).astype(dtype)


def convolutional_attention(frames, params):
    """z of every frame by a loop over positions and channels, scores over three frames, softmax."""
    z = [np.maximum(np.einsum("yxc,yxck->k", f, params["W_s"].reshape(2, 3, 3, -1)) + params["b_s"], 0) for f in frames]
    zero = np.zeros_like(z[0])
    around = [zero, *z, zero]
    scores = [
        max(sum(params["w_t"][k] @ around[t + k] for k in range(3)) + params["b_t"], 0) for t in range(len(frames))
    ]
    weights = np.exp(scores) / np.exp(scores).sum()
    return sum(a * f.mean(axis=(0, 1)) for a, f in zip(weights, frames, strict=True))


def drawn_attention(module, frames, seed=1):
    rng = np.random.default_rng(seed)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), frames))["params"]
    return {name: rng.standard_normal(leaf.shape).astype(frames.dtype) for name, leaf in shapes.items()}


@pytest.mark.parametrize("mask", [None, np.arange(5)[None] < np.array([[5], [3], [1], [4]])])
def test_convolutional_attention_equals_its_equations_written_as_loops(mask):
    module, frames = untyped(ConvolutionalAttention(MapTrunk(), 6)), maps()
    params = drawn_attention(module, frames)
    f_a, aux = module.apply({"params": params}, frames, mask)
    counts = np.ones((4, 5), bool) if mask is None else mask
    for b in range(4):
        expected = convolutional_attention(maps()[b, counts[b]].astype(np.float64), params)
        np.testing.assert_allclose(f_a[b], expected, atol=1e-5)
    np.testing.assert_allclose(aux["frame_weights"].sum(axis=1), 1.0, atol=1e-6)
    assert not np.asarray(aux["frame_weights"])[~counts].any()
    if mask is not None:
        garbage = np.where(mask[..., None, None, None], frames, np.float32(1e6))
        np.testing.assert_array_equal(module.apply({"params": params}, garbage, mask)[0], f_a)


@pytest.mark.jit
@pytest.mark.parametrize("module", [*AGGREGATIONS[1:], ConvolutionalAttention(MapTrunk(), 6)])
def test_gradients_equal_finite_differences(module):
    """Along a random direction of each parameter, in float64."""
    with jax.enable_x64(True):
        frames = maps(dtype=np.float64) if isinstance(module, ConvolutionalAttention) else features().astype(float)
        params = drawn_attention(module, frames)

        @jax.jit
        @jax.value_and_grad
        def loss(params):
            f_a = module.apply({"params": params}, frames)
            return ((f_a[0] if isinstance(f_a, tuple) else f_a) ** 3).sum()

        gradient = loss(params)[1]
        rng = np.random.default_rng(2)
        for name, value in params.items():
            direction = rng.standard_normal(value.shape)
            ahead, behind = (float(loss(params | {name: value + e * direction})[0]) for e in (1e-6, -1e-6))
            expected = (ahead - behind) / 2e-6
            assert abs(expected) > 1e-4
            np.testing.assert_allclose((gradient[name] * direction).sum(), expected, rtol=1e-5)
