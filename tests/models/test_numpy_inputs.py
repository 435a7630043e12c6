"""NumPy arrays, as inputs and as parameters, are as good as JAX arrays, jitted or not, traced or closed over."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import models
from rgcn_jax.models import cpu, graph_convolution, masking, pooling, recurrent_gcn
from rgcn_jax.models.cpu import convolution
from rgcn_jax.models.pose_input import centre

B, T, C, N, D = 4, 5, 2, 4, 5
JIT = [pytest.param(False, id="op-by-op"), pytest.param(True, id="jit", marks=pytest.mark.jit)]


def drawn(*shape):
    return np.random.default_rng(len(shape)).uniform(0.1, 0.9, shape).astype(np.float32)


MASK = np.arange(T) < np.array([[5], [3], [4], [0]])
X, H, FRAME_FEATURES = drawn(B, T, 14, C), drawn(B, T, 14, N), drawn(B, T, D)
FRAMES, KEYPOINTS = drawn(B, T, 8, 4, 3), drawn(B, T, 14, 3)
TRUNK = models.ResNet50(stage_sizes=(1,), width=4)


def two_branch(pose):
    appearance = models.FrameAppearance(TRUNK.clone(**cpu.TRUNK), models.AttentionAggregation())
    return models.TwoBranch(appearance, pose, models.DualAttention(), 3, neck="batchnorm")


MODELS = [
    (models.RGCN(N), (X, MASK)),
    (models.RGCN(N, num_layers=3), (X, None)),
    (models.RGCN(N, num_layers=2, relu_each_layer=True), (X, MASK)),
    (models.LGCN(N, dtype=jnp.bfloat16), (X, MASK)),
    (models.LGCN(N, num_layers=2), (X, None)),
    (models.GCNRNN(N, num_layers=2), (X, MASK)),
    (models.GCNLSTM(N), (X, MASK)),
    (models.STGCN(N, widths=(3,)), (X, MASK, True)),
    (models.EvolveGCN(N), (X, MASK)),
    (models.EvolveGCN(N, "H"), (X, MASK)),
    (models.MeanReadout(), (H, MASK)),
    (models.NodeAttention(), (H, MASK)),
    (models.TimeAttention(), (H, MASK)),
    (models.DualAttention(), (H, None)),
    (models.AveragePooling(), (FRAME_FEATURES, MASK)),
    (models.AttentionAggregation(), (FRAME_FEATURES, MASK)),
    (models.RecurrentAggregation(4), (FRAME_FEATURES, MASK)),
    (TRUNK, (FRAMES.reshape(B * T, 8, 4, 3), False)),
    (models.FrameAppearance(TRUNK, models.AveragePooling()), (FRAMES, MASK)),
    (models.ConvolutionalAttention(TRUNK, 3), (FRAMES, MASK)),
    (models.PrecomputedFeatures(), (FRAME_FEATURES[:, 0], MASK)),
    (models.BiCnet(models.ResNet50((1, 1, 1, 1), width=4)), (FRAMES, MASK)),
    (two_branch(models.RGCN(N)), (FRAMES, KEYPOINTS, MASK)),
    (two_branch(models.LGCN(N)), (FRAMES, KEYPOINTS, MASK, True)),
]

PARAMS = {"W_x": drawn(C, N), "W_h": drawn(N, N), "b": drawn(N)}
GATES = {"W": drawn(C, 4 * N), "U": drawn(N, 4 * N), "b": drawn(4 * N)}
NODES, IMAGES = drawn(B, 14, N), drawn(2, 5, 4, 3)
STATISTICS = {"mean": drawn(N), "var": drawn(N)}
FUNCTIONS = [
    *(
        (lambda k, m, mode=mode: models.pose_input(k, mode, 0.5, m), (KEYPOINTS, MASK))
        for mode in ("crop", "centred+confidence+velocity+bones")
    ),
    (centre, (X, KEYPOINTS[..., 2] > 0.3)),
    (models.feature_statistics, ({"statistics_appearance": STATISTICS, "statistics_pose": STATISTICS},)),
    (recurrent_gcn.named_gates, (GATES,)),
    (recurrent_gcn.rgcn_step, (PARAMS, NODES, NODES)),
    (recurrent_gcn.lgcn_step, (GATES, (NODES, NODES), drawn(B, 14, 4 * N))),
    (graph_convolution.project, (X, PARAMS["W_x"])),
    (lambda x, a, ws: graph_convolution.convolve(x, a, ws, True), (X, drawn(14, 14), [PARAMS["W_x"], PARAMS["W_h"]])),
    (masking.masked_mean, (H, MASK)),
    (masking.masked_softmax, (FRAME_FEATURES[..., 0], MASK)),
    (lambda x, k: convolution.patches_convolution(x, k, 1, 1), (IMAGES, drawn(3, 3, 3, 2))),
    (lambda x, k: convolution.xla_convolution(x, k, 2, 1), (IMAGES, drawn(3, 3, 3, 2))),
    (pooling.max_pool_3x3, (IMAGES,)),
]


def check(function, inputs):
    """``function`` of JAX arrays, of the same NumPy arrays as arguments, and of these closed over."""
    arrays = jax.tree.map(jnp.asarray, inputs)
    compiled = jax.jit(function)
    expected = compiled(*arrays)
    for found in (compiled(*inputs), jax.jit(lambda: function(*inputs))()):
        assert jax.tree.structure(found) == jax.tree.structure(expected)
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert isinstance(a, jax.Array)
            assert a.dtype == b.dtype
            # What is closed over the compiler folds, and rounds differently. A sum of terms that cancel is right
            # to the terms' digits, not its own: to 1e-6 of the largest value beside it.
            scale = max(1.0, float(jnp.abs(b).max(initial=0.0)))
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6 * scale)


@pytest.mark.slow
@pytest.mark.parametrize("jitted", JIT)
@pytest.mark.parametrize(
    ("model", "inputs"), MODELS, ids=[f"{type(m).__name__}-{i}" for i, (m, _) in enumerate(MODELS)]
)
def test_models(model, inputs, jitted):
    arrays = tuple(i for i in inputs if not isinstance(i, bool))
    train = inputs[len(arrays) :]
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), *inputs))
    variables = jax.tree.map(lambda leaf: drawn(*leaf.shape).astype(leaf.dtype), shapes)
    assert jax.config.jax_disable_jit != jitted  # pyright: ignore[reportAttributeAccessIssue]  # set as JAX is imported
    mutable = ["batch_stats"] if train == (True,) else False
    check(lambda v, *a: model.apply(v, *a, *train, mutable=mutable), (variables, *arrays))


@pytest.mark.parametrize("jitted", JIT)
@pytest.mark.parametrize("case", range(len(FUNCTIONS)))
def test_functions(case, jitted):
    assert jax.config.jax_disable_jit != jitted  # pyright: ignore[reportAttributeAccessIssue]  # set as JAX is imported
    check(*FUNCTIONS[case])


def test_every_exported_model_is_in_the_table():
    exported = {c for c in vars(models).values() if inspect.isclass(c) and issubclass(c, nn.Module)}
    assert exported == {type(model) for model, _ in MODELS}
