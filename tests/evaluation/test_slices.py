import json

import numpy as np
import pytest

from rgcn_jax.evaluation.distance import distance_blocks
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.evaluation.slices import by_camera_pair, by_value, slice_json
from rgcn_jax.types import Embeddings


def random_case(seed=0, count=160):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-1, 16, count).astype(np.int32)
    query = (ids > 0) & (rng.random(count) < 0.4)
    features = rng.standard_normal((count, 6), dtype=np.float32) + 0.1 * ids[:, None].astype(np.float32)
    nothing = np.zeros((count, 0), np.float32)
    embeddings = Embeddings(features, nothing, ids, rng.integers(1, 4, count).astype(np.int32))
    return embeddings, Roles(query, ids >= 0, ids < 0)


@pytest.mark.parametrize("name", ["official", "query_excluded", "same_camera_allowed"])
def test_camera_pairs_equal_rankings_of_two_cameras(name):
    embeddings, roles = random_case()
    protocol = PROTOCOLS[name]
    ids, cameras = embeddings.person_ids, embeddings.camera_ids
    blocks = distance_blocks(embeddings.appearance, np.flatnonzero(roles.query), block_elements=2000)
    found = by_camera_pair(blocks, embeddings, roles, protocol)
    pairs = {(a, b) for a in (1, 2, 3) for b in (1, 2, 3) if a != b or protocol.same_camera}
    assert set(found) == pairs
    for (a, b), metrics in found.items():
        query = roles.query & (cameras == a)
        gallery = roles.gallery & (cameras == b) & (protocol.queries_in_gallery | ~roles.query)
        difference = embeddings.appearance[query].astype(float)[:, None] - embeddings.appearance[gallery]
        expected = evaluate_ranking(
            np.sqrt((difference**2).sum(-1)),
            *(ids[query], ids[gallery], cameras[query], cameras[gallery]),
            exclude_same_camera=not protocol.same_camera,
        )
        np.testing.assert_allclose(metrics.average_precision, expected.average_precision)
        assert metrics.num_gallery == expected.num_gallery


def test_two_cameras_have_the_whole_result():
    """Where there are two cameras, the two pairs are all queries."""
    embeddings, roles = random_case(1)
    embeddings = embeddings._replace(camera_ids=np.minimum(embeddings.camera_ids, 2))
    roles = roles._replace(gallery=roles.gallery & ~roles.query)
    queries = np.flatnonzero(roles.query)
    found = by_camera_pair(distance_blocks(embeddings.appearance, queries), embeddings, roles, PROTOCOLS["official"])
    assert list(found) == [(1, 2), (2, 1)]
    whole = rank_features(embeddings.appearance, embeddings, roles, {"o": PROTOCOLS["official"]})["o"]
    assert sum(metrics.num_valid_queries for metrics in found.values()) == whole.num_valid_queries


@pytest.mark.parametrize("parts", [1, 4, 7])
@pytest.mark.parametrize("high", [2, 5, 1000])
def test_every_query_is_in_one_part(high, parts):
    values = np.random.default_rng(0).integers(0, high, 200)
    masks = by_value(values, "frames", parts)
    assert np.sum(list(masks.values()), axis=0).tolist() == [1] * 200
    assert 1 <= len(masks) <= parts
    bounds = [(values[mask].min(), values[mask].max()) for mask in masks.values()]
    assert bounds == sorted(bounds)
    assert all(low > before for (low, _), (_, before) in zip(bounds[1:], bounds[:-1], strict=True))
    if high == 1000 and parts == 4:
        assert [mask.sum() for mask in masks.values()] == pytest.approx([50] * 4, abs=3)
        assert next(iter(masks)) == f"{bounds[0][0]} to {bounds[0][1]} frames"


def test_values_that_print_alike_are_not_lost():
    masks = by_value(np.array([0.500001, 0.500002, 0.500003, 0.9]), "of the keypoints")
    assert np.sum(list(masks.values()), axis=0).tolist() == [1] * 4
    assert by_value(np.zeros(0), "frames") == {}


def test_json():
    """Pose is better for the first half of the queries, and only there."""
    rng = np.random.default_rng(0)
    count = 60
    ids = np.repeat(np.arange(1, 31), 2)
    cameras = np.tile([1, 2], 30)
    near = ids[:, None] == ids
    half = np.arange(count) < count // 2
    appearance = rng.random((count, count))
    fused = np.where(near & half[:, None], 0, appearance)
    rows = {
        row: evaluate_ranking(distances, ids, ids, cameras, cameras)
        for row, distances in (("appearance", appearance), ("fused", fused))
    }
    masks = {"first": half, "second": ~half, "nobody": np.zeros(count, bool)}
    written = json.loads(json.dumps(slice_json(rows, masks, ids)))
    assert list(written) == ["first", "second"]
    assert list(written["first"]) == ["appearance", "fused", "fused_minus_appearance"]
    assert written["first"]["fused"]["mAP"] == 100
    assert written["first"]["fused"]["valid_queries"] == 30
    helped, not_helped = (written[name]["fused_minus_appearance"] for name in ("first", "second"))
    assert helped["mAP"] == pytest.approx(100 - written["first"]["appearance"]["mAP"])
    assert helped["interval"][0] > 0
    assert helped["p_value"] < 0.01
    assert not_helped["mAP"] == 0
    assert not_helped["p_value"] == 1
    assert list(slice_json({"appearance": rows["appearance"]}, masks, ids)["first"]) == ["appearance"]
