import numpy as np
import pytest

from rgcn_jax.evaluation import rerank
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles, gallery_of
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.evaluation.rerank import expanded_blocks, k_reciprocal_blocks, reranked_rows
from rgcn_jax.types import Embeddings


def clusters(seed=0, persons=8, each=6, dimensions=4, spread=0.6):
    """Persons seen by three cameras, some junk; every fifth tracklet is a query, in the gallery too."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.repeat(np.arange(1, persons + 1), each), np.full(4, -1)]).astype(np.int32)
    features = rng.normal(0, 1, (persons + 1, dimensions))[ids] + spread * rng.normal(0, 1, (len(ids), dimensions))
    order = rng.permutation(len(ids))
    cameras = rng.integers(1, 4, len(ids)).astype(np.int32)
    query = (np.arange(len(ids)) % 5 == 0) & (ids[order] > 0)
    roles = Roles(query, ids[order] > 0, ids[order] < 0)
    embeddings = Embeddings(
        features[order].astype(np.float32), np.zeros((len(ids), 0), np.float32), ids[order], cameras
    )
    return embeddings, roles


def whole(blocks, num_queries, count):
    """The matrix from its blocks, each query once."""
    matrix = np.full((num_queries, count), np.nan, np.float32)
    for rows, distances in blocks:
        assert np.isnan(matrix[rows]).all()
        matrix[rows] = distances
    return matrix


def k_reciprocal_by_loop(features, queries, part, k1, k2, weight):
    """From the definition, with sets and dictionaries."""
    members = [int(i) for i in np.flatnonzero(part)]
    square = {
        p: {g: float(((features[p].astype(float) - features[g].astype(float)) ** 2).sum()) for g in members}
        for p in members
    }
    d = {p: {g: square[p][g] / max(square[p].values()) for g in members} for p in members}
    order = {p: sorted(members, key=lambda g: (-1 if g == p else square[p][g], g)) for p in members}

    def near(p, k):
        return set(order[p][: k + 1])

    def reciprocal(p, k):
        return {g for g in near(p, k) if p in near(g, k)}

    encoded = {}
    for p in members:
        wide = reciprocal(p, k1)
        extended = set(wide)
        for q in wide:
            half = reciprocal(q, round(k1 / 2))
            if len(wide & half) >= 2 / 3 * len(half) - 1e-9:
                extended |= half
        weights = {g: np.exp(-d[p][g]) for g in extended}
        encoded[p] = {g: w / sum(weights.values()) for g, w in weights.items()}
    expanded = {p: {g: sum(encoded[q].get(g, 0) for q in order[p][:k2]) / k2 for g in members} for p in members}
    result = np.ones((len(queries), len(features)))
    for row, p in enumerate(queries):
        for g in members:
            low = sum(min(expanded[p][m], expanded[g][m]) for m in members)
            high = sum(max(expanded[p][m], expanded[g][m]) for m in members)
            result[row, g] = (1 - weight) * (1 - low / high) + weight * d[p][g]
    return result


@pytest.mark.parametrize(("k1", "k2", "weight"), [(20, 6, 0.3), (7, 3, 0.1), (6, 1, 0.0), (4, 2, 1.0)])
@pytest.mark.parametrize("seed", range(2))
def test_k_reciprocal_equals_the_loop(seed, k1, k2, weight, monkeypatch):
    monkeypatch.setattr(rerank, "BLOCK_ROWS", 7)
    monkeypatch.setattr(rerank, "_ELEMENTS", 300)
    embeddings, roles = clusters(seed)
    features, queries = embeddings.appearance, np.flatnonzero(roles.query)
    before = features.copy()
    found = whole(k_reciprocal_blocks(features, queries, ~roles.junk, k1, k2, weight), len(queries), len(features))
    expected = k_reciprocal_by_loop(features, queries, ~roles.junk, k1, k2, weight)
    np.testing.assert_allclose(found, expected, atol=2e-6)
    np.testing.assert_array_equal(features, before)


def test_the_unit_of_the_features_does_not_matter():
    embeddings, roles = clusters(1)
    queries = np.flatnonzero(roles.query)
    found = [
        whole(k_reciprocal_blocks(scale * embeddings.appearance, queries, ~roles.junk), len(queries), len(roles.junk))
        for scale in (np.float32(1), np.float32(64))
    ]
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_query_expansion_equals_the_loop(monkeypatch):
    """A query is no neighbour of itself, and one that is not in the gallery is nobody's."""
    monkeypatch.setattr(rerank, "_ELEMENTS", 200)
    embeddings, roles = clusters(2)
    features, queries = embeddings.appearance.astype(float), np.flatnonzero(roles.query)
    gallery = gallery_of(PROTOCOLS["official"], roles) & (np.arange(len(features)) % 3 > 0)
    found = whole(expanded_blocks(embeddings.appearance, queries, gallery, 3), len(queries), len(features))
    for row, query in enumerate(queries):
        others = [g for g in np.flatnonzero(gallery) if g != query]
        near = sorted(others, key=lambda g: np.linalg.norm(features[query] - features[g]))[:3]
        mean = features[[query, *near]].mean(axis=0)
        np.testing.assert_allclose(found[row], np.linalg.norm(features - mean, axis=1), atol=1e-5)


def test_a_gallery_smaller_than_the_neighbourhood():
    embeddings, roles = clusters(3, persons=2, each=3)
    rows = reranked_rows(embeddings.appearance, embeddings, roles, PROTOCOLS["official"])
    assert all(metrics.num_valid_queries for metrics in rows.values())


def test_rows_help_where_persons_form_clusters():
    """With neighbours in plenty and noisy features, both rank better than the plain distance."""
    embeddings, roles = clusters(4, persons=25, each=12, dimensions=6, spread=0.45)
    plain = rank_features(embeddings.appearance, embeddings, roles, {"official": PROTOCOLS["official"]})["official"]
    rows = reranked_rows(embeddings.appearance, embeddings, roles, PROTOCOLS["official"])
    assert list(rows) == ["k_reciprocal", "query_expansion"]
    for metrics in rows.values():
        assert metrics.mAP > plain.mAP + 0.02
        assert metrics.num_gallery == plain.num_gallery
        np.testing.assert_array_equal(metrics.valid, plain.valid)


def test_the_order_of_the_tracklets_does_not_matter():
    embeddings, roles = clusters(5)
    order = np.random.default_rng(0).permutation(len(roles.query))
    order = np.concatenate([order[roles.query[order]], order[~roles.query[order]]])
    turned = Embeddings(*(column[order] for column in embeddings)), Roles(*(role[order] for role in roles))
    first = reranked_rows(embeddings.appearance, embeddings, roles, PROTOCOLS["official"])
    second = reranked_rows(turned[0].appearance, *turned, PROTOCOLS["official"])
    for row, metrics in first.items():
        assert second[row].mAP == pytest.approx(metrics.mAP, abs=1e-12)
