import numpy as np
import pytest

from rgcn_jax.evaluation.ranking import as_percentages, evaluate_ranking
from rgcn_jax.evaluation.significance import metric_intervals
from rgcn_jax.evaluation.tables import format_table, format_value


def random_metrics(seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 9, 30), rng.integers(0, 9, 60)
    cameras = rng.integers(1, 5, 30), rng.integers(1, 5, 60)
    return evaluate_ranking(rng.random((30, 60)), *ids, *cameras)


def test_table():
    rows = {name: random_metrics(seed) for seed, name in enumerate(("appearance", "pose", "fused"))}
    unknown = {name: dict.fromkeys(as_percentages(metrics)) for name, metrics in rows.items()}
    lines = format_table(rows, "official", "euclidean", unknown).splitlines()
    metrics = rows["pose"]
    assert lines[0] == (
        f"protocol official, distance euclidean, gallery {metrics.num_gallery}, "
        f"queries {metrics.num_valid_queries} valid + {metrics.num_skipped_queries} skipped"
    )
    assert lines[1].split() == ["mAP", "Rank-1", "Rank-5", "Rank-10", "Rank-20"]
    assert [line.split()[0] for line in lines[2:]] == ["appearance", "pose", "fused"]
    expected = [f"{100 * x:.1f}" for x in (metrics.mAP, *metrics.cmc[[0, 4, 9, 19]])]
    assert lines[3].split()[1:] == expected
    assert len({len(line) for line in lines[1:]}) == 1
    assert len(format_table({"appearance": rows["appearance"]}, "official", "euclidean", unknown).splitlines()) == 3


def test_table_with_intervals():
    metrics = random_metrics(0)
    ids = np.arange(30) // 2
    intervals = metric_intervals(metrics, ids)
    with_intervals = format_table({"appearance": metrics}, "official", "euclidean", {"appearance": intervals})
    _, titles, row = with_intervals.splitlines()
    assert len(titles) == len(row)
    low, high = intervals["mAP"] or pytest.fail("no interval")
    assert row.split()[1:3] == [f"{100 * metrics.mAP:.0f}", f"±{(high - low) / 2:.0f}"]
    nothing = dict.fromkeys(intervals)
    without = format_table({"appearance": metrics}, "official", "euclidean", {"appearance": nothing}).splitlines()[2]
    expected = [f"{100 * x:.1f}" for x in (metrics.mAP, *metrics.cmc[[0, 4, 9, 19]])]
    assert without.split() == ["appearance", *expected]


def test_ties_are_mentioned():
    ids, cameras = np.array([1]), np.array([1])
    metrics = evaluate_ranking(np.zeros((1, 2)), ids, np.array([1, 2]), cameras, np.array([2, 2]))
    intervals = {"appearance": metric_intervals(metrics, ids)}
    assert "1 with tied" in format_table({"appearance": metrics}, "official", "euclidean", intervals).splitlines()[0]


@pytest.mark.parametrize(
    ("value", "interval", "expected"),
    [
        (81.13, (79.4, 82.6), "81.1 ±1.6"),
        (81.13, (78.0, 83.5), "81 ±3"),
        (81.13, (60.0, 90.0), "81 ±15"),
        (81.13, (80.85, 81.45), "81.1 ±0.3"),
        (81.13, (80.99, 81.29), "81.13 ±0.15"),
        (99.9876, (99.96, 100.0), "99.99 ±0.02"),
        (99.9876, (99.987, 99.988), "99.99 ±0.00"),
        (100.0, (100.0, 100.0), "100.0 ±0"),
        (81.13, None, "81.1"),
    ],
)
def test_digits_that_the_interval_allows(value, interval, expected):
    assert format_value(value, interval) == expected
