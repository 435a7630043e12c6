"""What every form of a gallery promises; each form is a parameter of the fixture ``uri``."""

import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.gallery import Entry, Gallery, Where
from tests.commands import REPOSITORY
from tests.gallery.conftest import release
from tests.gallery.models import embeddings, entries, model, take
from tests.kills import KILLS

COUNT = 200


@pytest.fixture
def filled(uri):
    """A gallery that was filled by several additions and opened again, its model, features and entries."""
    found, of = embeddings(COUNT), model()
    known = entries(found)
    with_model = Gallery.open(uri, of)
    for start, stop in ((0, 1), (1, 70), (70, COUNT)):
        ids = with_model.add(take(found, slice(start, stop)), known[start:stop])
        assert len(ids) == stop - start
    return Gallery.open(uri, of), of, found, known


def expected(of, found, queries, by):
    """Distances in float64, by the definition: a loop over pairs."""
    settings = of.config.evaluation
    rows = [
        fuse(x, row, settings.distance, 1.0, of.statistics).astype(float)
        for row in ("appearance", "pose")
        for x in (found, queries)
    ]
    distances = np.empty((len(queries.person_ids), len(found.person_ids)))
    for i in range(distances.shape[0]):
        for j in range(distances.shape[1]):
            d_a, d_p = (np.sqrt(((rows[k][j] - rows[k + 1][i]) ** 2).sum()) for k in (0, 2))
            distances[i, j] = np.hypot(by[0] * d_a, by[1] * d_p)
    return distances


WEIGHTS = {"fused": (1.0, 0.5), "appearance": (1, 0), "pose": (0, 1), (0.3, 2.0): (0.3, 2)}


@pytest.mark.slow
def test_order_distances_and_ties_are_those_of_all_pairs(filled):
    gallery, of, found, known = filled
    queries = embeddings(7, seed=3)
    queries.appearance[2], queries.pose[2] = found.appearance[9], found.pose[9]
    for by, weights in WEIGHTS.items():
        check_search(gallery, known, queries, by, expected(of, found, queries, weights))


def check_search(gallery, known, queries, by, distances):
    for k in (1, 13, COUNT, 10 * COUNT):
        results = gallery.search(queries, k=k, by=by)
        for row, matches in zip(distances, results, strict=True):
            order = np.argsort(row.round(12), kind="stable")[:k]
            assert [match.id for match in matches] == (order + 1).tolist()
            np.testing.assert_allclose([match.distance for match in matches], row[order], rtol=1e-6, atol=1e-9)
            assert [match.entry for match in matches[:20]] == [known[i] for i in order[:20]]
    assert [match.id for match in gallery.search(queries, k=2, by=by)[2]] == [10, 11]
    assert gallery.search(queries, k=2, by=by)[2][1].distance == 0


@pytest.mark.parametrize("distance", ["euclidean", "standardized"])
def test_the_distance_is_the_models(uri, distance):
    found, of = embeddings(50), model(distance)
    gallery = Gallery.open(uri, of)
    gallery.add(found, entries(found))
    weight = 1.0 if distance == "euclidean" else 0.5
    row = fuse(found, "fused", distance, 0.5, of.statistics).astype(float)
    expected = np.linalg.norm(row[4] - row, axis=1)
    np.testing.assert_allclose(expected, gallery_distances(gallery, found, 4), rtol=1e-5, atol=1e-6)
    assert gallery.search(take(found, [4]), by=(1.0, weight)) == gallery.search(take(found, [4]))


def gallery_distances(gallery, found, query):
    by_id = {match.id: match.distance for match in gallery.search(take(found, [query]), k=1000)[0]}
    return [by_id[i + 1] for i in range(len(by_id))]


def test_features_with_a_large_common_part_are_found_exactly(uri):
    found, of = embeddings(300, widths=(64, 0)), model("euclidean", (64, 0))
    found = found._replace(appearance=found.appearance * 1e-3 + 100)
    gallery = Gallery.open(uri, of)
    gallery.add(found, entries(found))
    rows = found.appearance.astype(float)
    for query in range(0, 300, 29):
        order = np.argsort(((rows - rows[query]) ** 2).sum(axis=1), kind="stable")[:5]
        assert [m.id for m in gallery.search(take(found, [query]), k=5)[0]] == (order + 1).tolist()


WHERE = {
    "cameras": (Where(cameras=[1, 3]), lambda i, e: e.camera_id in (1, 3)),
    "not_cameras": (Where(not_cameras=[2]), lambda i, e: e.camera_id != 2),
    "persons": (Where(persons=[4, 5]), lambda i, e: e.person_id in (4, 5)),
    "ids": (Where(ids=[3, 8, 999]), lambda i, e: i in (3, 8)),
    "not_ids": (Where(not_ids=[3, 8]), lambda i, e: i not in (3, 8)),
    "after": (Where(after=1100.0), lambda i, e: e.end is not None and e.end >= 1100),
    "before": (Where(before=1100.0), lambda i, e: e.start is not None and e.start <= 1100),
    "quality": (Where(min_quality=0.5), lambda i, e: e.quality is not None and e.quality >= 0.5),
    "source": (Where(sources=["walks"]), lambda i, e: True),
    "no source": (Where(sources=["other"]), lambda i, e: False),
    "all": (
        Where(cameras=[1, 2], after=1050.0, before=1150.0, min_quality=0.2),
        lambda i, e: e.camera_id < 3 and e.end and e.end >= 1050 and e.start <= 1150 and (e.quality or 0) >= 0.2,
    ),
}


def test_filters(filled):
    gallery, _, found, known = filled
    everything = [match.id for match in gallery.search(take(found, [5]), k=COUNT)[0]]
    for name, (where, fulfils) in WHERE.items():
        check_filter(gallery, found, known, everything, name, where, fulfils)


def check_filter(gallery, found, known, everything, name, where, fulfils):
    ids = {i for i, entry in enumerate(known, 1) if fulfils(i, entry)}
    assert dict(gallery.entries(where)) == {i: known[i - 1] for i in ids}, name
    assert gallery.count(where) == len(ids), name
    for k in (3, COUNT):
        of_filter = [match.id for match in gallery.search(take(found, [5]), k=k, where=where)[0]]
        assert of_filter == [i for i in everything if i in ids][:k], name


def test_removed_entries_are_gone_and_ids_are_not_given_again(uri, filled):
    gallery, of, found, known = filled
    assert gallery.remove(Where(persons=[4])) == (found.person_ids == 4).sum()
    assert gallery.remove([COUNT]) == 1
    assert gallery.remove(Where(ids=[COUNT])) == gallery.remove([COUNT, 10**9]) == gallery.remove([]) == 0
    left = [i for i in range(COUNT - 1) if found.person_ids[i] != 4]
    for again in (gallery, Gallery.open(uri, of)):
        assert again.count() == len(left)
        assert [i - 1 for i, _ in again.entries()] == left
        assert {m.id - 1 for m in again.search(take(found, [0]), k=COUNT)[0]} == set(left)
    assert gallery.contains([known[left[0]], known[-1]]) == [True, False]
    assert gallery.add(take(found, [COUNT - 1]), known[-1:]) == [COUNT + 1]
    assert gallery.compact() > 0
    assert [i for i, _ in Gallery.open(uri, of).entries()] == [*(i + 1 for i in left), COUNT + 1]
    with pytest.raises(InputError, match="condition"):
        gallery.remove(Where())


def test_an_entry_is_added_once(filled):
    gallery, _, found, known = filled
    new = replace(known[0], tracklet="new")
    for wrong, problem in (([new, known[3]], "already"), ([new, new], "twice")):
        with pytest.raises(InputError, match=problem):
            gallery.add(take(found, [0, 1]), wrong)
    assert gallery.count() == COUNT
    assert gallery.contains([known[3], new]) == [True, False]
    gallery.add(take(found, [3]), [replace(known[3], source="elsewhere")])


OTHERS = [
    (model(name="b"), "model"),
    (model("euclidean"), "settings"),
    (model(pose_weight=2.0), "settings"),
    (model(widths=(6, 3)), "widths"),
]


def test_two_models_are_refused(uri, filled):
    for other, what in OTHERS:
        with pytest.raises(InputError, match=what):
            Gallery.open(uri, other)
    assert Gallery.open(uri).count() == COUNT


def test_wrong_input_is_one_sentence(uri, filled):
    gallery, _, found, known = filled
    one = take(found, [0])
    for wrong, problem in [
        (lambda: gallery.search(one, k=0), "k is 0"),
        (lambda: gallery.search(one, by="gait"), "gait"),
        (lambda: gallery.search(one, by=(0.0, 0.0)), "weights"),
        (lambda: gallery.search(one, fpr=1e-3), "calibrate"),
        (lambda: gallery.similar(999), "no entry 999"),
        (lambda: gallery.add(one, []), "1 embeddings and 0 entries"),
        (lambda: gallery.add(one._replace(pose=one.pose[:, 1:]), known[:1]), r"\[6, 3\]"),
        (lambda: gallery.add(one._replace(pose=one.pose * np.nan), [Entry("x")]), "not finite"),
        (lambda: gallery.add(one, [Entry("x", camera_id=2**40)]), "32 bits"),
        (lambda: Gallery.open(uri).search(one), "without its model"),
    ]:
        with pytest.raises(InputError, match=problem):
            wrong()
    assert gallery.count() == COUNT
    assert gallery.search(take(found, slice(0, 0))) == []


def test_an_entry_finds_the_others(filled):
    gallery, _, found, _ = filled
    assert [m.id for m in gallery.similar(10, k=5)] == [m.id for m in gallery.search(take(found, [9]), k=6)[0]][1:]


def test_an_empty_gallery_finds_nothing(uri):
    gallery = Gallery.open(uri, model())
    assert (gallery.count(), list(gallery.entries()), gallery.add(take(embeddings(3), slice(0, 0)), [])) == (0, [], [])
    assert gallery.search(embeddings(2), k=3) == [[], []]
    assert gallery.compact() == 0


ADDING = """
import sys
from tests.gallery.models import *
from rgcn_jax.gallery import Gallery
gallery = Gallery.open(sys.argv[1], model())
found = embeddings(3000, seed=5)
known = entries(found)
for start in range(0, 3000, 3):
    if all(gallery.contains(known[start : start + 3])):
        continue
    gallery.add(take(found, slice(start, start + 3)), known[start : start + 3])
    print(start + 3, flush=True)
"""


def test_what_was_acknowledged_survives_a_kill_and_nothing_is_half_there(uri):
    rng, acknowledged = np.random.default_rng(0), 0
    found = embeddings(3000, seed=5)
    known = entries(found)
    for _ in range(2 if "milvus" in uri or uri.endswith(".db") else KILLS // 2):
        process = subprocess.Popen(
            [sys.executable, "-c", ADDING, uri], cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout is not None
        first = process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        lines = [line for line in (first + process.stdout.read()).split("\n")[:-1] if line]
        process.wait()
        acknowledged = int(lines[-1])
        gallery = Gallery.open(uri, model())
        assert gallery.count() in (acknowledged, acknowledged + 3)
        assert [entry for _, entry in gallery.entries()] == known[: gallery.count()]
        for row in range(gallery.count() - 3, gallery.count()):
            assert gallery.search(take(found, [row]), k=1)[0][0].distance == 0
        release(uri)
    assert acknowledged > 0
