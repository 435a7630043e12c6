import numpy as np
import pytest

from rgcn_jax.errors import InputError
from rgcn_jax.evaluation.matches import Labels, count_matches
from rgcn_jax.evaluation.ranking import evaluate_ranking


@pytest.mark.parametrize("exclude_same_camera", [True, False])
def test_count_matches(exclude_same_camera):
    rng = np.random.default_rng(5)
    q_ids, g_ids = rng.integers(0, 8, 30), rng.integers(-1, 7, 90)
    q_cameras, g_cameras = rng.integers(1, 4, 30), rng.integers(1, 4, 90)
    in_gallery = np.arange(90) % 3 > 0
    matches, candidates = count_matches(Labels(q_ids, g_ids, q_cameras, g_cameras, in_gallery, exclude_same_camera))
    for q in range(30):
        same = [g for g in range(90) if in_gallery[g] and g_ids[g] == q_ids[q] > 0]
        own = [g for g in same if g_cameras[g] == q_cameras[q]] if exclude_same_camera else []
        assert (matches[q], candidates[q]) == (len(same) - len(own), in_gallery.sum() - len(own))


def test_everybody_in_one_camera_only():
    ids = np.arange(1, 7)
    with pytest.raises(InputError, match="6 queries .* 6 gallery .* 6 persons .* one camera"):
        evaluate_ranking(np.ones((6, 6), np.float32), ids, ids, ids, ids)


def test_one_camera_id_for_all():
    ids, cameras = np.array([1, 1, 2, 2]), np.ones(4, np.int64)
    with pytest.raises(InputError, match="All tracklets have camera id 1"):
        evaluate_ranking(np.ones((4, 4), np.float32), ids, ids, cameras, cameras)


def test_no_person_in_common():
    with pytest.raises(InputError, match="No .*person .* gallery"):
        evaluate_ranking(np.ones((1, 2), np.float32), np.array([1]), np.array([2, 0]), np.array([1]), np.array([1, 2]))


@pytest.mark.parametrize(("num_queries", "num_gallery"), [(0, 3), (2, 0)])
def test_empty(num_queries, num_gallery):
    q, g = np.ones(num_queries, np.int64), np.ones(num_gallery, np.int64)
    with pytest.raises(InputError, match=f"{num_queries} queries .* {num_gallery} gallery .* empty"):
        evaluate_ranking(np.ones((num_queries, num_gallery), np.float32), q, g, q, g + 1)
