"""The protocol clothes_changed: the query's person in the query's camera or in the query's clothes is ignored."""

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import count_matches
from rgcn_jax.evaluation.open_set import open_set
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles, applicable_protocols, scorable_protocols
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.evaluation.verification import verify
from rgcn_jax.types import Embeddings, Tracklet

CHANGED = {"clothes_changed": PROTOCOLS["clothes_changed"]}


def case(seed, count=150, clothes=3):
    rng = np.random.default_rng(seed)
    ids = rng.integers(0, 8, count).astype(np.int32)
    features = rng.standard_normal((count, 5), dtype=np.float32) + 0.2 * ids[:, None].astype(np.float32)
    embeddings = Embeddings(
        features,
        np.zeros((count, 0), np.float32),
        ids,
        rng.integers(1, 4, count).astype(np.int32),
        rng.integers(1, clothes + 1, count).astype(np.int32),
    )
    return embeddings, Roles((ids > 0) & (rng.random(count) < 0.3), np.ones(count, bool), np.zeros(count, bool))


def by_loop(embeddings, roles):
    """AP and rank of the first match of each query, from the definition of Gu et al. (CVPR 2022); NaN if skipped."""
    features, _, ids, cameras, clothes = embeddings
    found = []
    for q in np.flatnonzero(roles.query):
        distances = np.linalg.norm(features.astype(float) - features[q], axis=1)
        hits, rank, precisions = 0, 0, []
        for g in np.argsort(distances):
            if not roles.gallery[g] or (ids[g] == ids[q] and (cameras[g] == cameras[q] or clothes[g] == clothes[q])):
                continue
            rank += 1
            if ids[g] == ids[q]:
                hits += 1
                precisions.append((hits / rank, rank))
        found.append((np.mean([p for p, _ in precisions]), precisions[0][1]) if precisions else (np.nan, 0))
    return np.array(found).T


@pytest.mark.parametrize("seed", range(4))
def test_equals_the_loop(seed):
    embeddings, roles = case(seed)
    metrics = rank_features(embeddings.appearance, embeddings, roles, CHANGED)["clothes_changed"]
    precision, first = by_loop(embeddings, roles)
    np.testing.assert_allclose(metrics.average_precision, precision, rtol=1e-12)
    np.testing.assert_array_equal(metrics.first_match_rank, first)


def test_permuted_galleries_have_the_same_metrics():
    embeddings, roles = case(5)
    order = np.random.default_rng(0).permutation(len(embeddings.person_ids))
    turned = Embeddings(*(column[order] for column in embeddings)), Roles(*(role[order] for role in roles))
    first = rank_features(embeddings.appearance, embeddings, roles, CHANGED)["clothes_changed"]
    second = rank_features(turned[0].appearance, *turned, CHANGED)["clothes_changed"]
    assert first.mAP == pytest.approx(second.mAP, abs=1e-12)
    assert first.mAP > 0


@pytest.mark.parametrize(("known", "unknown"), [(1, 2), (2, 1)])
def test_the_clothes_of_distractors_need_not_be_known(known, unknown):
    """Person 0 is in the gallery in unknown clothes, one person in two clothes; of another they are unknown."""
    ids, cameras, clothes = np.array([known, known, 0, unknown]), np.array([1, 2, 2, 2]), np.array([1, 2, 0, 0])
    query = np.arange(4) == 0
    for gallery, applies in ((ids != unknown, True), (ids >= 0, False)):
        roles = Roles(query, gallery, np.zeros(4, bool))
        assert ("clothes_changed" in applicable_protocols(ids, cameras, roles, clothes)) == applies


def test_by_hand():
    # The query is person 1 in clothes 1, camera 1. By distance: itself, its clothes in camera 2 (ignored), person 2,
    # other clothes in camera 1 (ignored), other clothes in camera 2: rank 2.
    ids, cameras, clothes = np.array([1, 1, 2, 1, 1]), np.array([1, 2, 2, 1, 2]), np.array([1, 1, 1, 2, 2])
    distances = np.array([[0.0, 0.1, 0.2, 0.3, 0.4]])
    worn = clothes[:1], clothes
    metrics = evaluate_ranking(distances, ids[:1], ids, cameras[:1], cameras, clothes=worn)
    assert metrics.average_precision.tolist() == [0.5]
    assert metrics.first_match_rank.tolist() == [2]
    everyday = evaluate_ranking(distances, ids[:1], ids, cameras[:1], cameras)
    assert everyday.average_precision[0] == pytest.approx((1 + 2 / 3) / 2)
    # A planted tie: person 2 at the match's distance. First or second, each equally likely: (1 + 1 / 2) / 2.
    tied = evaluate_ranking(np.array([[0.0, 0.1, 0.4, 0.3, 0.4]]), ids[:1], ids, cameras[:1], cameras, clothes=worn)
    assert tied.average_precision.tolist() == [0.75]
    assert tied.num_tied_queries == 1


@pytest.mark.parametrize("exclude_same_camera", [True, False])
def test_counts_equal_the_loop(exclude_same_camera):
    embeddings, roles = case(7)
    _, _, ids, cameras, clothes = embeddings
    columns = ids[roles.query], ids, cameras[roles.query], cameras
    found = count_matches(*columns, roles.gallery, exclude_same_camera, (clothes[roles.query], clothes))
    for q, matches, candidates in zip(np.flatnonzero(roles.query), *found, strict=True):
        own = (ids == ids[q]) & ((clothes == clothes[q]) | (exclude_same_camera & (cameras == cameras[q])))
        assert matches == ((ids == ids[q]) & ~own).sum()
        assert candidates == (~own).sum()


def test_applies_where_clothes_are_known_and_change():
    embeddings, roles = case(2)
    _, _, ids, cameras, clothes = embeddings
    assert "clothes_changed" in applicable_protocols(ids, cameras, roles, clothes)
    assert "clothes_changed" not in applicable_protocols(ids, cameras, roles)
    assert "clothes_changed" not in applicable_protocols(ids, cameras, roles, np.ones_like(clothes))
    some_unknown = np.where(np.arange(len(clothes)) == np.flatnonzero(ids)[0], 0, clothes)
    assert "clothes_changed" not in applicable_protocols(ids, cameras, roles, some_unknown)


@pytest.mark.parametrize(("clothes", "lacks"), [(0, "no clothes ids"), (1, "check the clothes ids")])
def test_is_refused_without_changes(clothes, lacks):
    tracklets = [Tracklet((f"{i}.jpg",), 1 + i % 2, 1 + i // 2, clothes) for i in range(4)]
    roles = Roles(np.array([True, True, False, False]), np.ones(4, bool), np.zeros(4, bool))
    with pytest.raises(InputError, match=lacks):
        scorable_protocols(tracklets, roles, "clothes_changed")


def test_verification_and_search_leave_the_same_clothes_out():
    embeddings, roles = case(3, count=400)
    features, _, ids, cameras, clothes = embeddings
    verified = verify(features, ids, cameras, clothes_ids=clothes, resamples=0)
    person = ids > 0
    first, second = np.triu_indices(person.sum(), 1)
    same = ids[person][first] == ids[person][second]
    other = (cameras[person][first] != cameras[person][second]) & (clothes[person][first] != clothes[person][second])
    assert verified.num_genuine == (same & other).sum()
    assert verified.num_impostor == (~same).sum()
    known = open_set(features, embeddings, roles, PROTOCOLS["clothes_changed"], resamples=0)
    assert known.num_known <= open_set(features, embeddings, roles, PROTOCOLS["official"], resamples=0).num_known
