import json

import numpy as np
import pytest

from rgcn_jax.config import EvaluationConfig
from rgcn_jax.evaluation.analysis import analyse
from rgcn_jax.evaluation.attributes import Attributes
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.evaluation.feature_set import FeatureSet
from rgcn_jax.evaluation.open_set import open_set
from rgcn_jax.evaluation.pose_quality import PoseQuality
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.evaluation.scorer import score
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.types import Embeddings

OFFICIAL = PROTOCOLS["official"]


def look_alikes(seed=0, persons=24, each=8, distractors=150, pose_columns=4):
    """Persons in pairs that share their appearance; every pose is the person's own."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.repeat(np.arange(1, persons + 1), each), np.zeros(distractors), [-1]]).astype(np.int32)
    outfit = np.where(ids > 0, (ids + 1) // 2, 500 + np.arange(len(ids)))
    appearance = rng.normal(0, 1, (1000, 8))[outfit] + 0.1 * rng.normal(0, 1, (len(ids), 8))
    pose = rng.normal(0, 1, (1000, pose_columns))[np.where(ids > 0, ids, outfit)]
    pose += 0.1 * rng.normal(0, 1, (len(ids), pose_columns))
    embeddings = Embeddings(
        appearance.astype(np.float32), pose.astype(np.float32), ids, rng.integers(1, 4, len(ids)).astype(np.int32)
    )
    roles = Roles((ids > 0) & (rng.random(len(ids)) < 0.3), ids >= 0, ids < 0)
    return embeddings, roles


def analysed(embeddings, roles, num_frames, attributes=None, **known):
    names = [f"{i}.png" for i in range(len(num_frames))]
    features = FeatureSet(embeddings, roles, names, num_frames, **known)
    return analyse(score(features, EvaluationConfig(distance="euclidean")), attributes=attributes)


def test_pose_helps_where_persons_look_alike():
    embeddings, roles = look_alikes()
    ids = embeddings.person_ids
    groups = [[p, p + 1] for p in range(1, 13, 2)]  # of the first half it is known
    rng = np.random.default_rng(0)
    worn = np.where(ids > 0, (ids + 1) // 2, -1)[:, None].repeat(2, axis=1).astype(np.int64)
    found = json.loads(
        json.dumps(
            analysed(
                embeddings,
                roles,
                rng.integers(5, 90, len(ids)),
                Attributes(("hat", "hair"), worn),
                quality=PoseQuality(*rng.random((2, len(ids))).astype(np.float32)),
                header={"look_alikes": groups},
            )
        )
    )
    slices = found["slices"]
    assert len(slices) == 4 + 4 + 2 + 1  # everybody shares all attributes; there are no outfits
    assert slices["look-alikes"]["fused_minus_appearance"]["interval"][0] > 5
    count = sum(slices[name]["fused"]["valid_queries"] for name in ("look-alikes", "not look-alikes"))
    assert count == slices["all attributes equal"]["fused"]["valid_queries"] == roles.query.sum()
    assert found["attributes"]["tied_queries"] == roles.query.sum()
    for row in ("appearance", "pose", "fused"):
        features = fuse(embeddings, row)
        tested = roles.query | roles.gallery
        expected = verify(features[tested], ids[tested], embeddings.camera_ids[tested])
        assert found["verification"][row] == json.loads(json.dumps(expected.to_json()))
        unknown = open_set(features, embeddings, roles, OFFICIAL)
        assert found["open_set"][row] == json.loads(json.dumps(unknown.to_json()))
        assert set(found["reranking"][row]) == {"k_reciprocal", "query_expansion"}
        assert set(found["camera_pairs"]) == {f"{a}-{b}" for a in (1, 2, 3) for b in (1, 2, 3) if a != b}
    assert found["verification"]["fused"]["eer"] < found["verification"]["appearance"]["eer"]
    assert found["open_set"]["fused"]["fnir_at_fpir"]["0.1"]["fnir"] == pytest.approx(0, abs=5)


def test_without_pose_and_further_knowledge():
    """No distractor, no query without a match: open-set search has nobody unknown."""
    embeddings, roles = look_alikes(1, distractors=0, pose_columns=0)
    found = analysed(embeddings, roles, 0 * embeddings.person_ids)
    assert found["open_set"] == {"appearance": None}
    assert found["slices"] == {}
    assert "attributes" not in found
    assert set(found["verification"]) == {"appearance"}
