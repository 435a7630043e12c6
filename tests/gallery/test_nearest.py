"""Nearest neighbours in memory: products in any grouping, ties, and results that come in many parts."""

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.gallery import Match, candidates, nearest, products
from rgcn_jax.gallery.nearest import Block, Weights


@pytest.mark.parametrize("group", [0, *products.GROUPS])
@pytest.mark.parametrize("count", [1, 2, 7, 64, 70, 130])
def test_products_do_not_depend_on_how_they_are_grouped(group, count, monkeypatch):
    rng = np.random.default_rng(0)
    vectors, queries = (rng.standard_normal((n, 13), np.float32) for n in (45, count))
    monkeypatch.setattr(products, "_fastest_group", lambda *_: group)
    found = products.Products(queries[:, 2:9])
    expected = vectors[:, 2:9].astype(float) @ queries[:, 2:9].astype(float).T
    for part in (slice(None), slice(3, 5)):  # more and fewer rows than a group
        result = found(vectors[part, 2:9])
        np.testing.assert_allclose(result[:, :count], expected[part], rtol=1e-5, atol=1e-5)
        assert result.shape[1] == found.columns
        assert not result[:, count:].any()


def test_a_group_is_chosen_by_measurement():
    assert products._fastest_group(32, 16) in (0, *products.GROUPS)


@pytest.mark.parametrize("allowed", [1.0, 0.8, 0.3])
@pytest.mark.parametrize("weights", [Weights(1, 0.5, 5), Weights(0, 2, 5), Weights(1, 1, 5)])
def test_the_nearest_are_those_of_a_loop_over_all_pairs(weights, allowed, monkeypatch):
    monkeypatch.setattr(nearest, "PART_ELEMENTS", 64)
    monkeypatch.setattr(nearest, "EXACT_ELEMENTS", 50)
    monkeypatch.setattr(candidates, "POOLED", 10)
    rng = np.random.default_rng(1)
    entries, queries = (rng.integers(0, 3, (n, 8)).astype(np.float32) for n in (300, 9))  # many at one distance
    scale = np.repeat([weights.appearance, weights.pose], [5, 3])
    found = rng.random(300) < allowed
    blocks = [
        Block(
            entries[part],
            ((entries[part] * scale) ** 2).sum(axis=1).astype(np.float32),
            found[part],
            7 + np.arange(300)[part],
        )
        for part in (slice(0, 1), slice(1, 120), slice(120, 300))
    ]
    for k in (1, 5, 400):
        for query, result in zip(queries, nearest.nearest(blocks, queries, weights, k), strict=True):
            squares = [float(sum((scale * (entry.astype(float) - query)) ** 2)) for entry in entries]
            order = [i for i in np.argsort(squares, kind="stable").tolist() if found[i]][:k]
            assert result.ids.tolist() == [7 + i for i in order]
            np.testing.assert_allclose(result.distances, np.sqrt([squares[i] for i in order]), rtol=1e-12)


def test_of_equal_entries_the_first_are_found():
    entries = np.ones((30_000, 4), np.float32)
    squares, allowed = np.full(30_000, 4, np.float32), np.ones(30_000, bool)
    blocks = [Block(entries, squares, allowed, start + np.arange(30_000)) for start in (0, 30_000)]
    for found in nearest.nearest(blocks, entries[:3] + 1, Weights(1, 1, 2), 5):
        assert found.ids.tolist() == [0, 1, 2, 3, 4]
        assert found.distances.tolist() == [2.0] * 5


def test_a_match_whose_text_is_no_entry_is_refused_when_it_is_read():
    with pytest.raises(InputError, match="entry 7 was not written by this program"):
        _ = Match(7, 0.5, None, b'{"frames":3}').entry
