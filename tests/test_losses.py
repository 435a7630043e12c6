"""Eq. 15-19 against loops written from the equations, and the traps that do not warn."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import losses


def triplet_loop(features, labels, margin, anchors=None):
    """Eq. 15: for each anchor the farthest positive and the nearest negative; the mean over anchors."""
    losses = []
    for i in range(len(labels)) if anchors is None else anchors:
        positives = [np.linalg.norm(features[i] - features[j]) for j in range(len(labels)) if labels[j] == labels[i]]
        negatives = [np.linalg.norm(features[i] - features[j]) for j in range(len(labels)) if labels[j] != labels[i]]
        losses.append(max(0.0, margin + max(positives) - min(negatives)))
    return np.mean(losses)


def test_the_soft_margin_agrees_with_a_loop():
    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(12, 7)).astype(np.float32), np.repeat(np.arange(3), 4).astype(np.int32)
    far = np.linalg.norm(features[:, None].astype(np.float64) - features[None], axis=-1)
    same = labels[:, None] == labels
    expected = np.log1p(np.exp(np.where(same, far, 0).max(axis=1) - np.where(same, np.inf, far).min(axis=1))).mean()
    assert float(losses.batch_hard_triplet_loss(features, labels, "soft")) == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="expected a number or"):
        losses.batch_hard_triplet_loss(features, labels, "hard")


@pytest.mark.parametrize(("offset", "scale"), [(0.0, 1.0), (10.0, 1.0), (0.0, 0.01)])
def test_triplet_agrees_with_a_loop(offset, scale):
    rng = np.random.default_rng(0)
    features = (offset + scale * rng.normal(size=(12, 7))).astype(np.float32)
    labels = np.repeat(np.arange(3), 4).astype(np.int32)
    expected = triplet_loop(features.astype(np.float64), labels, 0.3)
    assert float(losses.batch_hard_triplet_loss(features, labels, 0.3)) == pytest.approx(expected, rel=1e-5)


def test_candidates_are_where_positives_and_negatives_are_sought():
    """Of one device's clips as anchors and all clips as candidates; with fewer candidates the loss is another."""
    rng = np.random.default_rng(0)
    features = rng.normal(size=(12, 7)).astype(np.float32)
    labels = np.tile(np.arange(3), 4).astype(np.int32)
    rows = slice(4, 8)
    loss = float(losses.batch_hard_triplet_loss(features[rows], labels[rows], 0.3, features, labels))
    assert loss == pytest.approx(triplet_loop(features.astype(np.float64), labels, 0.3, anchors=range(4, 8)), rel=1e-5)
    assert abs(loss - float(losses.batch_hard_triplet_loss(features[rows], labels[rows], 0.3))) > 0.1


def test_candidates_need_their_labels():
    features, labels = np.eye(4, dtype=np.float32), np.array([0, 0, 1, 1], np.int32)
    with pytest.raises(ValueError, match="together"):
        losses.batch_hard_triplet_loss(features, labels, 0.3, features)
    with pytest.raises(ValueError, match="together"):
        losses.batch_hard_triplet_loss(features, labels, 0.3, candidate_labels=labels)


def test_triplet_by_hand():
    features = np.array([[0, 0], [0, 1], [3, 0], [3, 2]], np.float32)
    labels = np.array([0, 0, 1, 1], np.int32)
    # hardest positives 1, 1, 2, 2; nearest negatives 3, sqrt(10), 3, sqrt(10)
    expected = (0 + 0 + max(0, 1.5 + 2 - 3) + max(0, 1.5 + 2 - 10**0.5)) / 4
    assert float(losses.batch_hard_triplet_loss(features, labels, 1.5)) == pytest.approx(expected, rel=1e-6)


def test_distances_keep_their_digits_under_a_large_offset():
    rng = np.random.default_rng(1)
    a = (100 + 0.02 * rng.normal(size=(8, 2048))).astype(np.float32)
    exact = ((a[:, None].astype(np.float64) - a[None].astype(np.float64)) ** 2).sum(-1)
    np.testing.assert_allclose(losses.squared_distances(a, a), exact, rtol=2e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("features", "labels"),
    [
        (np.ones((4, 3), np.float32), [0, 0, 1, 1]),  # exact duplicates
        (np.zeros((4, 3), np.float32), [0, 0, 0, 0]),  # one identity
        (np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32), [0, 1, 2, 3]),  # no positives
    ],
)
def test_triplet_and_its_gradient_are_finite_in_degenerate_batches(features, labels):
    for margin in (0.3, "soft"):
        value, gradient = jax.value_and_grad(losses.batch_hard_triplet_loss)(
            features, np.array(labels, np.int32), margin
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()


def test_a_batch_of_one_identity_has_no_triplet():
    assert float(losses.batch_hard_triplet_loss(np.eye(4, dtype=np.float32), np.zeros(4, np.int32), 0.3)) == 0.0


def test_triplet_gradient_agrees_with_finite_differences():
    rng = np.random.default_rng(2)
    with jax.enable_x64(True):
        features, labels = rng.normal(size=(6, 4)), np.array([0, 0, 1, 1, 2, 2], np.int32)
        gradient = jax.grad(losses.batch_hard_triplet_loss)(jnp.asarray(features), labels, 0.3)
        for i, j in np.ndindex(features.shape):
            step = np.zeros_like(features)
            step[i, j] = 1e-6
            up, down = (losses.batch_hard_triplet_loss(features + s * step, labels, 0.3) for s in (1, -1))
            assert float(gradient[i, j]) == pytest.approx(float(up - down) / 2e-6, abs=1e-6)


def test_identity_loss_agrees_with_a_loop():
    rng = np.random.default_rng(3)
    logits, labels, s = rng.normal(size=(5, 7)).astype(np.float32), rng.integers(0, 7, 5).astype(np.int32), 0.1
    total = 0.0
    for z, y in zip(logits.astype(np.float64), labels, strict=True):
        p = np.exp(z) / np.exp(z).sum()
        target = np.full(7, s / 7)
        target[y] += 1 - s
        total -= (target * np.log(p)).sum()
    assert float(losses.identity_loss(logits, labels, s)) == pytest.approx(total / 5, rel=1e-5)
    plain = -np.mean([np.log(np.exp(z[y]) / np.exp(z).sum()) for z, y in zip(logits, labels, strict=True)])
    assert float(losses.identity_loss(logits, labels, 0.0)) == pytest.approx(plain, rel=1e-5)


@pytest.mark.parametrize(
    ("loss_a", "loss_p", "expected"),
    [(0.3, 0.1, 0.75), (0.0, 0.2, 0.0), (0.2, 0.0, 1.0), (0.0, 0.0, 0.5), (1e-20, 1e-20, 0.5)],
)
def test_adaptive_weight(loss_a, loss_p, expected):
    assert float(losses.adaptive_weight(jnp.float32(loss_a), jnp.float32(loss_p))) == pytest.approx(expected, abs=1e-6)


def combined(loss_a, loss_p, weight, weight_gradient=False):
    return losses.combine(jnp.float32(1.0), loss_a, loss_p, weight, weight_gradient)


def test_the_total_is_eq_19():
    terms = combined(jnp.float32(0.3), jnp.float32(0.1), "adaptive")
    assert float(terms.total) == pytest.approx(1.0 + 0.75 * 0.3 + 0.25 * 0.1)
    fixed = combined(jnp.float32(0.3), jnp.float32(0.1), 1.0)
    assert float(fixed.total) == pytest.approx(1.3)  # table VII, lambda = 1: no pose triplet
    alone = losses.combine(jnp.float32(1.0), jnp.float32(0.3), None, "adaptive", False)
    assert float(alone.total) == pytest.approx(1.3)
    pose_alone = losses.combine(jnp.float32(1.0), None, jnp.float32(0.1), "adaptive", False)
    assert [float(x) for x in pose_alone[:5]] == pytest.approx([1.1, 1.0, 0.0, 0.1, 0.0])
    with pytest.raises(ValueError, match="triplet losses"):
        losses.combine(jnp.float32(1.0), None, None, "adaptive", False)


def test_an_auxiliary_loss_is_added_where_there_is_one():
    loss_a, loss_p = jnp.float32(0.3), jnp.float32(0.1)
    for pose in (loss_p, None):
        plain = losses.combine(jnp.float32(1.0), loss_a, pose, "adaptive", False)
        assert plain.auxiliary is None
        terms = losses.combine(jnp.float32(1.0), loss_a, pose, "adaptive", False, jnp.float32(0.004))
        assert float(terms.total) == pytest.approx(float(plain.total) + 0.004)
        assert terms.auxiliary is not None
        assert float(terms.auxiliary) == pytest.approx(0.004)
        assert terms[1:5] == plain[1:5]


@pytest.mark.parametrize(("a", "p"), [(0.3, 0.1), (0.0, 0.2), (0.0, 0.0)])
def test_no_gradient_through_lambda_unless_asked(a, p):
    def total(x, weight_gradient):
        return combined(x[0], x[1], "adaptive", weight_gradient).total

    point = jnp.float32([a, p])
    weight = float(losses.adaptive_weight(point[0], point[1]))
    np.testing.assert_allclose(jax.grad(total)(point, False), [weight, 1 - weight], atol=1e-6)
    assert float(jax.grad(losses.adaptive_weight)(point[0], point[1])) == 0
    assert np.isfinite(jax.grad(total)(point, True)).all()
    if (a, p) == (0.3, 0.1):  # d/da of (a^2 + p^2) / (a + p) by hand
        np.testing.assert_allclose(jax.grad(total)(point, True), [0.875, -0.125], atol=1e-5)


def cosine_triplet_loop(features, labels, margin):
    """As the released code of BiCnet-TKS has it: hinge of minus the cosines, the hardest of each anchor, mean."""
    rows = [row / np.linalg.norm(row) for row in features.astype(np.float64)]
    total = 0.0
    for i, anchor in enumerate(rows):
        same = [-anchor @ other for j, other in enumerate(rows) if labels[j] == labels[i]]
        others = [-anchor @ other for j, other in enumerate(rows) if labels[j] != labels[i]]
        total += max(0.0, margin + max(same) - min(others))
    return total / len(rows)


@pytest.mark.parametrize("margin", [0.5, 0.1])
def test_the_cosine_triplet_agrees_with_a_loop_and_knows_no_length(margin):
    rng = np.random.default_rng(5)
    features = (0.5 + rng.normal(size=(12, 7))).astype(np.float32)
    labels = np.repeat(np.arange(3), 4).astype(np.int32)
    scaled = features * rng.uniform(0.1, 10, (12, 1)).astype(np.float32)
    expected = cosine_triplet_loop(features, labels, margin)
    assert expected > 0.01
    for rows in (features, scaled):
        found = losses.batch_hard_triplet_loss(rows, labels, margin, distance="cosine")
        assert float(found) == pytest.approx(expected, rel=1e-5)
    parts = [
        losses.batch_hard_triplet_loss(features[s], labels[s], margin, features, labels, distance="cosine")
        for s in (slice(6), slice(6, 12))
    ]
    assert float(sum(parts)) / 2 == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="manhattan"):
        losses.batch_hard_triplet_loss(features, labels, margin, distance="manhattan")


@pytest.mark.parametrize("labels", [[0, 0, 1, 1], [0, 0, 0, 0], [0, 1, 2, 3]])
def test_the_cosine_triplet_and_its_gradient_are_finite_in_degenerate_batches(labels):
    features = np.array([[0, 0, 0], [0, 0, 0], [1, 2, 3], [1, 2, 3]], np.float32)
    for margin in (0.5, "soft"):
        value, gradient = jax.value_and_grad(losses.batch_hard_triplet_loss)(
            features, np.array(labels, np.int32), margin, distance="cosine"
        )
        assert np.isfinite(value)
        assert np.isfinite(gradient).all()
    if labels == [0, 0, 1, 1]:  # zero vectors are at distance 1 from everything, the two others at 0 from each other
        value = losses.batch_hard_triplet_loss(features, np.array(labels, np.int32), 0.5, distance="cosine")
        assert float(value) == pytest.approx((0.5 + 0.5 + 0 + 0) / 4)
