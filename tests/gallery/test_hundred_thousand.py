"""A hundred thousand entries in every form of a gallery: exact where it promises so; recall of approximate indices."""

import numpy as np
import pytest

from benchmarks.gallery import wait_for_index
from rgcn_jax.evaluation.distance import fuse
from rgcn_jax.gallery import Entry, Gallery, Where
from tests.gallery.models import embeddings, model, take

COUNT = 100_000

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found():
    return embeddings(COUNT, duplicates=False)


def filled(uri, found):
    gallery = Gallery.open(uri, model())
    for start in range(0, COUNT, 25_000):
        part = take(found, slice(start, start + 25_000))
        gallery.add(part, [Entry(f"{i}", camera_id=int(c)) for i, c in enumerate(part.camera_ids, start)])
    return gallery


@pytest.fixture(scope="module")
def exact(found, tmp_path_factory):
    return filled(tmp_path_factory.mktemp("exact") / "gallery", found)


@pytest.mark.parametrize("uri", ["embedded", "device", "milvus lite", "milvus server"], indirect=True)
def test_a_hundred_thousand_are_searched_exactly(uri, found):
    gallery, of = filled(uri, found), model()
    assert gallery.count() == COUNT
    vectors = fuse(found, "fused", of.config.evaluation.distance, 0.5, of.statistics).astype(float)
    for query in (0, 31_415, 99_999):
        squares = np.square(vectors - vectors[query]).sum(axis=1)
        nearest = np.argsort(squares, kind="stable")[:10]
        matches = gallery.search(take(found, [query]), k=10)[0]
        assert [match.id - 1 for match in matches] == nearest.tolist()
        np.testing.assert_allclose([match.distance for match in matches], np.sqrt(squares[nearest]), atol=1e-6)
        others = gallery.search(take(found, [query]), k=10, where=Where(not_cameras=[int(found.camera_ids[query])]))[0]
        allowed = np.where(found.camera_ids == found.camera_ids[query], np.inf, squares)
        assert [match.id - 1 for match in others] == np.argsort(allowed, kind="stable")[:10].tolist()


@pytest.mark.parametrize("uri", ["milvus server"], indirect=True)
@pytest.mark.parametrize("index", ["FLAT", "HNSW", "IVF_FLAT"])
def test_the_recall_of_an_index_is_measured(uri, index, found, exact, capsys):
    gallery = filled(f"{uri}?index={index}", found)
    wait_for_index(gallery, f"{uri}?index={index}")
    queries = take(found, slice(0, COUNT, COUNT // 64))
    for by in ("appearance", "pose", "fused"):
        pairs = zip(gallery.search(queries, k=10, by=by), exact.search(queries, k=10, by=by), strict=True)
        recall = np.mean([len({m.id for m in a} & {m.id for m in b}) / 10 for a, b in pairs])
        with capsys.disabled():
            print(f"\n{index}, {COUNT:,} entries, 10 nearest by {by}: recall {recall:.4f}")
        assert recall == 1 if index == "FLAT" else recall > 0.9
