"""The parts of BiCnet against the loops of bicnet_reference, at sizes that divide and sizes that do not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models import bicnet_parts as parts
from rgcn_jax.models.pooling import max_over_positions
from tests.models import bicnet_reference as reference

SIZES = [((8, 4), (4, 2)), ((11, 9), (6, 5)), ((1, 1), (1, 1))]
TRAIN = [pytest.param(True, id="train"), pytest.param(False, id="evaluation")]
B, G, D = 3, 2, 32


def maps(sizes, seed=0):
    rng = np.random.default_rng(seed)
    detail, context = sizes
    return tuple(
        rng.standard_normal(shape).astype(np.float32) for shape in ((B, G, *detail, D), (B, G, 3, *context, D))
    )


def init(module, *inputs):
    return jax.jit(lambda key: module.init(key, *inputs))(jax.random.key(0))


def trained(module, variables, *inputs):
    return jax.jit(lambda v: module.apply(v, *inputs, mutable=["batch_stats"]))(variables)


def close(found, expected, tolerance=2e-5):
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * max(1.0, np.abs(y).max()))


@pytest.mark.parametrize("shape", [(8, 4), (7, 5), (1, 3)])
def test_pooling_cuts_the_last_windows(shape):
    x = np.random.default_rng(0).standard_normal((2, 3, *shape, 4)).astype(np.float32) - 2
    for size, ours, how in (
        (2, parts.max_pool_2x2, np.max),
        (2, lambda x: parts.average_pool(x, 2), np.mean),
        (4, lambda x: parts.average_pool(x, 4), np.mean),
    ):
        expected = [[reference.pooled(image, size, how) for image in clip] for clip in x]
        np.testing.assert_allclose(ours(x), expected, rtol=1e-5, atol=1e-6)


def test_the_first_of_equal_largest_values_gets_the_whole_gradient():
    x = np.zeros((2, 3, 2, 1), np.float32)
    x[1, 0, 1] = x[1, 1, 0] = 1
    whole = jax.grad(lambda x: max_over_positions(x).sum())(jnp.asarray(x))
    assert whole[..., 0].tolist() == [[[1, 0], [0, 0], [0, 0]], [[0, 1], [0, 0], [0, 0]]]
    windows = jax.grad(lambda x: parts.max_pool_2x2(x).sum())(jnp.asarray(x))
    assert windows[..., 0].tolist() == [[[1, 0], [0, 0], [1, 0]], [[0, 1], [0, 0], [1, 0]]]


@pytest.mark.jit
@pytest.mark.parametrize("sizes", SIZES)
def test_a_detail_frame_sends_each_context_frame_its_own_message(sizes):
    detail, context = maps(sizes)
    module = parts.CrossScalePropagation()
    variables = init(module, detail, context)
    expected = reference.propagate(detail, context, variables["params"])
    close(module.apply(variables, detail, context), expected)


@pytest.mark.jit
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("train", TRAIN)
def test_kernel_selection(sizes, train):
    detail, context = maps(sizes)
    counts = np.ones((B, 4 * G), bool)
    counts[1, 5:] = False
    counts[2, 1:3] = False
    module = parts.TemporalKernelSelection()
    v = reference.drawn_variables(module, detail, context, counts, False)
    expected = reference.select_kernels(detail, context, counts, v["params"], v["batch_stats"], train)
    (to_detail, to_context), updated = trained(module, v, detail, context, counts, train)
    close((to_detail, to_context), expected[:2], 1e-4)
    close(updated["batch_stats"], expected[2], 1e-4)


@pytest.mark.jit
@pytest.mark.parametrize("sizes", SIZES)
@pytest.mark.parametrize("train", TRAIN)
def test_divided_attention(sizes, train):
    detail, context = maps(sizes)
    module = parts.DividedAttention()
    v = reference.drawn_variables(module, detail, context, False)
    expected = reference.attend(detail, context, v["params"], v["batch_stats"], train)
    found, updated = trained(module, v, detail, context, train)
    close(found, expected[:3], 1e-4)
    close(updated["batch_stats"], expected[3], 1e-4)
    np.testing.assert_allclose(found[2].sum(axis=-1), 1, atol=1e-6)


@pytest.mark.parametrize("h", [8, 16, 12, 5, 1])
def test_stripes(h):
    x = np.random.default_rng(0).standard_normal((2, h, 3, 4)).astype(np.float32)
    np.testing.assert_allclose(parts.stripe_means(x), [reference.stripes(image) for image in x], atol=1e-6)
    if h == 8:
        np.testing.assert_allclose(parts.stripe_means(x), x.mean(axis=2), atol=1e-6)


@pytest.mark.jit
@pytest.mark.parametrize("train", TRAIN)
def test_selection_and_attention_begin_as_the_identity(train):
    detail, context = maps(SIZES[1])
    counts = np.ones((B, 4 * G), bool)
    for module, inputs in (
        (parts.TemporalKernelSelection(), (detail, context, counts)),
        (parts.DividedAttention(), (detail, context)),
    ):
        out, _ = trained(module, init(module, *inputs, False), *inputs, train)
        np.testing.assert_array_equal(out[0], detail)
        np.testing.assert_array_equal(out[1], context)


def drawn_masks(seed=0):
    logits = 3 * np.random.default_rng(seed).standard_normal((B, G, 3, 8)).astype(np.float32)
    return np.asarray(jax.nn.softmax(logits))


def test_diversity_is_the_norm_of_the_gram_matrix_of_the_roots():
    masks, counts = drawn_masks(), np.ones((B, G, 3), bool)
    assert float(parts.diversity_loss(masks, counts)) == pytest.approx(reference.diversity(masks, counts), rel=1e-5)
    counts[0, 1] = False
    counts[1, 0, 2] = False
    counts[2, :, 1:] = False
    assert float(parts.diversity_loss(masks, counts)) == pytest.approx(reference.diversity(masks, counts), rel=1e-5)


def test_diversity_by_hand():
    counts = np.ones((1, 1, 3), bool)
    apart, same = np.eye(8, dtype=np.float32)[None, None, :3], np.full((1, 1, 3, 8), 0.125, np.float32)
    assert float(parts.diversity_loss(apart, counts)) == pytest.approx(0, abs=1e-9)
    assert float(parts.diversity_loss(same, counts)) == pytest.approx(2**0.5 / 4)
    halves = np.array(
        [[[[0.5, 0.5, 0, 0, 0, 0, 0, 0], [0, 0.5, 0.5, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, 0, 0, 1]]]], np.float32
    )
    assert float(parts.diversity_loss(halves, counts)) == pytest.approx(2**0.5 / 4 * 0.5 / 3)  # one pair of three
    assert float(parts.diversity_loss(same, np.array([[[True, False, False]]]))) == 0


def test_diversity_moves_the_second_and_third_frame_only():
    counts = np.ones((B, G, 3), bool)
    gradient = jax.grad(lambda m: parts.diversity_loss(m, counts))(jnp.asarray(drawn_masks()))
    assert np.all(np.asarray(gradient[:, :, 0]) == 0)
    assert np.all(np.asarray(gradient[:, :, 1:]) > 0)
    underflown = jax.grad(lambda z: parts.diversity_loss(jax.nn.softmax(z), counts))(
        300.0 * jnp.asarray(drawn_masks() - 0.5)
    )
    assert np.isfinite(underflown).all()
