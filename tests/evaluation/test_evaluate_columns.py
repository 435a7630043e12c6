"""``rgcn-jax evaluate`` on features files that know more: look-alikes, keypoints, clothes, a fusion, splits."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rgcn_jax import evaluate
from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.calibrated import Fusion
from rgcn_jax.evaluation.distance import FeatureStatistics
from rgcn_jax.evaluation.feature_set import FORMAT, VERSION, FeatureSet, join, read_features, write_features
from rgcn_jax.evaluation.pose_quality import PoseQuality
from rgcn_jax.evaluation.protocol import Roles
from rgcn_jax.types import Embeddings

FUSION = Fusion((3.0, 4.0), (0.5, 1.0, 0.0, 0.0), (0.5, 1.0, 0.0, 0.0))


def feature_set(seed=0, persons=24, each=6, **header):
    """Pairs of look-alikes in three cameras and two outfits each; half of the queries have hardly a keypoint."""
    rng = np.random.default_rng(seed)
    ids = np.repeat(np.arange(1, persons + 1), each).astype(np.int32)
    of_pair, own = rng.standard_normal((2, persons + 1, 8)).astype(np.float32)
    embeddings = Embeddings(
        of_pair[(ids + 1) // 2] + 0.5 * rng.standard_normal((len(ids), 8), dtype=np.float32),
        own[ids] + 0.5 * rng.standard_normal((len(ids), 8), dtype=np.float32),
        ids,
        np.tile(np.arange(each) % 3 + 1, persons).astype(np.int32),
        np.tile(np.arange(each) // 3 + 1, persons).astype(np.int32),
    )
    moments = (moment for f in embeddings[:2] for moment in (f.mean(axis=0), f.std(axis=0)))
    share = np.where(np.arange(len(ids)) % 2, 0.9, 0.1).astype(np.float32)
    groups = [[person, person + 1] for person in range(1, persons, 2)]
    return FeatureSet(
        embeddings,
        Roles(np.arange(len(ids)) % each < 3, np.ones(len(ids), bool), np.zeros(len(ids), bool)),
        [f"{i}.jpg" for i in range(len(ids))],
        rng.integers(5, 40, len(ids)).astype(np.int32),
        FeatureStatistics(*moments),
        {"format": FORMAT, "version": VERSION, "look_alikes": groups, "fusion": FUSION.to_json(), **header},
        PoseQuality(share, share),
    )


def test_columns_come_back_and_may_be_absent(tmp_path):
    written = feature_set()
    write_features(tmp_path / "f.npz", written)
    found = read_features(tmp_path / "f.npz")
    assert found.quality is not None
    assert written.quality is not None
    np.testing.assert_array_equal(found.quality.share, written.quality.share)
    np.testing.assert_array_equal(found.embeddings.clothes_ids, written.embeddings.clothes_ids)
    assert found.tracklets[4].clothes_id == written.embeddings.clothes_ids[4]
    taken = found.take(np.array([3, 1])).quality
    assert taken is not None
    assert taken.share.tolist() == written.quality.share[[3, 1]].tolist()
    both = join(found, replace(found, quality=None)).quality
    assert both is not None
    assert np.isnan(both.share).sum() == len(found.first_frames)
    with np.load(tmp_path / "f.npz") as arrays:
        rest = {name: arrays[name] for name in arrays if "keypoint" not in name and name != "clothes_ids"}
    np.savez(tmp_path / "old.npz", **rest)
    old = read_features(tmp_path / "old.npz")
    assert old.quality is None
    assert not old.embeddings.clothes_ids.any()


@pytest.mark.parametrize("distance", ["standardized", "calibrated"])
def test_the_analysis_has_every_row_with_interval_and_count(distance, tmp_path, capsys):
    write_features(tmp_path / "f.npz", feature_set(data_set="made up"))
    options = ["--analysis", f"--config.evaluation.distance={distance}", f"--out={tmp_path}/r.json"]
    evaluate.main([f"--features={tmp_path}/f.npz", *options])
    found = json.loads((tmp_path / "r.json").read_text())
    assert set(found["protocols"]) == {"official", "official_matlab", "query_excluded", "clothes_changed"}
    analysis = found["analysis"]
    slices = analysis["slices"]
    assert {"10 to 10 % of keypoints detected", "90 to 90 % of keypoints detected", "look-alikes"} <= set(slices)
    assert slices["look-alikes"]["fused"]["valid_queries"] == 72
    fusable = {"appearance", "pose"} if distance == "calibrated" else {"appearance", "pose", "fused"}
    assert set(analysis["multi_query"]) == set(analysis["reranking"]) == fusable
    assert set(analysis["verification"]) == {"appearance", "pose", "fused"}
    for metrics in analysis["multi_query"].values():
        low, high = metrics["intervals"]["mAP"]
        assert low <= metrics["mAP"] <= high
    multi = analysis["multi_query"]["pose"]["mAP"]
    assert multi > found["protocols"]["official"]["pose"]["mAP"]  # two views of a person say more than one
    assert f"distance {distance}" in capsys.readouterr().out


def test_a_calibrated_distance_needs_a_fusion(tmp_path):
    write_features(tmp_path / "f.npz", feature_set(fusion=None))
    with pytest.raises(InputError, match="calibrate --model=DIR --fusion"):
        evaluate.main([f"--features={tmp_path}/f.npz", "--config.evaluation.distance=calibrated"])


def test_mean_over_all_splits(tmp_path, capsys):
    expected = []
    for split in (1, 2, 3):
        described = f"prid2011 split {split} of 3 (1a2b3c4d)"
        write_features(tmp_path / f"s{split}.npz", feature_set(split, data_set=described))
        evaluate.main([f"--features={tmp_path}/s{split}.npz", f"--out={tmp_path}/one.json"])
        expected.append(json.loads((tmp_path / "one.json").read_text())["fused"]["rank1"])
    evaluate.main([f"--features={tmp_path}/s{{split}}.npz", "--all-splits", f"--out={tmp_path}/all.json"])
    found = json.loads((tmp_path / "all.json").read_text())
    rank1 = found["rows"]["fused"]["rank1"]
    assert (found["data_set"], found["splits"], rank1["values"]) == ("prid2011", 3, expected)
    mean = sum(expected) / 3
    deviation = (sum((value - mean) ** 2 for value in expected) / 2) ** 0.5
    assert rank1["mean"] == pytest.approx(mean)
    assert rank1["standard_error"] == pytest.approx(deviation / 3**0.5)
    assert "mean over 3 splits ± standard error" in capsys.readouterr().out
    with pytest.raises(InputError, match="expected split 2"):
        evaluate.main([f"--features={tmp_path}/s1.npz", "--all-splits"])
