import json

import numpy as np
import pytest

from rgcn_jax.evaluation.ranking import as_percentages, evaluate_ranking
from rgcn_jax.evaluation.significance import (
    MIN_PERSONS,
    interval_over_persons,
    metric_intervals,
    paired_difference,
    ranking_json,
    values_by_query,
)


def random_metrics(seed=0, persons=25, num_queries=80):
    """The last person is not in the gallery."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, persons + 1, num_queries), rng.integers(0, persons, 200)
    cameras = rng.integers(1, 5, num_queries), rng.integers(1, 5, 200)
    distances = rng.random((num_queries, 200)) - 0.4 * (ids[0][:, None] == ids[1])
    return evaluate_ranking(distances, *ids, *cameras), ids[0]


def values_of_persons(seed, persons, scatter=1.0, shift=0.0):
    """Queries of a person share its level, so they are far from independent."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(persons), rng.integers(1, 6, persons))
    return shift + rng.normal(0, 1, persons)[ids] + scatter * rng.normal(0, 1, len(ids)), ids


def test_equals_a_resampled_list_of_queries():
    """Every query of a drawn person is listed again, and the mean is taken of the list."""
    metrics, ids = random_metrics()
    assert metrics.num_skipped_queries
    values = metrics.average_precision
    kept = ids[metrics.valid]
    persons = np.unique(kept)
    draws = np.random.default_rng(3).multinomial(len(persons), [1 / len(persons)] * len(persons), 60)
    means = [
        np.mean([v for p, n in zip(persons, drawn, strict=True) for v in values[metrics.valid][kept == p].tolist() * n])
        for drawn in draws
    ]
    found = interval_over_persons(values, ids, resamples=60, seed=3) or pytest.fail("no interval")
    np.testing.assert_allclose(found, np.percentile(means, [2.5, 97.5]), rtol=1e-12)


def test_values_by_query_have_the_metrics_as_means():
    metrics, _ = random_metrics()
    means = {name: np.nanmean(values) for name, values in values_by_query(metrics).items()}
    assert means == pytest.approx({**as_percentages(metrics), "mINP": 100 * metrics.mINP})


def test_the_interval_holds_the_truth():
    """95 % of 300 samples, with a standard error of 1.3 %; resampling queries instead of persons is far too short."""
    by_person, by_query = [], []
    for seed in range(300):
        values, ids = values_of_persons(seed, 50)
        for hits, units in ((by_person, ids), (by_query, np.arange(len(ids)))):
            low, high = interval_over_persons(values, units, resamples=300) or pytest.fail("no interval")
            hits.append(low <= 0 <= high)
    assert np.mean(by_person) == pytest.approx(0.95, abs=0.04)
    assert np.mean(by_query) < 0.85


def test_a_few_persons_have_no_interval():
    values, ids = values_of_persons(0, MIN_PERSONS - 1)
    assert interval_over_persons(values, ids) is None
    assert interval_over_persons(*values_of_persons(0, MIN_PERSONS)) is not None


def test_the_order_of_the_queries_and_the_seed():
    metrics, ids = random_metrics()
    values = metrics.average_precision
    found = interval_over_persons(values, ids)
    assert interval_over_persons(values[::-1], ids[::-1]) == pytest.approx(found, rel=1e-12)
    assert interval_over_persons(values, ids, seed=1) != found
    intervals = metric_intervals(metrics, ids)
    assert intervals["mAP"] == pytest.approx(tuple(100 * bound for bound in found or ()))


def test_paired_difference():
    first, ids = values_of_persons(0, 60)
    noise, _ = values_of_persons(0, 60, scatter=0.2)
    found = paired_difference(first, first + 0.3 + 0.1 * noise, ids, resamples=2000)
    assert found.value == pytest.approx(0.3 + 0.1 * noise.mean())
    low, high = found.interval or pytest.fail("no interval")
    assert low < found.value < high
    assert high - low < 0.1  # much shorter than the interval of either one
    assert found.p_value == pytest.approx(1 / 2001)
    turned = paired_difference(first + 0.3 + 0.1 * noise, first, ids, resamples=2000)
    assert (turned.value, turned.p_value) == (-found.value, found.p_value)
    assert paired_difference(first, first, ids).p_value == 1


def test_p_value_equals_all_exchanges():
    """Ten persons have 1,024 exchanges of the two rankings."""
    values, ids = values_of_persons(4, 10, shift=0.4)
    sums = np.array([values[ids == p].sum() for p in range(10)])
    signs = np.array([[1 - 2 * (n >> bit & 1) for bit in range(10)] for n in range(1024)])
    exact = np.mean(np.abs(signs @ sums) >= abs(sums.sum()) - 1e-12)
    found = paired_difference(np.zeros(len(values)), values, ids, resamples=20_000)
    assert 0.01 < exact < 0.9
    assert found.p_value == pytest.approx(exact, abs=4 * np.sqrt(exact * (1 - exact) / 20_000))


def test_p_values_are_even_where_there_is_no_difference():
    p_values = [paired_difference(np.zeros_like(v), v, ids, 200).p_value for v, ids in map(null_case, range(300))]
    assert np.mean(np.array(p_values) <= 0.1) == pytest.approx(0.1, abs=4 * np.sqrt(0.09 / 300))


def null_case(seed):
    return values_of_persons(seed, 30)


def test_only_queries_that_both_have():
    first, second = np.array([1.0, np.nan, 3.0, 5.0]), np.array([2.0, 4.0, np.nan, 7.0])
    assert paired_difference(first, second, np.array([1, 1, 2, 3])).value == 1.5
    with pytest.raises(ValueError, match="at least one query"):
        paired_difference(first[1:3], second[1:3], np.array([1, 2]))


def test_json():
    metrics, ids = random_metrics()
    written = json.loads(json.dumps(ranking_json(metrics, ids)))
    assert {name: written[name] for name in as_percentages(metrics)} == pytest.approx(as_percentages(metrics))
    assert written["mINP"] == pytest.approx(100 * metrics.mINP)
    low, high = written["intervals"]["rank1"]
    assert low < written["rank1"] < high
    assert written["persons"] == len(np.unique(ids[metrics.valid]))
    assert written["valid_queries"] + written["skipped_queries"] == len(ids)
    assert (written["tied_queries"], written["gallery"]) == (0, metrics.num_gallery)


def test_json_without_any_valid_query():
    metrics, ids = random_metrics()
    written = ranking_json(metrics.select(~metrics.valid), ids[~metrics.valid])
    assert written["mAP"] is written["rank1"] is written["intervals"]["mAP"] is None
    assert written["valid_queries"] == 0
    assert written["skipped_queries"] == metrics.num_skipped_queries > 0
