"""Comparisons: by hand, beside SciPy, under the null hypothesis, with a planted difference, from the command line."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from rgcn_jax import compare as command
from rgcn_jax.errors import InputError
from rgcn_jax.experiments.comparison import METRICS, compare, group, holm, pairs
from rgcn_jax.experiments.scored_run import ScoredRun, load_scored_run
from rgcn_jax.runtime.npz import write_arrays
from tests.commands import fails

PERSONS = np.repeat(np.arange(1, 41), 3).astype(np.int32)
"""Of 120 queries."""


def run(scores, path: Any = "a", **config: Any):
    """A run whose fused row has these scores under all metrics."""
    names = tuple(f"{person}/{i}.jpg" for i, person in enumerate(PERSONS))
    of_row = {f"official/fused/{metric}": np.asarray(scores, float) for metric in METRICS}
    return ScoredRun(Path(path), "official", {"seed": 0, **config}, names, PERSONS, of_row)


def cell(first, second, **options):
    found = compare(list(zip(first, second, strict=True)), [("fused", "fused")], "official", **options)
    return found.cells[0]


def noise(seed, size=120):
    """Queries of one person are alike."""
    rng = np.random.default_rng(seed)
    return 50 + 10 * np.repeat(rng.standard_normal(size // 3), 3) + rng.standard_normal(size)


def test_a_model_beside_itself_differs_by_nothing():
    found = cell([run(noise(0))], [run(noise(0))])
    assert found.difference == (0.0, (0.0, 0.0), 1.0)
    assert (found.wins, found.losses, found.p_holm) == (0, 0, 1.0)


def test_a_planted_difference_is_found_with_its_size():
    found = cell([run(noise(0))], [run(noise(0) + 3 + np.random.default_rng(1).standard_normal(120))])
    value, interval, p = found.difference
    assert interval is not None
    assert interval[0] < 3 < interval[1]
    assert interval[0] > 2
    assert value == pytest.approx(3, abs=0.5)
    assert p < 0.001
    assert found.wins > 110


def test_p_values_are_uniform_where_there_is_no_difference():
    p = [cell([run(noise(2 * s))], [run(noise(2 * s + 1))], resamples=400).difference.p_value for s in range(200)]
    assert stats.kstest(p, "uniform").pvalue > 0.01
    assert 2 <= np.sum(np.array(p) < 0.05) <= 20


def test_interval_and_p_agree_with_scipy():
    """One query a person, where resampling persons is resampling queries."""
    rng = np.random.default_rng(3)
    a = rng.standard_normal(60)
    b = a + 0.25 + rng.standard_normal(60)
    names, persons = tuple(map(str, range(60))), np.arange(1, 61, dtype=np.int32)
    runs = [ScoredRun(Path("x"), "p", {}, names, persons, {f"p/fused/{m}": v for m in METRICS}) for v in (a, b)]
    _, interval, p = compare([(runs[0], runs[1])], [("fused", "fused")], "p").cells[0].difference
    expected = stats.permutation_test(
        (b - a, np.zeros(60)), lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=9999, rng=0
    )
    assert p == pytest.approx(expected.pvalue, abs=0.02)
    bootstrap = stats.bootstrap((b - a,), np.mean, method="percentile", n_resamples=9999, rng=0).confidence_interval
    assert interval is not None
    np.testing.assert_allclose(interval, (bootstrap.low, bootstrap.high), atol=0.03)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_seeds_are_averaged_by_query_and_other_data_are_other_queries():
    base = [run(noise(0), seed=s) for s in (0, 1)]
    better = [run(noise(0) + d, seed=s) for s, d in ((0, 1.0), (1, 3.0))]
    found = cell(base, better)
    assert found.difference.value == pytest.approx(2)
    assert (found.num_queries, found.num_persons) == (120, 40)
    others = [run(noise(0) + d, **{"data.walkers.seed": s}) for s, d in ((0, 1.0), (1, 3.0))]
    found = cell([run(noise(0), **{"data.walkers.seed": s}) for s in (0, 1)], others)
    assert (found.num_queries, found.num_persons) == (240, 80)


def test_skipped_queries_are_left_out():
    a, b = noise(0), noise(0) + 1
    a[5], b[7] = np.nan, np.nan
    assert cell([run(a)], [run(b)]).num_queries == 118


def test_runs_are_grouped_by_what_they_compute_and_paired_by_seed():
    runs = [
        run(noise(0), seed=0, **{"data.root": "x"}),
        run(noise(0), seed=1),
        run(noise(1), seed=1, **{"model.pose": "LGCN"}),
        run(noise(1), seed=2, **{"model.pose": "LGCN"}),
    ]
    first, second = group(runs)
    assert (len(first), len(second)) == (2, 2)
    assert [(a.config["seed"], b.config["seed"]) for a, b in pairs(first, second)] == [(1, 1)]
    with pytest.raises(InputError, match="seed"):
        pairs(first[:1], second)
    with pytest.raises(InputError, match="the same configuration"):
        pairs([first[0], first[0]], second)


def test_other_queries_or_persons_are_refused():
    a = run(noise(0))
    renamed = ScoredRun(Path("b"), "official", {}, ("0.jpg", *a.first_frames[1:]), a.person_ids, a.scores)
    with pytest.raises(InputError, match="different queries"):
        cell([a], [renamed])
    others = ScoredRun(Path("b"), "official", {}, a.first_frames, a.person_ids[::-1].copy(), a.scores)
    with pytest.raises(InputError, match="different persons"):
        cell([a], [others])
    with pytest.raises(InputError, match="official/pose"):
        compare([(a, a)], [("pose", "pose")], "official")


def written(folder, scores, pose):
    folder.mkdir()
    config = {"seed": 0, "model": {"pose": pose}, "data": {"name": "walkers"}}
    (folder / "results.json").write_text(json.dumps({"protocol": "official", "config": config}))
    one = run(scores)
    named = {"first_frames": np.array(one.first_frames), "person_ids": one.person_ids}
    write_arrays(folder / "results.queries.npz", {**named, "camera_ids": np.ones(120, np.int32), **one.scores})
    return folder


def test_runs_without_a_common_row_or_query_are_refused():
    with pytest.raises(InputError, match="no row in common"):
        compare([(run(noise(0)), run(noise(0)))], [], "official")
    with pytest.raises(InputError, match="no query"):
        cell([run(noise(0))], [run(np.full(120, np.nan))])


def test_the_command_prints_and_writes_the_comparison(tmp_path, capsys):
    a, b = written(tmp_path / "a", noise(0), "none"), written(tmp_path / "b", noise(0) + 2, "RGCN")
    command.main([str(a), str(b), f"--out={tmp_path / 'c.json'}", "--resamples=200"])
    printed = capsys.readouterr().out
    assert "model.pose: 'none' -> 'RGCN'" in printed
    assert "+2.0" in printed
    content = json.loads((tmp_path / "c.json").read_text())
    assert content["differing_fields"] == {"model.pose": ["none", "RGCN"]}
    assert [c["metric"] for c in content["cells"]] == list(METRICS)
    assert content["cells"][0]["difference"]["value"] == pytest.approx(2)
    assert "two configurations, found 1" in fails(command.main, [a], capsys)
    assert "rows of one" in fails(command.main, [a, b, "--rows=appearance,fused"], capsys)
    assert "expected two of" in fails(command.main, [a, "--rows=fused"], capsys)


def test_results_that_cannot_be_read_are_one_sentence(tmp_path, capsys):
    assert "expected the folder of a finished run" in fails(command.main, [tmp_path, tmp_path], capsys)
    a = written(tmp_path / "a", noise(0), "none")
    assert load_scored_run(a).person_ids.tolist() == PERSONS.tolist()
    (a / "results.queries.npz").unlink()
    assert "lacks per-query scores" in fails(command.main, [a, a], capsys)
    (a / "results.json").write_text("[")
    assert "cannot be read" in fails(command.main, [a, a], capsys)
