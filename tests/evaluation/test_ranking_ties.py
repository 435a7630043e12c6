"""Ties in a ranking: their metrics are the mean over all orders of the gallery."""

import itertools
import math

import numpy as np
import pytest

from rgcn_jax.evaluation.ranking import (
    evaluate_ranking,
)
from tests.evaluation.test_ranking import random_case, reference


@pytest.mark.parametrize("ap", ["mean", "trapezoid"])
@pytest.mark.parametrize(("seed", "levels"), [(seed, levels) for levels in (1, 2, 3) for seed in range(3)])
def test_ties_are_the_mean_over_all_orders_of_the_gallery(seed, levels, ap):
    """Seven entries, 5,040 orders: each breaks the ties in its own way."""
    rng = np.random.default_rng(seed)
    distances = rng.integers(0, levels, (1, 7)).astype(np.float32)
    gallery_ids, cameras = np.array([1, 1, 1, 1, 2, 0, -1]), np.array([1, 2, 2, 3, 1, 2, 1])
    case = distances, np.array([1]), gallery_ids, np.array([1]), cameras
    metrics = evaluate_ranking(*case, ap=ap)
    totals = np.zeros(9)
    for order in itertools.permutations(range(7)):
        columns = list(order)
        _, cmc, (precision,), (first,), (penalty,) = reference(
            distances[:, columns], case[1], gallery_ids[columns], case[3], cameras[columns], ap
        )
        totals += [precision, first, penalty, *cmc]
    precision, first, penalty, *cmc = totals / math.factorial(7)
    np.testing.assert_allclose(metrics.average_precision, [precision], atol=1e-12)
    np.testing.assert_allclose(metrics.first_match_rank, [first], atol=1e-12)
    np.testing.assert_allclose(metrics.inverse_negative_penalty, [penalty], atol=1e-12)
    np.testing.assert_allclose(metrics.cmc, cmc, atol=1e-12)
    at_matches = distances[0, 1:4]
    assert metrics.num_tied_queries == np.isin(distances[0, 4:6], at_matches).any()


def test_hand_worked_tie():
    """A match and a stranger at one distance: rank 1 or 2. Two matches at one distance are no tie."""
    arguments = np.array([1]), np.array([1, 2, 1]), np.array([1]), np.array([2, 2, 2])
    metrics = evaluate_ranking(np.array([[3, 3, 9]], np.float32), *arguments)
    assert metrics.mAP == pytest.approx(((1 + 2 / 3) / 2 + (1 / 2 + 2 / 3) / 2) / 2)
    assert metrics.cmc.tolist() == [0.5, 1, 1]
    assert metrics.first_match_rank.tolist() == [1.5]
    assert metrics.num_tied_queries == 1
    assert evaluate_ranking(np.array([[3, 4, 3]], np.float32), *arguments).num_tied_queries == 0


@pytest.mark.parametrize("levels", [1, 3, 12])
def test_ties_in_a_large_gallery_are_the_mean_over_random_orders(levels):
    """60 queries, 150 shuffled galleries: within four standard errors."""
    distances, q_ids, g_ids, q_cameras, g_cameras = case = random_case(1, levels, num_queries=60, num_gallery=100)
    metrics = evaluate_ranking(*case)
    rng = np.random.default_rng(0)
    found = []
    for _ in range(150):
        noise = rng.permutation(100).astype(np.float32) / 100
        shuffled = evaluate_ranking(distances + noise, q_ids, g_ids, q_cameras, g_cameras)
        found.append([shuffled.mAP, shuffled.mINP, *shuffled.cmc[[0, 4, 9]]])
    expected = [metrics.mAP, metrics.mINP, *metrics.cmc[[0, 4, 9]]]
    error = np.std(found, axis=0) / np.sqrt(len(found))
    assert (np.abs(np.mean(found, axis=0) - expected) <= 4 * error).all()
    assert metrics.num_tied_queries > 30


def test_a_planted_tie_does_not_favour_the_order_of_the_gallery():
    """The gallery by person, as MARS has it; the strangers come first, last or anywhere: the same numbers."""
    distances, q_ids, g_ids, q_cameras, g_cameras = random_case(2, levels=5)
    found = []
    for order in (np.argsort(g_ids), np.argsort(-g_ids), np.random.default_rng(0).permutation(90)):
        metrics = evaluate_ranking(distances[:, order], q_ids, g_ids[order], q_cameras, g_cameras[order])
        found.append((metrics.mAP, metrics.mINP, metrics.num_tied_queries, *metrics.cmc))
    assert found[0] == found[1] == found[2]


@pytest.mark.parametrize("levels", [None, 12, 1])
@pytest.mark.parametrize("seed", range(3))
def test_order_of_the_gallery_does_not_matter(seed, levels):
    distances, q_ids, g_ids, q_cameras, g_cameras = random_case(seed, levels)
    order = np.random.default_rng(seed).permutation(len(g_ids))
    first = evaluate_ranking(distances, q_ids, g_ids, q_cameras, g_cameras)
    second = evaluate_ranking(distances[:, order], q_ids, g_ids[order], q_cameras, g_cameras[order])
    np.testing.assert_array_equal(first.average_precision, second.average_precision)
    np.testing.assert_array_equal(first.cmc, second.cmc)
