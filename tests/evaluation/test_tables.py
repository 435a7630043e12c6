import numpy as np
import pytest

from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.evaluation.tables import format_table


def random_metrics(seed):
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 9, 30), rng.integers(0, 9, 60)
    cameras = rng.integers(1, 5, 30), rng.integers(1, 5, 60)
    return evaluate_ranking(rng.random((30, 60)), *ids, *cameras)


def test_table():
    rows = {name: random_metrics(seed) for seed, name in enumerate(("appearance", "pose", "fused"))}
    lines = format_table(rows, "official", "euclidean").splitlines()
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
    assert len(format_table({**rows, "pose": None, "fused": None}, "official", "euclidean").splitlines()) == 3
    with pytest.raises(ValueError, match="no row"):
        format_table({"pose": None}, "official", "euclidean")
