"""The ranking beside other programs' definitions: trec_eval, torchreid, fast-reid; and the real splits of PRID2011."""

import shutil

import numpy as np
import pytest

from rgcn_jax.data.datasets import prid2011
from rgcn_jax.evaluation.protocol import PROTOCOLS, scorable_protocols, test_tracklets
from rgcn_jax.evaluation.rank_protocols import rank_features
from rgcn_jax.evaluation.ranking import evaluate_ranking
from rgcn_jax.types import Embeddings


def mars_like(seed, num_queries=200, num_gallery=900):
    """Distances without ties, many persons and cameras, distractors and junk."""
    rng = np.random.default_rng(seed)
    query_ids, gallery_ids = rng.integers(1, 60, num_queries), rng.integers(-1, 55, num_gallery)
    distances = rng.permutation(num_queries * num_gallery).reshape(num_queries, num_gallery) + 1.0
    distances -= 60_000.5 * (query_ids[:, None] == gallery_ids)
    return distances, query_ids, gallery_ids, rng.integers(1, 5, num_queries), rng.integers(1, 5, num_gallery)


@pytest.mark.parametrize("seed", range(2))
def test_trec_eval(seed):
    """The qrels judge what takes part for a query; all else is unjudged, and left out by judged_docs_only_flag."""
    pytrec_eval = pytest.importorskip("pytrec_eval", reason="trec_eval's Python binding has no wheel for this platform")
    distances, query_ids, gallery_ids, query_cameras, gallery_cameras = case = mars_like(seed)
    qrels, run = {}, {}
    for q, (person, camera) in enumerate(zip(query_ids, query_cameras, strict=True)):
        same = gallery_ids == person
        judged = (gallery_ids != -1) & ~(same & (gallery_cameras == camera))
        qrels[f"q{q}"] = {f"g{g}": int(same[g]) for g in np.flatnonzero(judged)}
        run[f"q{q}"] = {f"g{g}": -distance for g, distance in enumerate(distances[q].tolist())}
    measures = {"map", "recip_rank", "success"}
    evaluator = pytrec_eval.RelevanceEvaluator(qrels, measures, judged_docs_only_flag=True)
    found = [of_query for _, of_query in sorted(evaluator.evaluate(run).items(), key=lambda item: int(item[0][1:]))]
    metrics = evaluate_ranking(*case)
    valid = metrics.valid
    assert 0 < metrics.num_skipped_queries < 30
    expected = {name: np.array([of_query[name] for of_query in found]) for name in found[0]}
    np.testing.assert_array_equal(expected["map"] > 0, valid)
    np.testing.assert_allclose(metrics.average_precision[valid], expected["map"][valid], rtol=0, atol=1e-15)
    np.testing.assert_array_equal(1 / metrics.first_match_rank[valid], expected["recip_rank"][valid])
    for k in (1, 5, 10):
        np.testing.assert_array_equal(metrics.found_within[valid, k - 1], expected[f"success_{k}"][valid])


def test_torchreid_and_fast_reid():
    """Their definitions, as documented: the sorted gallery without the query's person in the query's camera is a row of
    hits and misses. The CMC is one from the first hit on; AP is the mean over the hits of hits so far over places so
    far; and fast-reid's INP is the number of hits over the place of the last. Queries without a hit do not count.
    Neither knows junk, which is no part of their galleries.
    """
    distances, query_ids, gallery_ids, query_cameras, gallery_cameras = mars_like(3)
    real = gallery_ids != -1
    metrics = evaluate_ranking(distances, query_ids, gallery_ids, query_cameras, gallery_cameras)
    cmc, precisions, penalties = [], [], []
    for q in range(len(query_ids)):
        order = np.argsort(distances[q, real])
        persons, cameras = gallery_ids[real][order], gallery_cameras[real][order]
        hits = (persons == query_ids[q])[~((persons == query_ids[q]) & (cameras == query_cameras[q]))]
        if not hits.any():
            continue
        so_far = hits.cumsum()
        cmc.append(np.minimum(so_far, 1)[:50])
        precisions.append((so_far / np.arange(1, len(hits) + 1))[hits].sum() / hits.sum())
        penalties.append(hits.sum() / (1 + np.flatnonzero(hits)[-1]))
    assert metrics.num_valid_queries == len(cmc) < len(query_ids)
    np.testing.assert_allclose(metrics.cmc, np.mean(cmc, axis=0), atol=1e-15)
    assert metrics.mAP == pytest.approx(np.mean(precisions), abs=1e-15)
    assert metrics.mINP == pytest.approx(np.mean(penalties), abs=1e-15)


@pytest.mark.real_data
@pytest.mark.parametrize("number", [1, 10])
def test_splits_of_prid2011(real_data, tmp_path, number):
    """89 queries with one match each: AP is 1 / rank, and a random ranking finds 1 in 89 first."""
    splits = real_data / "prid2011" / "splits_prid2011.json"
    shutil.copy(splits, tmp_path)
    names = {name for side in prid2011.parse_splits(splits.read_bytes(), splits)[0] for name in side}
    assert len(names) == 178
    for camera in ("cam_a", "cam_b"):
        for name in names:
            folder = tmp_path / "prid_2011" / "multi_shot" / camera / name
            folder.mkdir(parents=True)
            (folder / "0001.png").touch()
    tracklets, roles = test_tracklets(prid2011.load(tmp_path, number))
    protocols, chance = scorable_protocols(tracklets, roles)
    assert list(protocols) == ["official", "official_matlab"]
    assert chance == pytest.approx(1 / 89)
    rng = np.random.default_rng(number)
    persons = np.array([t.person_id for t in tracklets], np.int32)
    features = rng.standard_normal((len(tracklets), 8), dtype=np.float32) + rng.standard_normal((1000, 8))[persons]
    embeddings = Embeddings(
        features.astype(np.float32),
        np.zeros((178, 0), np.float32),
        persons,
        np.array([t.camera_id for t in tracklets], np.int32),
    )
    metrics = rank_features(embeddings.appearance, embeddings, roles, {"official": PROTOCOLS["official"]})["official"]
    query, gallery = features[roles.query], features[roles.gallery]
    distances = np.linalg.norm(query[:, None] - gallery, axis=-1)
    own = distances[np.arange(89), [int(np.flatnonzero(persons[roles.gallery] == p)[0]) for p in persons[roles.query]]]
    ranks = (distances < own[:, None]).sum(axis=1) + 1
    assert (metrics.num_valid_queries, metrics.num_gallery) == (89, 89)
    np.testing.assert_array_equal(metrics.first_match_rank, ranks)
    assert metrics.mAP == pytest.approx(np.mean(1 / ranks))
    assert metrics.mINP == pytest.approx(metrics.mAP)
    np.testing.assert_allclose(metrics.cmc, [(ranks <= k).mean() for k in range(1, 51)])
