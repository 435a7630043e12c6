"""Parameters of each model at the settings of the paper, counted by hand. Every exported model is in the table."""

import inspect

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from rgcn_jax import models

B, T, C, N, D, K = 2, 3, 2, 256, 2048, 625
X = jax.ShapeDtypeStruct((B, T, 14, C), jnp.float32)
H = jax.ShapeDtypeStruct((B, T, 14, N), jnp.float32)
FRAME_FEATURES = jax.ShapeDtypeStruct((B, T, D), jnp.float32)
F_A = jax.ShapeDtypeStruct((B, D), jnp.float32)
FRAMES = jax.ShapeDtypeStruct((B, T, 64, 32, 3), jnp.float32)
KEYPOINTS = jax.ShapeDtypeStruct((B, T, 14, 3), jnp.float32)
MASK = jax.ShapeDtypeStruct((B, T), jnp.bool_)
CLIPS = (FRAMES, KEYPOINTS, MASK)
IMAGES = jax.ShapeDtypeStruct((B, 64, 32, 3), jnp.float32)


def bottlenecks(d_in, width, blocks):
    """Parameters of one stage of ResNet-50: three convolutions without bias and their BatchNorms, one projection."""
    d_out = 4 * width
    block = [
        (d_in if i == 0 else d_out) * width + 9 * width**2 + width * d_out + 2 * (2 * width + d_out)
        for i in range(blocks)
    ]
    return sum(block) + d_in * d_out + 2 * d_out


STEM = 7 * 7 * 3 * 64 + 2 * 64
RESNET50 = (
    STEM + bottlenecks(64, 64, 3) + bottlenecks(256, 128, 4) + bottlenecks(512, 256, 6) + bottlenecks(1024, 512, 3)
)
PROPAGATION = 3 * (256**2 + 512**2 + 1024**2)
SELECTION = 2 * 3 * 512**2 + 512 * 32 + 2 * 32 + 32 * 1024 + 2 * 512
ATTENTION = 4 * 2 * 1024 + 2 * (1024 + 8 * 8 + 2 * 8)
BICNET = RESNET50 + PROPAGATION + SELECTION + ATTENTION
CONVOLUTIONAL_ATTENTION = 4 * 2 * D * 256 + 256 + 3 * 256 + 1  # the map of 64 x 32 pixels is 4 x 2
CLASSIFIER = (D + 512) * K + K
RGCN = C * N + N * N + N
LGCN = 4 * RGCN

GCNRNN = C * N + 2 * N * N + N
GCNLSTM = C * N + 4 * (2 * N * N + N)


def st_gcn_block(d_in, d_out, residual):
    """W_g and b_g of three subsets, M, two BatchNorms and nine frames of weights; a projection with its BatchNorm."""
    projection = d_in * d_out + 2 * d_out if residual and d_in != d_out else 0
    return 3 * (d_in + 1) * d_out + 3 * 14 * 14 + 2 * (2 * d_out) + 9 * d_out**2 + projection


ST_GCN_WIDTHS = [C, 64, 64, 64, 64, 128, 128, 128, 256, 256, 256]
STGCN = 2 * 14 * C + sum(st_gcn_block(ST_GCN_WIDTHS[i], ST_GCN_WIDTHS[i + 1], i > 0) for i in range(10))
EVOLVE_GCN = sum(d_in * N + 3 * (2 * d_in * d_in + d_in * N) for d_in in (C, N))


def frame_appearance():
    return models.FrameAppearance(models.ResNet50(), models.AveragePooling())


def two_branch(pose, readout):
    return models.TwoBranch(frame_appearance(), pose, readout, K)


TABLE = [
    (models.RGCN(N), (X,), RGCN),
    (models.RGCN(N, num_layers=3), (X,), RGCN + 2 * N * N),
    (models.LGCN(N), (X,), LGCN),
    (models.LGCN(N, num_layers=3), (X,), LGCN + 2 * 4 * N * N),
    (models.GCNRNN(N), (X,), GCNRNN),
    (models.GCNRNN(N, num_layers=3), (X,), GCNRNN + 2 * N * N),
    (models.GCNLSTM(N), (X,), GCNLSTM),
    (models.GCNLSTM(N, num_layers=3), (X,), GCNLSTM + 2 * N * N),
    (models.STGCN(N), (X,), STGCN),
    (models.EvolveGCN(N), (X,), EVOLVE_GCN),
    (models.EvolveGCN(N, "H"), (X,), EVOLVE_GCN + C + N),
    (models.MeanReadout(), (H,), 0),
    (models.NodeAttention(), (H,), N),
    (models.TimeAttention(), (H,), N),
    (models.DualAttention(), (H,), 2 * N),
    (models.AveragePooling(), (FRAME_FEATURES,), 0),
    (models.AttentionAggregation(), (FRAME_FEATURES,), D),
    (models.RecurrentAggregation(D), (FRAME_FEATURES,), 4 * (D * D + D * D + D)),
    (models.ResNet50(), (IMAGES, False), 23_508_032),
    (frame_appearance(), (FRAMES,), RESNET50),
    (models.ConvolutionalAttention(models.ResNet50()), (FRAMES,), RESNET50 + CONVOLUTIONAL_ATTENTION),
    (models.PrecomputedFeatures(), (F_A,), 0),
    (models.BiCnet(models.ResNet50()), (FRAMES,), BICNET),
    (two_branch(None, None), CLIPS, RESNET50 + D * K + K),
    (two_branch(models.RGCN(N), models.DualAttention()), CLIPS, RESNET50 + RGCN + 2 * N + CLASSIFIER),
    (two_branch(models.LGCN(N), models.DualAttention()), CLIPS, RESNET50 + LGCN + 2 * N + CLASSIFIER),
]


@pytest.mark.jit
@pytest.mark.parametrize(
    ("model", "inputs", "count"), TABLE, ids=[f"{type(model).__name__}-{count}" for model, _, count in TABLE]
)
def test_parameter_count(model, inputs, count):
    arrays = [i for i in inputs if isinstance(i, jax.ShapeDtypeStruct)]
    train = inputs[len(arrays) :]
    variables = jax.eval_shape(lambda *a: model.init(jax.random.key(0), *a, *train), *arrays)
    assert sum(p.size for p in jax.tree.leaves(variables.get("params", {}))) == count


def test_every_exported_model_is_in_the_table():
    exported = {c for c in vars(models).values() if inspect.isclass(c) and issubclass(c, nn.Module)}
    assert exported == {type(model) for model, _, _ in TABLE}


def test_the_sums_by_hand():
    assert RGCN == 66_304
    assert STGCN == 3_068_464
    assert RESNET50 == 23_508_032
    assert BICNET == 29_270_304
    # As published, in millions: the original with its head, BatchNorm and classifier.
    assert round((BICNET + 2 * D + D * K + K) / 1e6, 2) == 30.56
