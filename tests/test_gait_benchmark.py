"""The benchmark on real keypoints: its area under the ROC by plain loops, limb ratios, and the table it prints."""

import re

import numpy as np
import pytest

from benchmarks import gait
from rgcn_jax.skeleton import EDGES
from rgcn_jax.walkers import WalkersSpec, generate


def test_the_area_is_the_share_of_pairs_in_the_right_order():
    rng = np.random.default_rng(0)
    people = np.repeat(np.arange(5), 4)
    d = np.round(rng.random((20, 20)), 1)  # with ties
    d = d + d.T
    pairs = rng.random((20, 20)) < 0.7
    pairs = pairs | pairs.T
    wins = total = 0.0
    for i in range(20):
        for j in range(i + 1, 20):
            for k in range(20):
                for m in range(k + 1, 20):
                    if pairs[i, j] and pairs[k, m] and people[i] == people[j] and people[k] != people[m]:
                        wins += (d[i, j] < d[k, m]) + 0.5 * (d[i, j] == d[k, m])
                        total += 1
    area, low, high = gait.auc(d, people, pairs, 200)
    assert area == pytest.approx(100 * wins / total)
    assert low < area < high


def test_limb_ratios_know_no_place_and_no_size():
    walkers = generate(WalkersSpec(train_identities=4, test_identities=1, group_size=1, cameras=2))
    keypoints = [walkers.keypoints(t) for t in walkers.split.train]
    assert len(EDGES) == 13
    moved = [np.where(k[..., 2:] > 0, k * [0.5, 0.5, 1.0] + [0.1, 0.2, 0.0], 0.0) for k in keypoints]
    found = gait.limb_ratios(keypoints, 0.5)
    np.testing.assert_allclose(gait.limb_ratios(moved, 0.5), found, atol=1e-5)
    np.testing.assert_allclose(np.diag(found), 0)
    assert (found[np.triu_indices(len(found), 1)] > 0).all()


def test_without_the_data_it_says_so(tmp_path, capsys):
    gait.main([f"--data={tmp_path / 'nowhere'}"])
    assert capsys.readouterr().out.startswith("skipped: ")


@pytest.mark.jit
@pytest.mark.slow
@pytest.mark.real_data
def test_the_table_on_real_keypoints(real_data, capsys):
    gait.main([f"--data={real_data / 'vtest_mars'}", "--untrained=1", "--resamples=20"])
    out = capsys.readouterr().out
    assert out.startswith("11 people, 48 tracklets")
    rows = re.findall(r"^\| (limb.*?|walkers-gait.*?) \| (\d+) \[.*?\] \| (\d+) \[", out, re.MULTILINE)
    assert [name for name, _, _ in rows] == [
        "limb lengths / torso",
        "walkers-gait, untrained",
        "walkers-gait, full",
    ]
    assert all(0 <= int(value) <= 100 for row in rows for value in row[1:])
