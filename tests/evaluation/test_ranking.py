from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.ranking import (
    MAX_CMC_RANK,
    as_percentages,
    evaluate_ranking,
    merge_queries,
)


def reference(distances, query_ids, gallery_ids, query_cameras, gallery_cameras, ap="mean", exclude_same_camera=True):
    """From the definition: sort, ties in gallery order, drop what is ignored, walk down the list."""
    precisions, firsts, penalties = [], [], []
    for q in range(len(query_ids)):
        hits = []
        for g in sorted(range(len(gallery_ids)), key=lambda g: (distances[q, g], g)):
            same = gallery_ids[g] == query_ids[q]
            if gallery_ids[g] == -1 or (same and exclude_same_camera and gallery_cameras[g] == query_cameras[q]):
                continue
            hits.append(bool(same and query_ids[q] > 0))
        if not any(hits):
            precisions.append(None)
            firsts.append(None)
            penalties.append(None)
            continue
        total, found, old_precision = 0.0, 0, 1.0
        for rank, hit in enumerate(hits, start=1):
            found += hit
            precision = found / rank
            if hit:
                total += precision if ap == "mean" else (old_precision + precision) / 2
            old_precision = precision
        precisions.append(total / sum(hits))
        firsts.append(hits.index(True) + 1)
        penalties.append(sum(hits) / (len(hits) - hits[::-1].index(True)))
    valid = [p for p in precisions if p is not None]
    ranks = [f for f in firsts if f is not None]
    size = sum(g != -1 for g in gallery_ids)
    cmc = [sum(f <= k for f in ranks) / len(ranks) for k in range(1, min(size, MAX_CMC_RANK) + 1)]
    return sum(valid) / len(valid), cmc, precisions, firsts, penalties


def random_case(seed, levels=None, num_queries=30, num_gallery=90):
    """Persons 1 to 7, of whom 7 never is in the gallery, distractors and junk; ``levels`` distances make ties."""
    rng = np.random.default_rng(seed)
    if levels is None:
        distances = rng.permutation(num_queries * num_gallery).reshape(num_queries, num_gallery).astype(np.float32)
    else:
        distances = rng.integers(0, levels, (num_queries, num_gallery)).astype(np.float32)
    return (
        distances,
        rng.integers(0, 8, num_queries).astype(np.int32),
        rng.integers(-1, 7, num_gallery).astype(np.int32),
        rng.integers(1, 4, num_queries).astype(np.int32),
        rng.integers(1, 4, num_gallery).astype(np.int32),
    )


@pytest.mark.parametrize("exclude_same_camera", [True, False])
@pytest.mark.parametrize("ap", ["mean", "trapezoid"])
@pytest.mark.parametrize("seed", range(4))
def test_equals_the_sorted_loop(seed, ap, exclude_same_camera):
    case = random_case(seed)
    untouched = [array.copy() for array in case]
    metrics = evaluate_ranking(*case, ap=ap, exclude_same_camera=exclude_same_camera)
    mAP, cmc, precisions, firsts, penalties = reference(*case, ap, exclude_same_camera)
    assert metrics.mAP == pytest.approx(mAP, abs=1e-12)
    np.testing.assert_allclose(metrics.cmc, cmc, atol=1e-12)
    skipped = [p is None for p in precisions]
    assert any(skipped)
    np.testing.assert_array_equal(np.isnan(metrics.average_precision), skipped)
    np.testing.assert_array_equal(metrics.first_match_rank, [f or 0 for f in firsts])
    np.testing.assert_allclose(
        metrics.average_precision[~np.array(skipped)], [p for p in precisions if p is not None], atol=1e-12
    )
    assert (metrics.num_valid_queries, metrics.num_skipped_queries) == (skipped.count(False), skipped.count(True))
    expected = [p for p in penalties if p is not None]
    np.testing.assert_allclose(metrics.inverse_negative_penalty[~np.array(skipped)], expected, atol=1e-12)
    assert metrics.mINP == pytest.approx(np.mean(expected), abs=1e-12)
    assert metrics.num_tied_queries == 0
    assert metrics.num_gallery == np.sum(case[2] != -1)
    for before, after in zip(untouched, case, strict=True):
        np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_float_types_give_the_same(dtype):
    case = random_case(0, levels=40)
    assert evaluate_ranking(case[0].astype(dtype), *case[1:]).mAP == evaluate_ranking(*case).mAP


HAND = {
    # Person 1 in camera 1 asks. Sorted: x, junk, same camera, MATCH (rank 2), distractor (3), MATCH (4), x.
    "distances": np.array([[0.7, 0.4, 0.1, 0.6, 0.2, 0.3, 0.5]], np.float32),
    "query_ids": np.array([1]),
    "gallery_ids": np.array([2, 1, 3, 1, -1, 1, 0]),
    "query_cameras": np.array([1]),
    "gallery_cameras": np.array([2, 2, 2, 3, 2, 1, 2]),
}


def test_hand_worked():
    metrics = evaluate_ranking(**HAND)
    assert metrics.mAP == pytest.approx((1 / 2 + 2 / 4) / 2)
    np.testing.assert_array_equal(metrics.cmc, [0, 1, 1, 1, 1, 1])  # six entries that are no junk
    assert metrics.first_match_rank.tolist() == [2]


def test_hand_worked_trapezoid():
    # Rank 2: precision 0/1 before, 1/2 at. Rank 4: 1/3 before, 2/4 at.
    expected = ((0 + 1 / 2) / 2 + (1 / 3 + 2 / 4) / 2) / 2
    assert evaluate_ranking(**HAND, ap="trapezoid").mAP == pytest.approx(expected)


def test_hand_worked_same_camera_counts_where_asked():
    # Now ranks 2, 3 and 5 are matches.
    expected = (1 / 2 + 2 / 3 + 3 / 5) / 3
    assert evaluate_ranking(**HAND, exclude_same_camera=False).mAP == pytest.approx(expected)


@pytest.mark.parametrize("ap", ["mean", "trapezoid"])
def test_perfect_ranking_is_one(ap):
    ids = np.repeat(np.arange(1, 6), 4)
    cameras = np.tile(np.arange(1, 5), 5)
    distances = (ids[:, None] != ids).astype(np.float32)
    metrics = evaluate_ranking(distances, ids, ids, cameras, cameras, ap=ap)
    assert metrics.mAP == 1
    assert metrics.cmc.tolist() == [1] * 20


def test_worst_ranking():
    distances = np.arange(10, dtype=np.float32)[None]
    gallery_ids = np.array([2] * 9 + [1])
    metrics = evaluate_ranking(distances, np.array([1]), gallery_ids, np.array([1]), np.full(10, 2))
    assert metrics.mAP == pytest.approx(1 / 10)
    assert metrics.cmc.tolist() == [0] * 9 + [1]


@pytest.mark.parametrize(("person", "camera"), [(-1, 1), (-1, 2), (3, 1)])
@pytest.mark.parametrize("position", [0, 5, 20])
def test_an_ignored_entry_changes_nothing(person, camera, position):
    rng = np.random.default_rng(1)
    distances = rng.random((6, 20), dtype=np.float32)
    q_ids, q_cameras = np.full(6, 3), np.full(6, 1)
    g_ids, g_cameras = rng.integers(1, 5, 20), rng.integers(1, 4, 20)
    before = evaluate_ranking(distances, q_ids, g_ids, q_cameras, g_cameras)
    after = evaluate_ranking(
        np.insert(distances, position, 0, axis=1),
        q_ids,
        np.insert(g_ids, position, person),
        q_cameras,
        np.insert(g_cameras, position, camera),
    )
    np.testing.assert_array_equal(before.average_precision, after.average_precision)
    np.testing.assert_array_equal(before.first_match_rank, after.first_match_rank)
    np.testing.assert_array_equal(before.cmc, after.cmc[: len(before.cmc)])


def test_a_distractor_in_front_costs_a_rank():
    arguments = np.array([1]), np.array([0, 1]), np.array([1]), np.array([2, 2])
    metrics = evaluate_ranking(np.array([[0, 1]], np.float32), *arguments)
    assert metrics.mAP == 0.5


def test_cmc_is_cut():
    ids, cameras = np.ones(80, np.int32), np.full(80, 2)
    metrics = evaluate_ranking(np.zeros((1, 80), np.float32), np.array([1]), ids, np.array([1]), cameras)
    assert metrics.cmc.shape == (MAX_CMC_RANK,) == (50,)


def test_a_first_match_behind_the_cut_is_in_no_share():
    ids = np.array([2] * 79 + [1])
    metrics = evaluate_ranking(np.arange(80, dtype=np.float32)[None], np.array([1]), ids, np.array([1]), np.full(80, 2))
    assert metrics.cmc.max() == 0
    assert metrics.mAP == pytest.approx(1 / 80)


@pytest.mark.parametrize("ap", ["mean", "trapezoid"])
def test_blocks_of_queries_merge_to_the_whole(ap):
    """One block is a single query that has no match, which alone is no error of a block."""
    distances, q_ids, g_ids, q_cameras, g_cameras = random_case(3)
    q_ids[7] = 7
    blocks = [
        evaluate_ranking(distances[rows], q_ids[rows], g_ids, q_cameras[rows], g_cameras, ap, require_match=False)
        for rows in (slice(0, 7), slice(7, 8), slice(8, 30))
    ]
    assert blocks[1].num_valid_queries == 0
    assert np.isnan([blocks[1].mAP, *blocks[1].cmc]).all()
    merged, whole = merge_queries(blocks), evaluate_ranking(distances, q_ids, g_ids, q_cameras, g_cameras, ap)
    assert (merged.mAP, merged.num_valid_queries) == (whole.mAP, whole.num_valid_queries)
    np.testing.assert_array_equal(merged.cmc, whole.cmc)
    np.testing.assert_array_equal(merged.average_precision, whole.average_precision)
    np.testing.assert_array_equal(merged.tied, whole.tied)


def test_blocks_of_different_galleries_do_not_merge():
    small, large = (evaluate_ranking(*random_case(0, num_gallery=size)) for size in (60, 90))
    for blocks in ([], [small, large], [small, replace(small, ap="trapezoid")]):
        with pytest.raises(ValueError, match="same gallery"):
            merge_queries(blocks)


def test_the_other_form_of_ap_needs_no_second_ranking():
    case = random_case(4)
    changed, ranked = replace(evaluate_ranking(*case), ap="trapezoid"), evaluate_ranking(*case, ap="trapezoid")
    np.testing.assert_array_equal(changed.average_precision, ranked.average_precision)
    assert changed.mAP == ranked.mAP != evaluate_ranking(*case).mAP


def test_the_columns_of_the_gallery_can_be_chosen():
    """Junk that is chosen takes a rank, as a person whom nobody asks for does."""
    distances, q_ids, g_ids, q_cameras, g_cameras = random_case(6)
    chosen = np.arange(90) % 3 > 0
    metrics = evaluate_ranking(distances, q_ids, g_ids, q_cameras, g_cameras, in_gallery=chosen)
    ids = np.where(g_ids == -1, 999, g_ids)[chosen]
    expected = evaluate_ranking(distances[:, chosen], q_ids, ids, q_cameras, g_cameras[chosen])
    np.testing.assert_array_equal(metrics.average_precision, expected.average_precision)
    assert metrics.num_gallery == expected.num_gallery == 60


def test_percentages():
    metrics = evaluate_ranking(*random_case(2))
    numbers = as_percentages(metrics)
    assert list(numbers) == ["mAP", "rank1", "rank5", "rank10", "rank20"]
    assert numbers["mAP"] == pytest.approx(100 * metrics.mAP)
    assert numbers["rank5"] == pytest.approx(100 * metrics.cmc[4])
    assert numbers["rank20"] == pytest.approx(100 * metrics.cmc[19])


def test_percentages_of_a_small_gallery():
    assert as_percentages(evaluate_ranking(**HAND)) == {
        "mAP": 50.0,
        "rank1": 0.0,
        "rank5": 100.0,
        "rank10": 100.0,
        "rank20": 100.0,
    }


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_distance_that_is_not_finite(bad):
    case = random_case(0)
    case[0][4, 17] = bad
    with pytest.raises(InputError, match="query 4 .*gallery entry 17 is -?(nan|inf)"):
        evaluate_ranking(*case)


def test_metrics_are_constant():
    with pytest.raises(FrozenInstanceError):
        evaluate_ranking(**HAND).num_gallery = 5  # pyright: ignore[reportAttributeAccessIssue]


def test_unknown_ap():
    with pytest.raises(ValueError, match=r"ap .*'matlab'.*'mean', 'trapezoid'"):
        evaluate_ranking(**HAND, ap="matlab")


@pytest.mark.parametrize(
    ("distances", "gallery_ids", "expected"),
    [
        ([0.1, 0.2, 0.3], [2, 2, 1], 1 / 3),  # one match, the last
        ([0.1, 0.1, 0.3, 0.4], [1, 2, 2, 1], 2 / 4),  # the first match is tied, the last is not
        ([0.1, 0.2, 0.3, 0.3], [1, 2, 1, 2], (2 / 3 + 2 / 4) / 2),  # the last is tied
    ],
)
def test_the_inverse_negative_penalty_is_that_of_the_last_match(distances, gallery_ids, expected):
    ids, cameras = np.array(gallery_ids), np.full(len(gallery_ids), 2)
    arguments = np.array([distances]), np.array([1]), ids, np.array([1]), cameras
    metrics = evaluate_ranking(*arguments)
    assert metrics.mINP == pytest.approx(expected, abs=1e-12)
    merged = merge_queries([metrics])
    assert (merged.mINP, merged.mAP, merged.num_gallery) == (metrics.mINP, metrics.mAP, len(ids))


def test_a_ranking_without_any_match_is_an_error_unless_it_is_a_block():
    arguments = np.array([[0.1, 0.2]]), np.array([1]), np.array([2, 3]), np.array([1]), np.array([2, 2])
    with pytest.raises(InputError):
        evaluate_ranking(*arguments)
    assert evaluate_ranking(*arguments, require_match=False).num_valid_queries == 0
