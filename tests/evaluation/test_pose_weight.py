"""The fitted pose weight: beside loops by hand, for branches of which one is noise, and from the command line."""

import json

import numpy as np
import pytest

from rgcn_jax import compare, evaluate
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.feature_set import FeatureSet, join, write_features
from rgcn_jax.evaluation.pose_weight import WEIGHTS, best_weight, mAP_by_weight
from rgcn_jax.evaluation.protocol import Roles
from rgcn_jax.types import Embeddings
from tests.commands import fails, status

PERSONS = np.repeat(np.arange(1, 13), 4).astype(np.int32)
CAMERAS = np.tile([1, 1, 2, 3], 12).astype(np.int32)


def features(appearance_noise, pose_noise, seed=0, test=False):
    """48 tracklets of 12 persons whose features are a direction of the person and noise."""
    rng = np.random.default_rng(seed)

    def branch(noise):
        person = rng.standard_normal((12, 6))[PERSONS - 1]
        return (person + noise * rng.standard_normal((48, 6))).astype(np.float32)

    role = np.full(48, test)
    embeddings = Embeddings(branch(appearance_noise), branch(pose_noise), PERSONS, CAMERAS)
    names = [f"{'test' if test else 'train'}/{seed}/{i}.jpg" for i in range(48)]
    return FeatureSet(embeddings, Roles(role, role, np.zeros(48, bool)), names, np.full(48, 5, np.int32))


def mAP_by_hand(found, weight):
    a, p = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in found.embeddings[:2])
    precisions = []
    for q in range(len(a)):
        entries = []
        for g in range(len(a)):
            if PERSONS[g] == PERSONS[q] and CAMERAS[g] == CAMERAS[q]:
                continue
            distance = ((a[q] - a[g]) ** 2).sum() + weight**2 * ((p[q] - p[g]) ** 2).sum()
            entries.append((distance, PERSONS[g] == PERSONS[q]))
        matches, of_query = 0, []
        for rank, (_, match) in enumerate(sorted(entries), 1):
            if match:
                matches += 1
                of_query.append(matches / rank)
        precisions.append(np.mean(of_query))
    return 100 * np.mean(precisions)


def test_the_mAP_of_every_weight_is_that_of_loops():
    found = features(1.2, 1.0)
    for weight, value in mAP_by_weight(found, "normalized").items():
        assert value == pytest.approx(mAP_by_hand(found, weight), abs=1e-3)


def test_the_better_branch_gets_the_larger_weight():
    noise = 50.0
    assert best_weight(mAP_by_weight(features(noise, 0.6), "normalized")) >= 4
    assert best_weight(mAP_by_weight(features(0.6, noise), "normalized")) <= 0.25
    assert 0 < best_weight(mAP_by_weight(features(1.0, 1.0), "normalized")) < max(WEIGHTS)


def test_of_equal_weights_the_one_nearest_to_one_is_taken():
    assert best_weight({0.0: 90.0, 0.75: 90.0, 2.0: 90.0, 3.0: 89.0}) == 0.75


def test_a_model_of_one_branch_or_a_distance_without_weight_is_refused():
    one = features(1, 1)
    alone = FeatureSet(one.embeddings._replace(pose=np.zeros((48, 0), np.float32)), *list(vars(one).values())[1:])
    with pytest.raises(InputError, match="one branch"):
        mAP_by_weight(alone, "normalized")
    with pytest.raises(InputError, match="euclidean"):
        mAP_by_weight(one, "euclidean")


def test_test_persons_have_no_say_and_seeds_are_compared_together(tmp_path, capsys):
    weights, files = [], []
    for seed, pose_noise in ((1, 0.9), (2, 2.0)):  # of the test persons alone
        path = tmp_path / f"seed{seed}.npz"
        train = features(1.0, 0.8)
        write_features(path, join(train, features(1.0, pose_noise, seed, test=True)))
        flags = [f"--features={path}", "--fit-pose-weight", "--config.evaluation.distance=normalized"]
        assert status(evaluate.main, [*flags, f"--config.seed={seed}"]) == 0
        files.append(tmp_path / "evaluations" / f"seed{seed}-fitted.json")
        content = json.loads(files[-1].read_text())
        weights.append(content["fitted_pose_weight"])
        assert content["config"]["evaluation"]["pose_weight"] == content["fitted_pose_weight"]["weight"]
    assert weights[0] == weights[1]
    assert weights[0]["weight"] == best_weight(mAP_by_weight(train, "normalized"))

    content["config"]["evaluation"]["pose_weight"] = 7.0  # as if it had been fitted to another value
    files[-1].write_text(json.dumps(content))
    capsys.readouterr()
    compare.main([*map(str, files), "--rows=appearance,fused", "--resamples=100"])
    assert "2 pair(s) of runs" in capsys.readouterr().out

    path = tmp_path / "test-only.npz"
    write_features(path, features(1, 1, test=True))
    assert "no training tracklets" in fails(evaluate.main, [f"--features={path}", "--fit-pose-weight"], capsys)
