import itertools
import tracemalloc
from statistics import NormalDist

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation import pair_counts, verification
from rgcn_jax.evaluation.pair_counts import Block
from rgcn_jax.evaluation.verification import MIN_FALSE_ACCEPTS, MIN_PERSONS, verify, verify_blocks


def random_case(seed=0, persons=12, each=5, spread=3.0, dimensions=1):
    """Whole numbers of mean 0 as features: their distances in one dimension are exact. Junk and distractors too."""
    rng = np.random.default_rng(seed)
    ids = np.concatenate([np.repeat(np.arange(1, persons + 1), each), [-1, 0, 0]]).astype(np.int32)
    centres = rng.normal(0, 12, (persons + 2, dimensions))
    features = (centres[ids] + rng.normal(0, spread, (len(ids), dimensions))).round().astype(np.float32)
    total = features[ids > 0].sum(axis=0)
    features[ids > 0] -= np.floor(total / (ids > 0).sum())
    for column, left in zip(features.T, features[ids > 0].sum(axis=0).astype(int), strict=True):
        column[:left] -= 1
    shuffled = rng.permutation(len(ids))
    return features[shuffled], ids[shuffled], rng.integers(1, 4, len(ids)).astype(np.int32)


def pairs_by_loop(features, ids, cameras, exclude_same_camera=True, cross_camera_impostors=False):
    """(distance, person, other person) of every pair, from the definition."""
    found = []
    for i, j in itertools.combinations(range(len(ids)), 2):
        if ids[i] <= 0 or ids[j] <= 0:
            continue
        same_camera = cameras[i] == cameras[j]
        left_out = exclude_same_camera if ids[i] == ids[j] else cross_camera_impostors
        if not (same_camera and left_out):
            distance = np.sqrt(((features[i].astype(float) - features[j].astype(float)) ** 2).sum())
            found.append((distance, ids[i], ids[j]))
    return found


def roc_by_loop(genuine, impostor):
    """Points (FPR, TPR), from the shares of weighted (distance, weight) pairs below every distance and above all."""
    points = []
    for t in [*sorted({d for d, _ in genuine + impostor}), np.inf]:
        rates = [sum(w for d, w in part if d < t) / sum(w for _, w in part) for part in (impostor, genuine)]
        points.append(tuple(rates))
    return points


def eer_by_loop(points):
    for (f0, t0), (f1, t1) in itertools.pairwise(points):
        if f1 >= 1 - t1:
            share = (1 - t0 - f0) / (f1 - f0 + t1 - t0)
            return f0 + share * (f1 - f0)
    raise AssertionError


def tpr_by_loop(points, wanted):
    """On the line between the last point of at most the FPR and the first one above it."""
    (f0, t0) = [p for p in points if p[0] <= wanted][-1]
    (f1, t1) = next(p for p in points if p[0] > wanted)
    return t0 + (wanted - f0) / (f1 - f0) * (t1 - t0)


def verify_pairs(distances, persons, **options):
    """Of pairs of any distances, by their first persons."""
    names, persons = np.unique(persons, return_inverse=True)
    persons = np.sort(persons.reshape(-1, 2), axis=1)
    distances = np.asarray(distances, np.float32)

    def blocks():
        for person in range(len(names)):
            of_person = persons[:, 0] == person
            yield Block(person, persons[of_person, 1], distances[of_person])

    return verify_blocks(blocks, len(names), **options)


def point_at(found, fpr):
    """Of an FPR that is measured."""
    point = found.tpr[fpr]
    assert point is not None
    return point


def test_hand_worked():
    """Genuine 1, 2, 5; impostor 3, 4, 6, 7 (each five times). Below 5: TPR 2/3, FPR 1/2."""
    distances = np.array([1, 2, 5] + [3, 4, 6, 7] * 5, np.float32)
    persons = np.array([[1, 1], [2, 2], [3, 3]] + [[1, 2]] * 20)
    found = verify_pairs(distances, persons, fprs=(0.5, 0.74, 0.4), resamples=0)
    assert (found.num_genuine, found.num_impostor, found.num_persons) == (3, 20, 3)
    points = found.tpr
    # FPR 0.5 allows ten of twenty: all of 3 and 4, and 5 is genuine: the threshold is 6.
    assert [(p.tpr, p.fpr, p.threshold, p.interval) for p in points.values() if p] == [(1, 0.5, 6, None)] * 2
    assert points[0.4] is None  # eight pairs measure nothing
    # From (1/4, 2/3) below 4 to (1/2, 2/3) below 5, the line FPR = 1 - TPR is met at 1/3.
    assert found.eer == pytest.approx(1 / 3)
    # Below 4, FPR is 1/4 and 1 - TPR is 1/3: the nearest; 3.5 is as far from 3 as from 4.
    assert found.eer_threshold == pytest.approx(3.5, rel=1e-4)
    thresholds, fpr, tpr = found.roc.T
    assert thresholds[:-1].tolist() == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(fpr, np.array([0, 0, 0, 1, 2, 2, 3, 4]) / 4)
    np.testing.assert_allclose(tpr, np.array([0, 1, 2, 2, 2, 3, 3, 3]) / 3)


@pytest.mark.parametrize("exclude_same_camera", [True, False])
@pytest.mark.parametrize("cross_camera_impostors", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_equals_the_loop_over_all_pairs(seed, exclude_same_camera, cross_camera_impostors, monkeypatch):
    monkeypatch.setattr(verification, "ROWS", 7)  # persons of 5 tracklets are split
    case = random_case(seed)
    options = {"exclude_same_camera": exclude_same_camera, "cross_camera_impostors": cross_camera_impostors}
    found = verify(*case, fprs=(0.3, 0.1, 0.01), **options)
    pairs = pairs_by_loop(*case, **options)
    genuine = [(d, 1) for d, a, b in pairs if a == b]
    impostor = [(d, 1) for d, a, b in pairs if a != b]
    assert (found.num_genuine, found.num_impostor, found.num_persons) == (len(genuine), len(impostor), 12)
    points = roc_by_loop(genuine, impostor)
    assert found.eer == pytest.approx(eer_by_loop(points), abs=1e-12)
    for wanted, point in found.tpr.items():
        assert point
        below = [np.mean([d < point.threshold for d, _ in part]) for part in (genuine, impostor)]
        assert (point.tpr, point.fpr) == tuple(below)
        assert point.fpr <= wanted < min(f for f, _ in points if f > point.fpr)
        assert point.tpr == max(t for f, t in points if f <= wanted)
    np.testing.assert_allclose(found.roc[:, 1:], points, atol=1e-12)


def test_counts_at_a_threshold_are_exact_for_any_features():
    """Features of many dimensions, whose distances differ in the last bits."""
    features, ids, cameras = random_case(1, persons=40, each=6, dimensions=8)
    features += np.random.default_rng(1).random(features.shape, dtype=np.float32)
    found = verify(features, ids, cameras, fprs=(0.1, 0.01), resamples=0)
    pairs = pairs_by_loop(features, ids, cameras)
    genuine, impostor = (np.array([d for d, a, b in pairs if (a == b) == same]) for same in (True, False))
    for wanted, point in found.tpr.items():
        assert point
        assert abs((genuine < point.threshold).sum() - point.tpr * len(genuine)) <= 1  # a float32 matrix product
        assert abs((impostor < point.threshold).sum() - point.fpr * len(impostor)) <= 1
        assert np.mean(impostor < point.threshold * (1 + 2**-14)) >= wanted - 1 / len(impostor)
    below = found.eer_threshold
    assert np.mean(impostor < below) == pytest.approx(1 - np.mean(genuine < below), abs=2 / len(genuine))
    assert np.mean(impostor < below) == pytest.approx(found.eer, abs=2 / len(genuine))


def test_two_normal_distributions():
    """Means 2 standard deviations apart: EER = Phi(-1), TPR at FPR f = Phi(Phi^-1(f) + 2)."""
    rng = np.random.default_rng(0)
    count = 200_000
    distances = np.concatenate([rng.normal(10, 1, count), rng.normal(12, 1, count)])
    persons = np.ones((2 * count, 2), int)
    persons[count:, 1] = 2
    found = verify_pairs(distances, persons, resamples=0)
    normal = NormalDist()
    assert found.eer == pytest.approx(normal.cdf(-1), abs=4 * np.sqrt(0.16 * 0.84 / count))
    assert found.eer_threshold == pytest.approx(11, abs=0.02)
    assert list(found.tpr) == [1e-1, 1e-2, 1e-3, 1e-4]
    for fpr, point in found.tpr.items():
        assert point
        expected = normal.cdf(normal.inv_cdf(fpr) + 2)
        threshold = 12 + normal.inv_cdf(fpr)
        slope = normal.pdf(threshold - 10)
        error = np.sqrt(fpr / count) / normal.pdf(normal.inv_cdf(fpr))  # of the threshold
        assert point.threshold == pytest.approx(threshold, abs=4 * error)
        assert point.tpr == pytest.approx(expected, abs=4 * (slope * error + np.sqrt(expected / count)))


def test_a_perfect_and_a_useless_distance():
    features, ids, cameras = random_case(spread=0)
    features[ids > 0] = 10 * ids[ids > 0, None]
    perfect = verify(features, ids, cameras, fprs=(0.1,))
    assert perfect.eer == 0
    assert perfect.eer_threshold == pytest.approx(5, rel=1e-4)
    assert point_at(perfect, 0.1).tpr == 1
    assert perfect.eer_interval == (0, 0)
    assert verify(np.zeros_like(features), ids, cameras, fprs=(0.1,)).eer == 0.5


def test_pairs_and_features_give_the_same():
    case = random_case(2)
    pairs = pairs_by_loop(*case)
    shuffled = np.random.default_rng(0).permutation(len(pairs))
    distances, persons = (np.array(column)[shuffled] for column in ([p[0] for p in pairs], [p[1:] for p in pairs]))
    from_features, from_pairs = verify(*case, resamples=50), verify_pairs(distances, persons, resamples=50)
    assert from_features.to_json() == from_pairs.to_json()
    np.testing.assert_array_equal(from_features.roc, from_pairs.roc)


def intervals_by_loop(case, wanted, resamples, seed):
    """Every pair with its weight, a new ROC of each resample."""
    pairs = pairs_by_loop(*case)
    persons = sorted({a for _, a, _ in pairs} | {b for _, _, b in pairs})
    draws = np.random.default_rng(seed).multinomial(len(persons), [1 / len(persons)] * len(persons), resamples)
    rates = []
    for drawn in draws:
        times = dict(zip(persons, drawn, strict=True))
        genuine = [(d, times[a]) for d, a, b in pairs if a == b]
        impostor = [(d, times[a] * times[b]) for d, a, b in pairs if a != b]
        points = roc_by_loop(genuine, impostor)
        rates.append((eer_by_loop(points), tpr_by_loop(points, wanted)))
    return np.percentile(rates, [2.5, 97.5], axis=0).T


def test_intervals_equal_those_of_resampled_lists_of_pairs():
    case = random_case(3)
    found = verify(*case, fprs=(0.1,), resamples=40, seed=7)
    eer, tpr = intervals_by_loop(case, 0.1, 40, 7)
    assert found.eer_interval == pytest.approx(tuple(eer), rel=1e-6)
    assert point_at(found, 0.1).interval == pytest.approx(tuple(tpr), rel=1e-6)


def test_some_hundred_thresholds_are_enough(monkeypatch):
    """The interval from a few hundred levels beside that from all distances."""
    features, ids, cameras = random_case(4, persons=30, each=8, spread=1.5, dimensions=8)
    features += np.random.default_rng(1).random(features.shape, dtype=np.float32)
    case = features, ids, cameras
    few = verify(*case, fprs=(0.1, 1e-3), resamples=200)
    monkeypatch.setattr(pair_counts, "LEVELS_BY_FPR", 10**6)
    every = verify(*case, fprs=(0.1, 1e-3), resamples=200)
    assert len(few.roc) <= 256 < 5000 < len(every.roc)
    assert (few.eer, few.eer_threshold) == (every.eer, every.eer_threshold)
    pairs = [(few.eer_interval, every.eer_interval)]
    pairs += [(a.interval, b.interval) for a, b in zip(few.tpr.values(), every.tpr.values(), strict=True) if a and b]
    assert len(pairs) == 3
    for found, expected in pairs:
        assert found
        assert expected
        np.testing.assert_allclose(found, expected, atol=0.02 * (expected[1] - expected[0]))


def test_intervals_hold_the_truth():
    """Persons differ in how much their features scatter; the interval is wrong in about one of twenty samples."""

    def sample(seed, persons):
        rng = np.random.default_rng(seed)
        ids = np.repeat(np.arange(1, persons + 1), 4).astype(np.int32)
        scatter = rng.gamma(2, 0.5, persons)[ids - 1, None]
        features = rng.normal(0, 1.5, (persons, 3))[ids - 1] + scatter * rng.normal(0, 1, (len(ids), 3))
        return features.astype(np.float32), ids, np.tile(np.arange(1, 5, dtype=np.int32), persons)

    truth = verify(*sample(0, 500), fprs=(0.1,), resamples=0)
    true_tpr = point_at(truth, 0.1).tpr
    hits = []
    for seed in range(1, 61):
        found = verify(*sample(seed, 30), fprs=(0.1,), resamples=100)
        point = found.tpr[0.1]
        assert found.eer_interval
        assert point
        assert point.interval
        hits.append(
            [
                found.eer_interval[0] <= truth.eer <= found.eer_interval[1],
                point.interval[0] <= true_tpr <= point.interval[1],
            ]
        )
    # 95 % with a standard error of 2.8; percentile intervals of 30 persons are a little short.
    assert (np.mean(hits, axis=0) >= 0.86).all()
    assert (np.mean(hits, axis=0) < 1).any()


def test_the_order_of_the_tracklets_and_the_seed():
    features, ids, cameras = random_case(5, persons=20)
    found = verify(features, ids, cameras, resamples=100)
    turned = verify(features[::-1], ids[::-1], cameras[::-1], resamples=100)
    assert found.to_json() == turned.to_json()
    assert verify(features, ids, cameras, resamples=100, seed=1).eer_interval != found.eer_interval
    np.testing.assert_array_equal(ids, random_case(5, persons=20)[1])


def test_what_is_too_few_is_none():
    features, ids, cameras = random_case(6, persons=MIN_PERSONS - 1, each=4)
    found = verify(features, ids, cameras)
    allowed = {fpr: found.num_impostor * fpr for fpr in found.tpr}
    assert {fpr for fpr, point in found.tpr.items() if point} == {
        f for f, n in allowed.items() if n >= MIN_FALSE_ACCEPTS
    }
    assert found.tpr[1e-4] is None
    assert point_at(found, 1e-1).interval is None
    assert found.eer_interval is None
    written = found.to_json()
    assert written["tpr_at_fpr"]["0.0001"] is None
    assert written["tpr_at_fpr"]["0.1"]["tpr"] == 100 * point_at(found, 1e-1).tpr


def test_memory_does_not_hold_all_pairs():
    """4.5 million pairs, 18 MB of float32 distances and 36 of persons."""
    peaks = []
    for count in (30, 3000):
        rng = np.random.default_rng(0)
        features, ids = rng.random((count, 4), dtype=np.float32), np.arange(count, dtype=np.int32) // 10 + 1
        tracemalloc.start()
        verify(features, ids, np.arange(count, dtype=np.int32), resamples=0)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] - peaks[0] < 16e6


def test_one_camera_has_no_genuine_pair():
    features, ids, _ = random_case()
    with pytest.raises(InputError, match="0 genuine .*same_camera_allowed"):
        verify(features, ids, np.ones_like(ids))
    with pytest.raises(InputError, match="0 impostor pairs"):
        verify(features, np.ones_like(ids), np.arange(len(ids)))
    with pytest.raises(InputError, match="found 0 genuine pairs"):
        verify(features, np.zeros_like(ids), np.ones_like(ids))


def test_wrong_input():
    features, ids, cameras = random_case()
    with pytest.raises(InputError, match="not finite"):
        verify(np.where(np.arange(len(ids))[:, None] == 3, np.float32(np.nan), features), ids.clip(1), cameras)
    with pytest.raises(ValueError, match=r"in \(0, 1\)"):
        verify(features, ids, cameras, fprs=(0.1, 1.0))
