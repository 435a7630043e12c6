from dataclasses import FrozenInstanceError
from pathlib import Path

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation import protocol, rank_protocols
from rgcn_jax.evaluation.distance import FeatureStatistics, distance_blocks, fuse
from rgcn_jax.evaluation.protocol import (
    PROTOCOLS,
    Roles,
    applicable_protocols,
    scorable_protocols,
    test_tracklets,
)
from rgcn_jax.evaluation.rank_protocols import evaluate_protocols, rank_features
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.types import Embeddings, Split, Tracklet


def random_case(seed=0, count=120, pose_columns=4):
    """A small MARS: queries are in the gallery, beside distractors, and a tenth is junk."""
    rng = np.random.default_rng(seed)
    person_ids = rng.integers(-1, 9, count).astype(np.int32)
    junk = person_ids == -1
    query = (person_ids > 0) & (rng.random(count) < 0.3)
    embeddings = Embeddings(
        appearance=rng.random((count, 6), dtype=np.float32) + 0.1 * person_ids[:, None].astype(np.float32),
        pose=rng.standard_normal((count, pose_columns), dtype=np.float32),
        person_ids=person_ids,
        camera_ids=rng.integers(1, 5, count).astype(np.int32),
    )
    return embeddings, Roles(query, ~junk, junk)


def metrics_of(results, protocol, row="fused"):
    """Of a row that is there."""
    metrics = results[protocol][row]
    assert metrics is not None
    return metrics


def by_hand(embeddings, features, query, gallery, **options):
    """The same ranking from a distance matrix in float64 and boolean indexing."""
    difference = features[query].astype(float)[:, None] - features[gallery].astype(float)
    ids, cameras = embeddings.person_ids, embeddings.camera_ids
    return evaluate_ranking(
        np.sqrt((difference**2).sum(-1)), ids[query], ids[gallery], cameras[query], cameras[gallery], **options
    )


@pytest.mark.parametrize("kind", ["euclidean", "normalized", "standardized"])
def test_every_protocol_and_row(kind, monkeypatch):
    monkeypatch.setattr(
        rank_protocols, "distance_blocks", lambda *arguments: distance_blocks(*arguments, block_elements=500)
    )
    # With this seed no match is nearer than 3e-5 of its distance to a wrong answer: float32 ranks as float64 does.
    embeddings, roles = random_case(36, count=90)
    training = random_case(1, count=90)[0]
    branches = training.appearance, training.pose
    statistics = FeatureStatistics(*(moment for f in branches for moment in (f.mean(axis=0), f.std(axis=0))))
    results = evaluate_protocols(embeddings, roles, kind, 0.7, statistics)
    assert list(results) == ["official", "official_matlab", "query_excluded", "junk_kept"]
    for row in ("appearance", "pose", "fused"):
        features = fuse(embeddings, row, kind, 0.7, statistics)
        expected = {
            "official": by_hand(embeddings, features, roles.query, roles.gallery),
            "official_matlab": by_hand(embeddings, features, roles.query, roles.gallery, ap="trapezoid"),
            "query_excluded": by_hand(embeddings, features, roles.query, roles.gallery & ~roles.query),
            # A person whom nobody asks for stands for the junk that never matches.
            "junk_kept": by_hand(
                embeddings._replace(person_ids=np.where(roles.junk, 999, embeddings.person_ids)),
                features,
                roles.query,
                roles.gallery | roles.junk,
            ),
        }
        for name, metrics in expected.items():
            found = metrics_of(results, name, row)
            np.testing.assert_array_equal(found.average_precision, metrics.average_precision)
            np.testing.assert_array_equal(found.cmc, metrics.cmc)
            assert found.num_gallery == metrics.num_gallery
    official, excluded, kept = (metrics_of(results, name) for name in ("official", "query_excluded", "junk_kept"))
    assert kept.num_gallery == official.num_gallery + roles.junk.sum()
    assert excluded.num_gallery == official.num_gallery - roles.query.sum()
    assert kept.mAP < official.mAP


def test_nothing_is_changed():
    embeddings, roles = random_case()
    copies = [array.copy() for array in (*embeddings, *roles)]
    evaluate_protocols(embeddings, roles, "normalized")
    for before, after in zip(copies, (*embeddings, *roles), strict=True):
        np.testing.assert_array_equal(before, after)
    features = fuse(embeddings, "fused")
    original = features.copy()
    changing = embeddings._replace(clothes_ids=(1 + np.arange(len(features)) % 2).astype(np.int32))
    rank_features(features, changing, roles, PROTOCOLS)
    np.testing.assert_array_equal(features, original)


def test_without_a_pose_branch_there_is_one_row():
    embeddings, roles = random_case(pose_columns=0)
    results = evaluate_protocols(embeddings, roles)
    assert results["official"]["pose"] is results["official"]["fused"] is None
    features = fuse(embeddings, "appearance")
    expected = by_hand(embeddings, features, roles.query, roles.gallery)
    assert metrics_of(results, "official", "appearance").mAP == expected.mAP


def test_an_unknown_label_of_the_query_itself_does_not_help():
    """A query finds only itself at distance 0: it is ignored, and the next is a stranger."""
    embeddings = Embeddings(
        appearance=np.array([[0], [5], [1]], np.float32),
        pose=np.zeros((3, 0), np.float32),
        person_ids=np.array([1, 1, 2], np.int32),
        camera_ids=np.array([1, 2, 2], np.int32),
    )
    roles = Roles(np.array([True, False, False]), np.ones(3, bool), np.zeros(3, bool))
    metrics = metrics_of(evaluate_protocols(embeddings, roles), "official", "appearance")
    assert metrics.first_match_rank.tolist() == [2]


def two_cameras():
    """Camera 1 asks, camera 2 answers, as in iLIDS-VID: no query in the gallery, no junk."""
    tracklets = [Tracklet((f"{person}_{camera}.png",), person, camera) for camera in (1, 2) for person in (1, 2, 3, 4)]
    return Split("pairs", Path("."), [], tracklets[:4], tracklets[4:])


def test_protocols_that_say_nothing_new_are_left_out():
    tracklets, roles = test_tracklets(two_cameras())
    protocols, chance = scorable_protocols(tracklets, roles)
    assert list(protocols) == ["official", "official_matlab"]
    assert chance == pytest.approx(1 / 4)
    assert roles.gallery.tolist() == [True] * 4 + [False] * 4


def test_queries_alone_in_their_gallery():
    ids, cameras = np.array([1, 1, 2, 2], np.int32), np.array([1, 2, 1, 2], np.int32)
    everything, nothing = np.ones(4, bool), np.zeros(4, bool)
    assert list(applicable_protocols(ids, cameras, Roles(everything, everything, nothing))) == [
        "official",
        "official_matlab",
    ]


def test_tracklets_of_a_split_are_listed_once():
    a, b, c = (Tracklet((f"{name}.jpg",), person, 1) for name, person in (("a", 1), ("b", 0), ("c", 2)))
    junk, hidden_junk = Tracklet(("j.jpg",), -1, 3), Tracklet(("k.jpg",), -1, 3)
    split = Split("x", Path("."), [], query=[c, a], gallery=[a, hidden_junk, b], junk=[junk])
    tracklets, roles = test_tracklets(split)
    assert tracklets == [a, hidden_junk, b, c, junk]
    assert roles.query.tolist() == [True, False, False, True, False]
    assert roles.junk.tolist() == [False, True, False, False, True]
    assert protocol.gallery_of(PROTOCOLS["official"], roles).tolist() == [True, False, True, False, False]
    assert protocol.gallery_of(PROTOCOLS["query_excluded"], roles).tolist() == [False, False, True, False, False]
    assert protocol.gallery_of(PROTOCOLS["junk_kept"], roles).tolist() == [True, True, True, False, True]


def test_chance_is_what_random_features_get():
    embeddings, roles = random_case()
    tracklets = [
        Tracklet((str(i),), int(p), int(c))
        for i, (p, c) in enumerate(zip(embeddings.person_ids, embeddings.camera_ids, strict=True))
    ]
    _, chance = scorable_protocols(tracklets, roles, "official")
    rank1 = []
    for seed in range(300):
        features = np.random.default_rng(seed).standard_normal((120, 8), dtype=np.float32)
        metrics = rank_features(features, embeddings, roles, {"official": PROTOCOLS["official"]})
        rank1.append(metrics["official"].cmc[0])
    error = np.std(rank1) / np.sqrt(300)
    assert abs(np.mean(rank1) - chance) < 4 * error


def test_chance_leaves_out_the_skipped_as_the_scores_do():
    """Person 1 has one match among three strangers, as its own camera is ignored; person 9 has none."""
    people = [(1, 1), (9, 1), (1, 2), (2, 1), (3, 1), (0, 2)]
    tracklets = [Tracklet((str(i),), person, camera) for i, (person, camera) in enumerate(people)]
    split = Split("x", Path("."), [], query=tracklets[:2], gallery=[tracklets[0], *tracklets[2:]])
    assert scorable_protocols(*test_tracklets(split))[1] == pytest.approx(1 / 4)


def test_what_each_protocol_ranks():
    """Queries in the gallery, junk in the gallery, the own camera, the own clothes; and the form of AP."""
    assert {name: (*p.ranking_key, p.ap) for name, p in PROTOCOLS.items()} == {
        "official": (True, False, False, True, "mean"),
        "official_matlab": (True, False, False, True, "trapezoid"),
        "query_excluded": (False, False, False, True, "mean"),
        "junk_kept": (True, True, False, True, "mean"),
        "clothes_changed": (True, False, False, False, "mean"),
        "same_camera_allowed": (False, False, True, True, "mean"),
    }


def test_protocols_are_constant():
    with pytest.raises(FrozenInstanceError):
        PROTOCOLS["official"].same_camera = True  # pyright: ignore[reportAttributeAccessIssue]


def test_wrong_headline():
    tracklets, roles = test_tracklets(two_cameras())
    with pytest.raises(InputError, match=r"protocol 'mars': expected one of official"):
        scorable_protocols(tracklets, roles, "mars")
    with pytest.raises(InputError, match="'junk_kept' is not applicable"):
        scorable_protocols(tracklets, roles, "junk_kept")
    with pytest.raises(InputError, match="'query_excluded' is not applicable"):
        scorable_protocols(tracklets, roles, "query_excluded")


def test_no_match_names_the_protocol():
    embeddings, roles = random_case()
    one_camera = embeddings._replace(camera_ids=np.ones(120, np.int32))
    with pytest.raises(InputError, match="'official'.* camera id 1"):
        evaluate_protocols(one_camera, roles)
    tracklets = [Tracklet((str(i),), int(p), 1) for i, p in enumerate(embeddings.person_ids)]
    with pytest.raises(InputError, match="'official'.* camera id 1"):
        scorable_protocols(tracklets, roles)


def one_camera(embeddings, roles):
    """The same case seen by camera 1 alone."""
    tracklets = [Tracklet((str(i),), int(p), 1) for i, p in enumerate(embeddings.person_ids)]
    return embeddings._replace(camera_ids=np.ones(len(tracklets), np.int32)), tracklets, roles


def test_one_camera_can_be_scored_by_name():
    """The error of the default names the protocol; under it, the only one, a query finds its person but not itself."""
    embeddings, tracklets, roles = one_camera(*random_case())
    persons = embeddings.person_ids
    others = roles.gallery & ~roles.query
    with_match = [(persons[others] == p).any() for p in persons[roles.query]]
    with pytest.raises(InputError, match=f"protocol=same_camera_allowed .*{sum(with_match)} of {len(with_match)} "):
        scorable_protocols(tracklets, roles)
    protocols, chance = scorable_protocols(tracklets, roles, "same_camera_allowed")
    assert list(protocols) == ["same_camera_allowed"]
    metrics = metrics_of(evaluate_protocols(embeddings, roles, protocols=protocols), "same_camera_allowed")
    features = fuse(embeddings, "fused")
    expected = by_hand(embeddings, features, roles.query, others, exclude_same_camera=False)
    np.testing.assert_array_equal(metrics.average_precision, expected.average_precision)
    shares = [np.mean(persons[others] == p) for p in persons[roles.query]]
    assert chance == pytest.approx(np.mean([share for share in shares if share]))


def test_the_hint_counts_a_query_with_one_match():
    tracklets = [Tracklet((str(i),), person, 1) for i, person in enumerate([1, 1, 2])]
    roles = Roles(np.array([True, False, True]), np.ones(3, bool), np.zeros(3, bool))
    with pytest.raises(InputError, match="protocol=same_camera_allowed .*1 of 2 "):
        scorable_protocols(tracklets, roles)


def test_query_excluded_requires_queries_in_the_gallery():
    tracklets = [Tracklet((str(i),), 1, 1 + i) for i in range(3)]
    query = np.array([True, False, False])
    with pytest.raises(InputError, match="'query_excluded'.* queries in the gallery"):
        scorable_protocols(tracklets, Roles(query, ~query, np.zeros(3, bool)), "query_excluded")
    everything = np.ones(3, bool)
    with pytest.raises(InputError, match="'query_excluded'") as error:
        scorable_protocols(tracklets, Roles(everything, everything, ~everything), "query_excluded")
    assert "no queries" not in str(error.value)


def test_the_same_camera_beside_the_others():
    """With several cameras the protocol is one more where it is asked for, and not there otherwise."""
    embeddings, roles = random_case()
    tracklets = [
        Tracklet((str(i),), int(p), int(c))
        for i, (p, c) in enumerate(zip(embeddings.person_ids, embeddings.camera_ids, strict=True))
    ]
    usual, _ = scorable_protocols(tracklets, roles)
    asked, _ = scorable_protocols(tracklets, roles, "same_camera_allowed")
    assert list(asked) == [*usual, "same_camera_allowed"]
    results = evaluate_protocols(embeddings, roles, protocols=asked)
    expected = evaluate_protocols(embeddings, roles, protocols=usual)
    for name in usual:
        assert metrics_of(results, name).mAP == metrics_of(expected, name).mAP


def test_no_hint_where_the_same_camera_does_not_help():
    embeddings, tracklets, roles = one_camera(*random_case())
    gallery = np.isin(embeddings.person_ids, embeddings.person_ids[roles.query], invert=True)
    with pytest.raises(InputError, match="No .*person .* gallery") as error:
        scorable_protocols(tracklets, roles._replace(gallery=gallery))
    assert "same_camera_allowed" not in str(error.value)


def test_features_that_are_not_finite():
    embeddings, roles = random_case()
    embeddings.pose[7, 0] = np.nan
    with pytest.raises(InputError, match="1 of 120 pose features are not finite"):
        evaluate_protocols(embeddings, roles)


def test_lengths_must_fit():
    embeddings, roles = random_case()
    with pytest.raises(ValueError, match=r"length.*120.*119"):
        evaluate_protocols(embeddings, roles._replace(query=roles.query[1:]))


@pytest.mark.real_data
def test_counts_of_mars(real_data):
    from scipy.io import loadmat

    info = real_data / "mars_info"
    tracks = loadmat(info / "tracks_test_info.mat")["track_test_info"]
    positions = loadmat(info / "query_IDX.mat")["query_IDX"].ravel().astype(int) - 1
    person_ids, camera_ids = tracks[:, 2].astype(np.int32), tracks[:, 3].astype(np.int32)
    query = np.zeros(len(tracks), bool)
    query[positions] = True
    roles = Roles(query, person_ids != -1, person_ids == -1)
    rng = np.random.default_rng(0)
    features = rng.standard_normal((len(tracks), 8), dtype=np.float32)
    embeddings = Embeddings(features, np.zeros((len(tracks), 0), np.float32), person_ids, camera_ids)
    by_row = evaluate_protocols(embeddings, roles)
    results = {name: metrics_of(by_row, name, "appearance") for name in by_row}
    counts = {name: (m.num_gallery, m.num_valid_queries, m.num_skipped_queries) for name, m in results.items()}
    assert counts == {
        "official": (11_310, 1_980, 0),
        "official_matlab": (11_310, 1_980, 0),
        "query_excluded": (9_330, 1_840, 140),
        "junk_kept": (12_180, 1_980, 0),
    }
    matches = np.array([np.sum((person_ids == person_ids[q]) & (camera_ids != camera_ids[q])) for q in positions])
    assert matches.mean() == pytest.approx(11.02, abs=0.005)


@pytest.mark.parametrize("others", [0, 1, 3])
def test_chance_is_the_share_of_matches_among_the_candidates(others):
    tracklets = [Tracklet((str(i),), person, 1 + (i > 0)) for i, person in enumerate([1, 1, *range(2, 2 + others)])]
    query = np.arange(len(tracklets)) == 0
    _, chance = scorable_protocols(tracklets, Roles(query, ~query, np.zeros_like(query)))
    assert chance == pytest.approx(1 / (1 + others))
