from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax.models.masked_norm import MaskedBatchNorm
from rgcn_jax.models.stgcn import STGCN, spatial_partition, temporal_convolution
from rgcn_jax.skeleton import EDGES
from tests import encoder_checks as check
from tests.encoder_checks import TRAIN_MASK, N, drawn, in_float64, inputs
from tests.models.untyped import untyped

OPENPOSE18 = (
    (4, 3), (3, 2), (7, 6), (6, 5), (13, 12), (12, 11), (10, 9), (9, 8), (11, 5), (8, 2), (5, 1), (2, 1), (0, 1),
    (15, 0), (14, 0), (17, 15), (16, 14),
)  # fmt: skip
"""The released code's layout: the hips hang on the shoulders."""

SMALL = STGCN(N, widths=(3, 3))
"""Three blocks: one without a residual, one with a plain one, one with a projection."""


@pytest.mark.parametrize(("variant", "counts"), [("spatial", (18, 17, 17)), ("spatial_compat", (18, 25, 9))])
def test_partition_of_the_original_layout(variant, counts):
    partition = spatial_partition(OPENPOSE18, 1, 18, variant)
    assert tuple(np.count_nonzero(subset) for subset in partition) == counts


@pytest.mark.parametrize("variant", ["spatial", "spatial_compat"])
def test_partition_of_the_14_keypoints(variant):
    partition = spatial_partition(EDGES, 1, 14, variant)
    total = np.eye(14)
    for i, j in EDGES:
        total[i, j] = total[j, i] = 1
    np.testing.assert_allclose(partition.sum(axis=0), total / total.sum(axis=0), rtol=1e-6)
    np.testing.assert_allclose(partition.sum(axis=(0, 1)), 1, rtol=1e-6)
    np.testing.assert_array_equal(partition[0] != 0, np.eye(14, dtype=bool))
    # Figure 4 as a tree with the neck for its root: in each edge the second node is the farther one. The released code
    # sees no difference between two nodes neither of which is a neighbour of the neck.
    for near, far in ((1, 0), *EDGES[1:]):
        beyond_reach = variant == "spatial_compat" and near in (3, 6, 9, 12)
        assert partition[2, near, far] == pytest.approx(0 if beyond_reach else 1 / total[:, far].sum())
        assert partition[1, near, far] == pytest.approx(1 / total[:, far].sum() if beyond_reach else 0)
        assert partition[1, far, near] == pytest.approx(1 / total[:, near].sum())
        assert partition[2, far, near] == 0


def test_partition_of_a_cycle_and_of_a_node_apart():
    partition = spatial_partition([(0, 1), (1, 2), (2, 0)], 0, 4)
    third = 1 / 3
    np.testing.assert_allclose(partition[0], np.diag([third, third, third, 1]), rtol=1e-6)
    np.testing.assert_allclose(partition[1], [[0] * 4, [third, 0, third, 0], [third, third, 0, 0], [0] * 4], rtol=1e-6)
    np.testing.assert_allclose(partition[2], [[0, third, third, 0], *[[0] * 4] * 3], rtol=1e-6)


def test_wrong_graphs_are_named():
    with pytest.raises(ValueError, match="unknown variant 'uniform'"):
        spatial_partition(EDGES, 1, 14, "uniform")
    for edges, centre in ((EDGES, 14), (((0, 14),), 1), (((-1, 0),), 1)):
        with pytest.raises(ValueError, match="indices from 0 to 13"):
            spatial_partition(edges, centre, 14)


def test_temporal_convolution_worked_by_hand():
    """One node, one channel, the kernel 1, 10, 100 over the frames 1, 2, 3."""
    x = jnp.array([1.0, 2.0, 3.0]).reshape(1, 3, 1, 1)
    y = temporal_convolution(x, jnp.array([1.0, 10.0, 100.0]).reshape(3, 1, 1))
    np.testing.assert_allclose(y.ravel(), [210, 321, 32], rtol=1e-6)


def normalised(x, kept, p, stats, train):
    """BatchNorm over the frames that count, channel by channel."""
    out = np.zeros_like(x)
    for d in range(x.shape[-1]):
        mean, var = (x[kept][..., d].mean(), x[kept][..., d].var()) if train else (stats["mean"][d], stats["var"][d])
        out[..., d] = (x[..., d] - mean) / np.sqrt(var + 1e-5) * p["scale"][d] + p["bias"][d]
    return out


def by_equation(variables, x, kept, train, blocks=3, edges=EDGES, centre=1):
    """Node by node and frame by frame, in float64; frames that do not count are 0 for all others."""
    params, stats = in_float64(variables["params"]), in_float64(variables["batch_stats"])
    partition = spatial_partition(edges, centre, 14).astype(np.float64)
    x = np.where(kept[..., None, None], x, 0).astype(np.float64)
    flat = x.reshape(*x.shape[:2], -1)
    x = normalised(flat, kept, params["bn_data"], stats["bn_data"], train).reshape(x.shape)
    for number in range(1, blocks + 1):
        p, s = params[f"block{number}"], stats[f"block{number}"]
        n = p["W_t"].shape[-1]
        y = np.zeros((*x.shape[:3], n))
        for k in range(3):
            w_k, b_k = p["W_g"][:, k * n : (k + 1) * n], p["b_g"][k * n : (k + 1) * n]
            for w in range(14):
                for v in range(14):
                    y[:, :, w] += partition[k, v, w] * p["M"][k, v, w] * (x[:, :, v] @ w_k + b_k)
        y = np.maximum(normalised(y, kept, p["bn_g"], s["bn_g"], train), 0)
        z = np.zeros_like(y)
        for b in range(len(x)):
            for t in range(x.shape[1]):
                for tap in range(9):
                    source = t + tap - 4
                    if 0 <= source < x.shape[1] and kept[b, source]:
                        z[b, t] += y[b, source] @ p["W_t"][tap]
        z = normalised(z, kept, p["bn_t"], s["bn_t"], train)
        if number > 1:
            z += normalised(x @ p["W_r"], kept, p["bn_r"], s["bn_r"], train) if "W_r" in p else x
        x = np.maximum(z, 0)
    return np.where(kept[..., None, None], x, 0)


@pytest.mark.jit
@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("mask", [None, TRAIN_MASK], ids=["whole", "masked"])
def test_equals_the_equations_written_as_loops(train, mask):
    x = inputs()
    variables = drawn(SMALL, x)
    assert "W_r" not in variables["params"]["block2"]
    assert "W_r" in variables["params"]["block3"]
    h = check.run(SMALL, variables, x, mask, train)
    kept = np.ones(x.shape[:2], bool) if mask is None else mask
    np.testing.assert_allclose(h, by_equation(variables, x, kept, train), atol=1e-4)


@pytest.mark.jit
@pytest.mark.parametrize("train", [False, True])
def test_gradients_equal_finite_differences(train):
    mask = np.array([[True] * 3, [True, True, False]])
    check.gradients_equal_finite_differences(SMALL, train, mask)


@pytest.mark.jit
def test_every_parameter_gets_a_gradient_in_training():
    x = inputs()
    edges = spatial_partition(EDGES, 1, 14) != 0
    for name, g in check.gradient(SMALL, drawn(SMALL, x), x, train=True).items():
        if "'M'" in name:
            np.testing.assert_array_equal(g != 0, edges)
        else:
            assert (np.abs(g) > 1e-5).mean() > 0.5, name


def test_running_statistics_are_those_of_the_frames_that_count():
    x = np.random.default_rng(0).standard_normal((4, 5, 14, 3)).astype(np.float32) + 2
    module = untyped(MaskedBatchNorm())
    variables = module.init(jax.random.key(0), x, None, False)
    for mask, kept in ((TRAIN_MASK, x[TRAIN_MASK]), (None, x.reshape(-1, 14, 3))):
        y, new = module.apply(variables, x, mask, True, mutable=["batch_stats"])
        values = kept.reshape(-1, 3).astype(np.float64)
        np.testing.assert_allclose(new["batch_stats"]["mean"], 0.1 * values.mean(axis=0), rtol=1e-5)
        np.testing.assert_allclose(new["batch_stats"]["var"], 0.9 + 0.1 * values.var(axis=0), rtol=1e-5)
        inside = np.asarray(y)[TRAIN_MASK if mask is not None else np.ones((4, 5), bool)].reshape(-1, 3)
        np.testing.assert_allclose(inside.mean(axis=0), 0, atol=1e-5)
        np.testing.assert_allclose(inside.std(axis=0), 1, atol=1e-4)
    y, new = module.apply(variables, x, np.zeros((4, 5), bool), True, mutable=["batch_stats"])
    assert np.isfinite(y).all()


@pytest.mark.jit
def test_relabelled_keypoints_give_relabelled_embeddings():
    x = inputs()
    order = np.random.default_rng(0).permutation(14)
    place = np.argsort(order)
    variables = drawn(SMALL, x)

    def relabel(path, leaf):
        if path[1].key == "bn_data":
            return leaf.reshape(14, -1)[order].ravel()
        return leaf[:, order][:, :, order] if path[-1].key == "M" else leaf

    relabelled = SMALL.clone(edges=tuple((int(place[i]), int(place[j])) for i, j in EDGES), centre=int(place[1]))
    h = np.asarray(check.run(SMALL, variables, x))
    moved = jax.tree.map_with_path(relabel, variables)
    np.testing.assert_allclose(check.run(relabelled, moved, x[:, :, order]), h[:, :, order], atol=1e-5)
    assert np.abs(check.run(SMALL, moved, x[:, :, order]) - h[:, :, order]).max() > 0.01


@pytest.mark.jit
def test_the_compatible_partition_is_another_model():
    x = inputs()
    variables = drawn(SMALL, x)
    compat = SMALL.clone(variant="spatial_compat")
    assert np.abs(check.run(SMALL, variables, x) - check.run(compat, variables, x)).max() > 0.01


@pytest.mark.jit
def test_in_evaluation_a_clip_knows_nothing_of_the_others_in_the_batch():
    check.knows_nothing_of_the_other_clips(SMALL, drawn(SMALL, inputs()), inputs())


@pytest.mark.jit
def test_a_masked_frame_changes_nothing():
    x = inputs()
    variables = drawn(SMALL, x)
    check.a_masked_end_changes_nothing(SMALL, variables, x)
    assert not np.asarray(check.run(SMALL, variables, x, check.MASK))[~check.MASK].any()


@pytest.mark.jit
def test_bfloat16_stays_close_with_float32_activations():
    x = inputs()
    exact = STGCN(16, widths=(8,))
    check.bfloat16_stays_close(exact, exact.clone(dtype=jnp.bfloat16), drawn(exact, x), x, 0.1, 0.01)


@pytest.mark.slow
@pytest.mark.jit
def test_a_mesh_with_unequally_filled_devices_changes_nothing():
    check.a_mesh_changes_nothing(SMALL, SMALL.clone(axis_name="data"), drawn(SMALL, inputs()), inputs(), train=True)


@pytest.mark.jit
def test_dropout_acts_in_training_alone_and_not_in_the_first_block():
    x = inputs()
    variables = drawn(SMALL, x)
    dropping = SMALL.clone(dropout=0.5)
    np.testing.assert_array_equal(check.run(dropping, variables, x), check.run(SMALL, variables, x))

    @partial(jax.jit, static_argnames="module")
    def trained(module, variables, seed):
        rngs = {"dropout": jax.random.key(seed)}
        return module.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    assert np.abs(trained(dropping, variables, 0) - trained(dropping, variables, 1)).max() > 0.01
    np.testing.assert_array_equal(trained(dropping, variables, 0), trained(dropping, variables, 0))
    first = STGCN(N, widths=())
    variables = drawn(first, x)
    np.testing.assert_array_equal(trained(first.clone(dropout=0.5), variables, 0), trained(first, variables, 0))
