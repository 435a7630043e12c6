"""Fusion by quality: the distance is its formula, a missing pose changes no ranking, and what is learned is optimal."""

import json

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.calibrated import CalibratedDistances, Fusion, qualities
from rgcn_jax.evaluation.distance import FeatureStatistics, fuse
from rgcn_jax.evaluation.learn_fusion import RIDGE, PoseSample, draw_pairs, learn_fusion
from rgcn_jax.evaluation.pose_quality import PoseQuality, pose_quality
from rgcn_jax.evaluation.protocol import Roles
from rgcn_jax.evaluation.rank_protocols import evaluate_protocols
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.gallery.binding import binding_of
from rgcn_jax.types import Embeddings, Tracklet
from tests.gallery import models

FUSION = Fusion((3.0, 4.0), (-1.0, 2.0, 0.5, 1.0), (0.2, 1.0, -0.5, 0.3))


def case(seed=0, persons=20, each=6, noise=0.8):
    """Features with noise; pose features are worse the fewer keypoints were detected."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(1, persons + 1), each).astype(np.int32)
    share = rng.uniform(0.05, 1, len(ids)).astype(np.float32)
    a, p = rng.standard_normal((2, persons + 1, 8))
    embeddings = Embeddings(
        (a[ids] + noise * rng.standard_normal((len(ids), 8))).astype(np.float32),
        (p[ids] + 0.3 / share[:, None] * rng.standard_normal((len(ids), 8))).astype(np.float32),
        ids,
        np.tile(np.arange(1, each + 1), persons).astype(np.int32),
    )
    moments = (moment for f in embeddings[:2] for moment in (f.mean(axis=0), f.std(axis=0)))
    quality = PoseQuality(share, np.full(len(ids), 0.8, np.float32))
    frames = rng.integers(5, 200, len(ids))
    roles = Roles(rng.random(len(ids)) < 0.4, np.ones(len(ids), bool), np.zeros(len(ids), bool))
    return embeddings, FeatureStatistics(*moments), quality, frames, roles


def test_distances_are_the_formula():
    embeddings, statistics, quality, frames, _ = case()
    quality.share[[3, 17]] = 0
    distances = CalibratedDistances(embeddings, statistics, quality, frames, FUSION)
    a, p = (fuse(embeddings, row, "standardized", 1.0, statistics).astype(float) for row in ("appearance", "pose"))
    x = [(1, s, c, np.log(n) / np.log(1000)) for s, c, n in zip(*quality, frames, strict=True)]
    constant = -1.0 + 2.0 + 0.5 + 1.0  # the largest beta . x
    found = distances.between(slice(0, 30), slice(None))
    for i in range(30):
        for j in range(len(x)):
            of_pair = (np.array(x[i]) + np.array(x[j])) / 2
            ratio = of_pair @ FUSION.pose_bias - np.exp(of_pair @ FUSION.pose_log_slope) * np.linalg.norm(p[i] - p[j])
            ratio *= 0 not in (quality.share[i], quality.share[j])
            expected = np.linalg.norm(a[i] - a[j]) + (constant - ratio) / 4
            if i != j:  # float32 leaves little of a distance of 0
                assert found[i, j] == pytest.approx(expected, abs=1e-4)
    assert found.min() >= 0
    queries = np.array([5, 3, 60])
    for rows, block in distances.blocks(queries, block_elements=250):
        whole = distances.take(np.arange(120)).between(slice(None), slice(None))[queries[rows]]
        np.testing.assert_allclose(block + constant / 4, whole, atol=1e-3)  # a distance of 0 loses the most


@pytest.mark.parametrize("seed", range(5))
def test_where_pose_is_missing_the_fused_row_is_the_appearance_row(seed):
    embeddings, statistics, quality, frames, roles = case(seed)
    nothing = PoseQuality(np.zeros_like(quality.share), np.zeros_like(quality.share))
    for absent, of_these in (
        (np.ones(len(frames), bool), "all"),
        (roles.query & (np.arange(len(frames)) % 2 == 0), "some"),
    ):
        lacking = PoseQuality(*(np.where(absent, n, q) for n, q in zip(nothing, quality, strict=True)))
        fused = CalibratedDistances(embeddings, statistics, lacking, frames, FUSION)
        rows = evaluate_protocols(embeddings, roles, "calibrated", 1.0, statistics, fused=fused)["official"]
        mine = absent[roles.query]
        ranks = zip(rows["fused"].match_ranks, rows["appearance"].match_ranks, mine, strict=True)
        assert all(np.array_equal(a, b) for a, b, without in ranks if without), of_these
        assert mine.all() == (of_these == "all")


def test_what_is_learned_weighs_pose_by_its_quality_and_beats_fixed_weights():
    embeddings, statistics, quality, frames, _ = case(1, persons=60)
    fusion = learn_fusion(embeddings, statistics, [PoseSample(embeddings.pose, quality)], frames)
    assert fusion.appearance[1] > 0
    slopes = np.exp(qualities(quality, frames) @ fusion.pose_log_slope)
    well = quality.share > 0.8
    assert slopes[well].mean() > 2 * slopes[quality.share < 0.2].mean()
    embeddings, statistics, quality, frames, roles = case(2, persons=60)  # other persons
    fused = CalibratedDistances(embeddings, statistics, quality, frames, fusion)
    learned = evaluate_protocols(embeddings, roles, "calibrated", 1.0, statistics, fused=fused)["official"]
    fixed = evaluate_protocols(embeddings, roles, "standardized", 1.0, statistics)["official"]
    assert learned["fused"].mAP > fixed["fused"].mAP > fixed["appearance"].mAP
    best = verify(fused, embeddings.person_ids, embeddings.camera_ids, resamples=0)
    single = fuse(embeddings, "fused", "standardized", 1.0, statistics)
    assert best.eer < verify(single, embeddings.person_ids, embeddings.camera_ids, resamples=0).eer


def test_the_appearance_is_at_the_minimum_of_the_written_down_loss():
    embeddings, statistics, quality, frames, _ = case(3, persons=30)
    fusion = learn_fusion(embeddings, statistics, [PoseSample(embeddings.pose, quality)], frames)
    first, second, same = draw_pairs(embeddings.person_ids, embeddings.camera_ids)
    features = fuse(embeddings, "appearance", "standardized", 1.0, statistics)
    distances = [float(np.linalg.norm(features[i] - features[j])) for i, j in zip(first, second, strict=True)]

    def loss(a, log_b):
        by_class = {True: [], False: []}
        for d, one in zip(distances, same.tolist(), strict=True):
            probability = 1 / (1 + np.exp(-(a - np.exp(log_b) * d)))
            target = 1 - 1 / 32 if one else 1 / 32
            by_class[one].append(-target * np.log(probability) - (1 - target) * np.log(1 - probability))
        return np.mean(by_class[True]) / 2 + np.mean(by_class[False]) / 2 + RIDGE * (a**2 + log_b**2)

    a, log_b = fusion.appearance[0], np.log(fusion.appearance[1])
    here = loss(a, log_b)
    assert all(here < loss(a + da, log_b + db) for da, db in ((0.05, 0), (-0.05, 0), (0, 0.05), (0, -0.05)))


def test_pairs_are_of_two_cameras_or_two_persons():
    embeddings, *_ = case(4)
    first, second, same = draw_pairs(embeddings.person_ids, embeddings.camera_ids, most=100)
    assert same.sum() == (~same).sum() == 100
    ids, cameras = embeddings.person_ids, embeddings.camera_ids
    assert (same == (ids[first] == ids[second])).all()
    assert (cameras[first] != cameras[second])[same].all()
    with pytest.raises(InputError, match="nothing to learn"):
        draw_pairs(ids, np.ones_like(cameras))


def test_quality_by_hand():
    keypoints = np.zeros((2, 14, 3), np.float32)
    keypoints[0, :7, 2] = 0.5
    keypoints[1, 0, 2] = 0.9
    found = pose_quality(
        lambda t: keypoints if t.person_id == 1 else 0 * keypoints, [Tracklet((), i, 1) for i in (1, 2)]
    )
    np.testing.assert_allclose(found.share, [8 / 28, 0], rtol=1e-6)
    np.testing.assert_allclose(found.confidence, [(7 * 0.5 + 0.9) / 8, 0], rtol=1e-6)


def test_a_fusion_comes_back_from_json_and_damaged_ones_do_not():
    written = json.loads(json.dumps(FUSION.to_json()))
    assert Fusion.from_json(written) == FUSION
    for wrong in (
        None,
        {},
        {**written, "more": [1]},
        {**written, "appearance": [1.0, 0.0]},
        {**written, "pose_bias": [1]},
    ):
        with pytest.raises(ValueError, match="expected|must be"):
            Fusion.from_json(wrong)


def test_what_is_unknown_is_named():
    embeddings, statistics, quality, frames, _ = case()
    with pytest.raises(InputError, match="keypoint_share"):
        CalibratedDistances(embeddings, statistics, None, frames, FUSION)
    with pytest.raises(InputError, match="num_frames"):
        CalibratedDistances(embeddings, statistics, quality, 0 * frames, FUSION)
    with pytest.raises(InputError, match="standardized"):
        CalibratedDistances(embeddings, None, quality, frames, FUSION)
    with pytest.raises(InputError, match="evaluation.distance=standardized"):
        fuse(embeddings, "fused", "calibrated", 1.0, statistics)
    with pytest.raises(InputError, match="evaluation.distance=standardized"):  # a gallery keeps features
        binding_of(models.model("calibrated"))
