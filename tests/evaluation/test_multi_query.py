"""Multi-query: the mean of a person's tracklets in the query's camera, against a loop and by hand."""

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.multi_query import multi_query_metrics
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.types import Embeddings

OFFICIAL = PROTOCOLS["official"]


def case(seed, count=90):
    rng = np.random.default_rng(seed)
    ids = rng.integers(-1, 7, count).astype(np.int32)
    features = rng.standard_normal((count, 4), dtype=np.float32) + 0.5 * ids[:, None].astype(np.float32)
    cameras = rng.integers(1, 4, count).astype(np.int32)
    embeddings = Embeddings(features, np.zeros((count, 0), np.float32), ids, cameras)
    return embeddings, Roles((ids > 0) & (rng.random(count) < 0.3), ids >= 0, ids == -1)


@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(seed):
    embeddings, roles = case(seed)
    features, _, ids, cameras, _ = embeddings
    found = multi_query_metrics(features, embeddings, roles, OFFICIAL)
    expected = []
    for q in np.flatnonzero(roles.query):
        together = [features[i].astype(float) for i in range(len(ids)) if ids[i] == ids[q] and cameras[i] == cameras[q]]
        distances = np.linalg.norm(features - np.mean(together, axis=0), axis=1)
        hits, rank, precisions = 0, 0, []
        for g in np.argsort(distances):
            if ids[g] == -1 or (ids[g] == ids[q] and cameras[g] == cameras[q]):
                continue
            rank += 1
            if ids[g] == ids[q]:
                hits += 1
                precisions.append(hits / rank)
        expected.append(np.mean(precisions) if precisions else np.nan)
    assert found is not None
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-9)


def test_by_hand_and_permuted():
    # Person 1 in camera 1 at 0 and 4: the mean is 2, nearer to its match at 2 than to person 2 at 0.5.
    features = np.array([[0.0], [4.0], [2.0], [0.5]], np.float32)
    ids, cameras = np.array([1, 1, 1, 2], np.int32), np.array([1, 1, 2, 2], np.int32)
    embeddings = Embeddings(features, np.zeros((4, 0), np.float32), ids, cameras)
    roles = Roles(np.array([True, False, False, False]), np.ones(4, bool), np.zeros(4, bool))
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        turned = Embeddings(*(c[order] for c in embeddings)), Roles(*(r[order] for r in roles))
        found = multi_query_metrics(features[order], *turned, OFFICIAL)
        assert found is not None
        assert found.mAP == 1
    tied = Embeddings(np.array([[0.0], [4.0], [3.0], [1.0]], np.float32), *embeddings[1:])
    metrics = multi_query_metrics(tied.appearance, tied, roles, OFFICIAL)
    assert metrics is not None
    assert (metrics.mAP, metrics.num_tied_queries) == (0.75, 1)


def test_there_is_no_row_where_it_would_say_nothing():
    embeddings, roles = case(0)
    assert multi_query_metrics(embeddings.appearance, embeddings, roles, PROTOCOLS["same_camera_allowed"]) is None
    alone = embeddings._replace(camera_ids=np.arange(len(embeddings.person_ids), dtype=np.int32))
    assert multi_query_metrics(embeddings.appearance, alone, roles, OFFICIAL) is None


def test_other_clothes_of_the_camera_are_not_pooled_where_clothes_must_change():
    embeddings, roles = case(1)
    changing = embeddings._replace(clothes_ids=(1 + np.arange(len(embeddings.person_ids)) % 2).astype(np.int32))
    protocol = PROTOCOLS["clothes_changed"]
    found = multi_query_metrics(changing.appearance, changing, roles, protocol)
    # As if each outfit were a person of its own where tracklets are pooled, and nowhere else.
    pooled = changing.appearance.copy()
    for q in np.flatnonzero(roles.query):
        same = (changing.person_ids == changing.person_ids[q]) & (changing.camera_ids == changing.camera_ids[q])
        pooled[q] = changing.appearance[same & (changing.clothes_ids == changing.clothes_ids[q])].mean(axis=0)
    expected = []
    for q in np.flatnonzero(roles.query):
        alone = roles._replace(query=np.arange(len(pooled)) == q)
        features = changing.appearance.copy()
        features[q] = pooled[q]
        try:
            expected.append(rank_features(features, changing, alone, {"c": protocol})["c"].average_precision[0])
        except InputError:
            expected.append(np.nan)
    assert found is not None
    np.testing.assert_allclose(found.average_precision, expected, rtol=1e-6)
