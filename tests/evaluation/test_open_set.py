import json
from statistics import NormalDist

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation import open_set as module
from rgcn_jax.evaluation.open_set import open_set
from rgcn_jax.evaluation.protocol import PROTOCOLS, Roles
from rgcn_jax.types import Embeddings

OFFICIAL = PROTOCOLS["official"]


def case(features, ids, cameras, query, gallery):
    """One-dimensional features, whole numbers; a junk tracklet makes their mean 0, so that distances are exact."""
    features, ids = np.append(features, -np.sum(features)).astype(np.float32)[:, None], [*ids, -1]
    cameras, query, gallery = [*cameras, 1], [*query, False], [*gallery, False]
    ids, cameras = np.array(ids, np.int32), np.array(cameras, np.int32)
    embeddings = Embeddings(features, np.zeros((len(ids), 0), np.float32), ids, cameras)
    return features, embeddings, Roles(np.array(query, bool), np.array(gallery, bool), ids < 0)


def random_case(seed=0, persons=15, strangers=40, distractors=60):
    """Queries of persons in the gallery, of persons who are not, distractors and junk; ties between distances."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate(
        [np.repeat(np.arange(1, persons + 1), 6), 100 + np.arange(strangers) // 2, np.zeros(distractors), [-1, -1]]
    ).astype(int)
    place = rng.normal(0, 500, 200)
    features = np.where(ids > 0, place[ids] + rng.normal(0, 20, len(ids)), rng.normal(0, 500, len(ids))).round()
    query = (ids > 0) & ((ids >= 100) | (rng.random(len(ids)) < 0.4))
    gallery = (ids < 100) & ((ids <= 0) | (rng.random(len(ids)) < 0.8))
    return case(features, ids, rng.integers(1, 4, len(ids)), query, gallery)


def searches_by_loop(features, embeddings, roles, protocol):
    """(known?, nearest distance that counts, unit of resampling) of every search, from the definition."""
    ids, cameras = embeddings.person_ids, embeddings.camera_ids
    found = []
    for q in range(len(ids)):
        if not ((roles.query[q] and ids[q] > 0) or (ids[q] == 0 and (roles.query[q] or roles.gallery[q]))):
            continue
        enrolled = [
            g
            for g in range(len(ids))
            if roles.gallery[g] and ids[g] > 0 and (protocol.queries_in_gallery or not roles.query[g])
        ]
        distance = {g: abs(float(features[q, 0]) - float(features[g, 0])) for g in enrolled}
        own = [g for g in enrolled if ids[g] == ids[q]]
        mates = [g for g in own if protocol.same_camera or cameras[g] != cameras[q]]
        counted = mates or [g for g in enrolled if g not in own]
        found.append((bool(mates), min(distance[g] for g in counted), int(ids[q]) or -1 - q))
    return found


def test_hand_worked():
    """Persons at 0, 100, ..., 900, queries 1, 2, ..., 10 away from them; distractors 0.5, 1.5, ... from the last.

    Everything is doubled, so that it is whole.
    """
    place = 200 * np.arange(10)
    features = [*place, *(place + 2 * np.arange(1, 11)), *(1801 + 2 * np.arange(20))]
    ids = [*range(1, 11), *range(1, 11), *[0] * 20]
    query = [False] * 10 + [True] * 10 + [False] * 20
    embedded = case(features, ids, [1] * 10 + [2] * 10 + [1] * 20, query, np.logical_not(query))
    found = open_set(*embedded, OFFICIAL, fpirs=(0.5, 0.52, 0.1))
    assert (found.num_known, found.num_unknown, found.num_enrolled) == (10, 20, 10)
    for point in (found.points[0.5], found.points[0.52]):
        assert point
        assert (point.fnir, point.fpir, point.threshold) == (0, 0.5, 21)
    assert found.points[0.1] is None  # two false alarms measure nothing
    threshold, fpir, fnir = found.det[0]
    assert (threshold, fpir, fnir) == (1, 0, 1)
    assert found.det[5] == pytest.approx([11, 0.25, 0.5])  # 6 to 10 are not below 5.5
    assert found.det[-1].tolist() == [39, 0.95, 0]


@pytest.mark.parametrize("name", ["official", "query_excluded", "same_camera_allowed"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop(seed, name, monkeypatch):
    monkeypatch.setattr(module, "_ELEMENTS", 1000)
    embedded = random_case(seed)
    found = open_set(*embedded, PROTOCOLS[name], fpirs=(0.15, 0.4))
    searches = searches_by_loop(*embedded, PROTOCOLS[name])
    known, unknown = ([d for is_known, d, _ in searches if is_known == kind] for kind in (True, False))
    assert (found.num_known, found.num_unknown) == (len(known), len(unknown))
    for wanted, point in found.points.items():
        assert point
        assert point.fnir == np.mean([d >= point.threshold for d in known])
        assert point.fpir == np.mean([d < point.threshold for d in unknown]) <= wanted
        assert np.mean([d <= point.threshold for d in unknown]) > wanted
    expected = [(t, np.mean(np.array(unknown) < t), np.mean(np.array(known) >= t)) for t in sorted(set(unknown))]
    np.testing.assert_allclose(found.det, expected, rtol=0, atol=1e-12)


def test_intervals_equal_those_of_resampled_lists():
    embedded = random_case(1)
    found = open_set(*embedded, OFFICIAL, fpirs=(0.2,), resamples=50, seed=4)
    searches = searches_by_loop(*embedded, OFFICIAL)
    parts = [[(d, unit) for is_known, d, unit in searches if is_known == kind] for kind in (True, False)]
    times = []
    for i, part in enumerate(parts):
        units = sorted({unit for _, unit in part})
        drawn = np.random.default_rng(4 + i).multinomial(len(units), [1 / len(units)] * len(units), 50)
        times.append([dict(zip(units, of_resample, strict=True)) for of_resample in drawn])
    rates = []
    for of_known, of_unknown in zip(*times, strict=True):
        known, unknown = (
            sorted(d for d, unit in part for _ in range(count[unit]))
            for part, count in zip(parts, (of_known, of_unknown), strict=True)
        )
        threshold = unknown[int(np.floor(0.2 * len(unknown) + 1e-9))]
        rates.append(np.mean([d >= threshold for d in known]))
    point = found.points[0.2]
    assert point
    assert point.interval == pytest.approx(tuple(np.percentile(rates, [2.5, 97.5])))


def test_planted_distributions():
    """Nearest matches at 10 +- 1, strangers' nearest at 12 +- 1: FNIR at FPIR f is 1 - Phi(Phi^-1(f) + 2)."""
    rng = np.random.default_rng(0)
    count, dimensions = 1200, 200
    place = 10 * rng.standard_normal((count, dimensions))  # 200 from each other
    away = rng.standard_normal((2 * count, dimensions))
    away /= np.linalg.norm(away, axis=1, keepdims=True)
    radius = np.concatenate([rng.normal(10, 1, count), rng.normal(12, 1, count)])
    features = np.concatenate([place, np.concatenate([place, place]) + radius[:, None] * away]).astype(np.float32)
    ids = np.concatenate([np.tile(1 + np.arange(count), 2), np.zeros(count)]).astype(np.int32)
    query = np.arange(3 * count) // count == 1
    nothing = np.zeros((len(ids), 0), np.float32)
    embeddings = Embeddings(features, nothing, ids, (1 + query).astype(np.int32))
    roles = Roles(query, ~query, np.zeros(len(ids), bool))
    normal = NormalDist()
    found = open_set(features, embeddings, roles, OFFICIAL, resamples=100)
    for fpir, point in found.points.items():
        expected = 1 - normal.cdf(normal.inv_cdf(fpir) + 2)
        assert point
        assert point.interval
        error = (point.interval[1] - point.interval[0]) / 4
        assert error < 0.05
        assert point.fnir == pytest.approx(expected, abs=4 * error)


def test_json():
    found = open_set(*random_case(), OFFICIAL, fpirs=(0.2, 0.01))
    written = json.loads(json.dumps(found.to_json()))
    assert written["fnir_at_fpir"]["0.01"] is None
    point = found.points[0.2]
    assert point
    assert written["fnir_at_fpir"]["0.2"]["fnir"] == 100 * point.fnir
    assert written["unknown_searches"] == found.num_unknown


def test_the_order_of_the_tracklets_does_not_matter():
    features, embeddings, roles = random_case(2)
    order = np.random.default_rng(0).permutation(len(features))
    turned = features[order], Embeddings(*(c[order] for c in embeddings)), Roles(*(r[order] for r in roles))
    first, second = (open_set(*c, OFFICIAL, fpirs=(0.2,), resamples=0) for c in ((features, embeddings, roles), turned))
    point, other = first.points[0.2], second.points[0.2]
    assert point
    assert other
    assert (point.fnir, point.fpir) == (other.fnir, other.fpir)


def test_unknown_persons_are_needed():
    features, embeddings, roles = random_case(strangers=0, distractors=0)
    everybody = roles._replace(gallery=embeddings.person_ids > 0)
    with pytest.raises(InputError, match="needs mated and non-mated searches"):
        open_set(features, embeddings, everybody, OFFICIAL)
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        open_set(features, embeddings, roles, OFFICIAL, fpirs=(0.0,))
