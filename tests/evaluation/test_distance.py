import tracemalloc

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import FeatureStatistics, distance_blocks, fuse
from rgcn_jax.types import Embeddings


def embed(appearance, pose) -> Embeddings:
    ids = np.ones(len(appearance), np.int32)
    return Embeddings(np.asarray(appearance, np.float32), np.asarray(pose, np.float32), ids, ids)


def random_embeddings(seed=0, count=12):
    rng = np.random.default_rng(seed)
    return embed(3 + 5 * rng.random((count, 7)), rng.standard_normal((count, 4)) / 100)


def statistics_of(training):
    """Mean and population standard deviation of every dimension, from float64."""
    branches = [np.asarray(f, np.float64) for f in (training.appearance, training.pose)]
    return FeatureStatistics(*(np.asarray(moment, np.float32) for f in branches for moment in (f.mean(0), f.std(0))))


def direct(query, gallery):
    """Float64 differences, pair by pair."""
    return np.array([[np.sqrt(np.sum((q - g) ** 2)) for g in gallery.astype(float)] for q in query.astype(float)])


@pytest.mark.parametrize("offset", [0, 1, 10, 100, 1000])
def test_large_common_offsets_lose_no_digits(offset):
    rng = np.random.default_rng(0)
    features = (offset + 0.02 * rng.standard_normal((40, 2048))).astype(np.float32)
    ((_, distances),) = distance_blocks(features, np.arange(9))
    np.testing.assert_allclose(distances[:, 9:], direct(features[:9], features[9:]), rtol=2e-5)


def test_duplicates_are_near_zero_and_never_nan():
    rng = np.random.default_rng(2)
    features = 100 + rng.standard_normal((50, 512), dtype=np.float32)
    ((_, distances),) = distance_blocks(features, np.arange(50))
    scale = distances[~np.eye(50, dtype=bool)].mean()
    assert np.all(np.diag(distances) >= 0)
    assert np.diag(distances).max() < 2e-3 * scale


@pytest.mark.parametrize("block_elements", [1, 40, 41, 1000])
@pytest.mark.parametrize("overwrite", [True, False])
def test_blocks_together_are_the_whole(block_elements, overwrite):
    rng = np.random.default_rng(3)
    features = 7 + rng.standard_normal((20, 6), dtype=np.float32)
    original = features.copy()
    queries = np.array([3, 0, 19, 7, 11])
    whole = np.full((5, 20), np.nan)
    for rows, block in distance_blocks(features, queries, overwrite, block_elements):
        assert block.size <= max(block_elements, 20)
        assert np.isnan(whole[rows]).all()
        whole[rows] = block
    expected = direct(original[queries], original)
    np.testing.assert_allclose(whole, expected, rtol=1e-5, atol=3e-3)
    assert np.array_equal(features, original) != overwrite


def test_memory_is_bounded_by_the_block():
    features = np.random.default_rng(0).random((20_000, 4), dtype=np.float32)
    tracemalloc.start()
    try:
        for _ in distance_blocks(features, np.arange(400), overwrite=True, block_elements=100_000):
            pass
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 3e6  # the whole matrix has 32 MB, a block 0.4 MB


def test_no_query_no_block():
    assert list(distance_blocks(np.ones((3, 2), np.float32), np.array([], np.int64))) == []


def test_euclidean_kind_is_the_raw_concatenation():
    e = random_embeddings()
    np.testing.assert_array_equal(fuse(e, "appearance"), e.appearance)
    np.testing.assert_array_equal(fuse(e, "pose"), e.pose)
    fused = fuse(e, "fused", pose_weight=9.0)
    np.testing.assert_array_equal(fused, np.concatenate([e.appearance, e.pose], axis=1))
    assert not np.shares_memory(fuse(e, "appearance"), e.appearance)


def test_normalized():
    e = random_embeddings()
    a = np.array([x / np.sqrt(sum(x**2)) for x in e.appearance.astype(float)])
    p = np.array([x / np.sqrt(sum(x**2)) for x in e.pose.astype(float)])
    np.testing.assert_allclose(fuse(e, "appearance", "normalized", 0.3), a, rtol=1e-6)
    np.testing.assert_allclose(fuse(e, "pose", "normalized", 0.3), p, rtol=1e-6)
    np.testing.assert_allclose(fuse(e, "fused", "normalized", 0.3), np.hstack([a, 0.3 * p]), rtol=1e-6)


def test_normalized_with_no_pose_weight_is_appearance():
    e = random_embeddings()
    np.testing.assert_array_equal(fuse(e, "fused", "normalized", 0.0)[:, :7], fuse(e, "appearance", "normalized"))
    assert np.all(fuse(e, "fused", "normalized", 0.0)[:, 7:] == 0)


def test_standardized():
    e, training = random_embeddings(), random_embeddings(1, 100)
    branches = []
    for test, train in ((e.appearance, training.appearance), (e.pose, training.pose)):
        z = (test.astype(float) - train.astype(float).mean(0)) / train.astype(float).std(0)
        branches.append(z / np.sqrt((z**2).sum(1, keepdims=True)))
    statistics = statistics_of(training)
    np.testing.assert_allclose(
        fuse(e, "fused", "standardized", 2.0, statistics),
        np.hstack([branches[0], 2 * branches[1]]),
        rtol=1e-4,
        atol=1e-6,
    )
    np.testing.assert_allclose(fuse(e, "pose", "standardized", 2.0, statistics), branches[1], rtol=1e-4, atol=1e-6)


def test_standardized_undoes_any_scale_of_a_dimension():
    e, training = random_embeddings(), random_embeddings(1, 100)
    scale = np.float32(2.0 ** np.arange(-3, 4))
    scaled = [x._replace(appearance=x.appearance * scale) for x in (e, training)]
    np.testing.assert_allclose(
        fuse(e, "appearance", "standardized", statistics=statistics_of(training)),
        fuse(scaled[0], "appearance", "standardized", statistics=statistics_of(scaled[1])),
        rtol=1e-5,
    )


@pytest.mark.parametrize("tiny", [0, 1e-12])
def test_a_constant_dimension_does_not_count(tiny):
    e = random_embeddings()
    statistics = statistics_of(e)
    statistics.std_a[2] = tiny
    without = FeatureStatistics(np.delete(statistics.mean_a, 2), np.delete(statistics.std_a, 2), *statistics[2:])
    features = fuse(e, "appearance", "standardized", statistics=statistics)
    assert np.all(features[:, 2] == 0)
    expected = fuse(e._replace(appearance=np.delete(e.appearance, 2, 1)), "appearance", "standardized", 1.0, without)
    np.testing.assert_allclose(np.delete(features, 2, 1), expected, rtol=1e-6)


def test_a_dimension_counts_from_a_thousandth_of_the_largest_deviation_on():
    e = random_embeddings()
    statistics = statistics_of(e)
    statistics.std_a[:] = [2, 2, 2.1e-3, 1.9e-3, 1, 1, 1]
    features = fuse(e, "appearance", "standardized", statistics=statistics)
    assert (features != 0).any(axis=0).tolist() == [True, True, True, False, True, True, True]


def test_all_dimensions_constant():
    e = embed(np.ones((3, 2)), np.ones((3, 2)))
    features = fuse(e, "fused", "standardized", statistics=statistics_of(e))
    np.testing.assert_array_equal(features, np.zeros((3, 4)))


@pytest.mark.parametrize("kind", ["euclidean", "normalized", "standardized"])
def test_zero_vectors_stay_zero(kind):
    e = embed([[0, 0], [3, 4]], [[0.0], [2.0]])
    statistics = FeatureStatistics(*(np.array(x, np.float32) for x in ([0, 0], [1, 1], [0], [1])))
    features = fuse(e, "fused", kind, statistics=statistics)
    np.testing.assert_array_equal(features[0], [0, 0, 0])
    ((_, distances),) = distance_blocks(features, np.arange(2))
    assert np.isfinite(distances).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, 1e30])
def test_features_that_are_not_finite(bad):
    e = random_embeddings()
    e.pose[5, 1] = bad
    message = "1 of 12 {} features are not finite or too large, the first at index 5"
    with pytest.raises(InputError, match=message.format("pose")):
        fuse(e, "fused")
    with pytest.raises(InputError, match=message.format("feature")):
        next(distance_blocks(e.pose, np.array([0])))


def test_wrong_arguments():
    e = random_embeddings()
    with pytest.raises(ValueError, match=r"row 'both'.*'pose'"):
        fuse(e, "both")
    with pytest.raises(ValueError, match=r"kind 'cosine'.*'standardized'"):
        fuse(e, "fused", "cosine")
    with pytest.raises(ValueError, match="pose_weight .*-1"):
        fuse(e, "fused", "normalized", -1.0)
    with pytest.raises(InputError, match="standardized.* statistics"):
        fuse(e, "fused", "standardized")
    with pytest.raises(ValueError, match="'fused' needs pose features"):
        fuse(e._replace(pose=np.zeros((12, 0), np.float32)), "fused")
    with pytest.raises(ValueError, match=r"statistics .*\(3,\), \(3,\) .* 7"):
        fuse(e, "fused", "standardized", statistics=statistics_of(embed(np.ones((2, 3)), np.ones((2, 4)))))
    with pytest.raises(ValueError, match="statistics of shapes"):
        fuse(e, "pose", "standardized", statistics=statistics_of(embed(np.ones((2, 7)), np.ones((2, 1)))))
