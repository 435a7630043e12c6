import itertools

import numpy as np
import pytest

from rgcn_jax import skeleton


def _numbered(size):
    """Keypoint i at (i, 100 + i) with confidence 0.5 + i / 100."""
    i = np.arange(size, dtype=np.float64)
    return np.stack([i, 100 + i, 0.5 + i / 100], axis=1)


def test_names_and_edges_are_those_of_figure_4():
    assert (
        *("head", "neck", "right_shoulder", "right_elbow", "right_wrist", "left_shoulder", "left_elbow", "left_wrist"),
        *("right_hip", "right_knee", "right_ankle", "left_hip", "left_knee", "left_ankle"),
    ) == skeleton.KEYPOINTS
    named = {frozenset(skeleton.KEYPOINTS[i] for i in edge) for edge in skeleton.EDGES}
    limbs = [f"{side}_{limb}" for side in ("right", "left") for limb in ("shoulder", "elbow", "wrist")]
    limbs += [f"{side}_{limb}" for side in ("right", "left") for limb in ("hip", "knee", "ankle")]
    expected = {frozenset(("head", "neck"))}
    for start in range(0, 12, 3):
        chain = ("neck", *limbs[start : start + 3])
        expected |= {frozenset(pair) for pair in itertools.pairwise(chain)}
    assert len(skeleton.EDGES) == 13
    assert named == expected


def test_adjacency_is_symmetric_binary_without_diagonal():
    a = skeleton.adjacency()
    assert a.dtype == np.float32
    assert a.sum() == 26
    assert set(np.unique(a)) == {0.0, 1.0}
    assert not a.diagonal().any()
    np.testing.assert_array_equal(a, a.T)
    assert a.sum(axis=1).tolist() == [1, 5, 2, 2, 1, 2, 2, 1, 2, 2, 1, 2, 2, 1]


def test_every_keypoint_but_the_neck_has_a_neighbour_on_the_way_to_the_neck():
    edges = {frozenset(edge) for edge in skeleton.EDGES}
    for keypoint, parent in enumerate(skeleton.PARENTS):
        assert frozenset((keypoint, parent)) in edges or keypoint == parent == skeleton.KEYPOINTS.index("neck")
        for _ in range(4):
            keypoint = skeleton.PARENTS[keypoint]
        assert skeleton.KEYPOINTS[keypoint] == "neck"


def test_normalized_adjacency_is_the_equation_by_a_slow_loop():
    degree = [1.0] * 14
    for i, j in skeleton.EDGES:
        degree[i] += 1
        degree[j] += 1
    expected = np.zeros((14, 14))
    for i in range(14):
        for j in range(14):
            if i == j or (i, j) in skeleton.EDGES or (j, i) in skeleton.EDGES:
                expected[i, j] = 1 / (degree[i] ** 0.5 * degree[j] ** 0.5)
    np.testing.assert_allclose(skeleton.normalized_adjacency(), expected, rtol=1e-7)
    # Head and neck have degrees 2 and 6 with their own loop.
    assert skeleton.normalized_adjacency()[0, 1] == pytest.approx(12**-0.5)


def test_normalized_adjacency_has_largest_eigenvalue_one():
    values, vectors = np.linalg.eigh(skeleton.normalized_adjacency().astype(np.float64))
    assert values[-1] == pytest.approx(1.0)
    degree = skeleton.adjacency().sum(axis=1) + 1
    np.testing.assert_allclose(np.abs(vectors[:, -1]), np.sqrt(degree / degree.sum()), rtol=1e-5)


def test_flip_order_swaps_the_sides_and_keeps_the_graph():
    flip = list(skeleton.FLIP_ORDER)
    assert [flip[i] for i in flip] == list(range(14))
    swap = {"right": "left", "left": "right"}
    for name, other in zip(skeleton.KEYPOINTS, [skeleton.KEYPOINTS[i] for i in flip], strict=True):
        side, _, part = name.partition("_")
        assert other == (f"{swap[side]}_{part}" if part else name)
    a = skeleton.adjacency()
    np.testing.assert_array_equal(a[np.ix_(flip, flip)], a)


@pytest.mark.parametrize(
    ("source", "size", "indices"),
    [
        ("openpose_body25", 25, [0, 1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14]),
        ("openpose_coco18", 18, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13]),
    ],
)
def test_to_14_from_skeletons_with_a_neck(source, size, indices):
    out = skeleton.to_14(_numbered(size), source)
    assert out.dtype == np.float32
    expected = [[i, 100 + i, 0.5 + i / 100] for i in indices]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("source", "size", "indices", "shoulders"),
    [
        ("coco17", 17, [0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15], (5, 6)),
        ("blazepose33", 33, [0, None, 12, 14, 16, 11, 13, 15, 24, 26, 28, 23, 25, 27], (11, 12)),
    ],
)
def test_to_14_makes_the_neck_from_both_shoulders(source, size, indices, shoulders):
    keypoints = _numbered(size)
    out = skeleton.to_14(keypoints, source)
    low, high = shoulders
    middle = (low + high) / 2
    expected = [
        [i, 100 + i, 0.5 + i / 100] if i is not None else [middle, 100 + middle, 0.5 + low / 100] for i in indices
    ]
    np.testing.assert_allclose(out, expected, rtol=1e-6)
    for shoulder in shoulders:
        without = keypoints.copy()
        without[shoulder, 2] = 0
        assert skeleton.to_14(without, source)[1].tolist() == [0, 0, 0]
        assert skeleton.to_14(without, source)[indices.index(shoulder)].tolist() == [0, 0, 0]


def test_to_14_clears_what_was_not_detected_and_keeps_leading_axes():
    keypoints = np.stack([_numbered(18), _numbered(18)])[None]
    keypoints[0, 1, 3] = (7.0, 8.0, 0.0)
    keypoints[0, 1, 4] = (7.0, 8.0, -0.1)
    out = skeleton.to_14(keypoints, "openpose_coco18")
    assert out.shape == (1, 2, 14, 3)
    assert not out[0, 1, 3:5].any()
    assert np.count_nonzero(out[..., 2]) == 26


def test_to_14_refuses_what_it_does_not_know():
    with pytest.raises(ValueError, match="unknown skeleton 'mpii'"):
        skeleton.to_14(np.zeros((16, 3)), "mpii")
    with pytest.raises(ValueError, match=r"coco17 .*17 .*\(18, 3\)"):
        skeleton.to_14(np.zeros((18, 3)), "coco17")


def _walk_in_pixels(frames=20, growth=1.0):
    rng = np.random.default_rng(0)
    body = np.concatenate([rng.uniform(0, 1, (14, 2)) * [0.4, 1.0], np.ones((14, 1))], -1)
    body[0, 1], body[13, 1] = 0.0, 1.0
    size = 100 * growth ** np.arange(frames)
    place = body[None, :, :2] * size[:, None, None] + np.stack([300 + 7.0 * np.arange(frames)] * 2, -1)[:, None]
    return body, np.concatenate([place, np.broadcast_to(body[:, 2:], (frames, 14, 1))], -1)


@pytest.mark.parametrize("growth", [1.0, 1.02])
def test_pixels_become_shares_of_crops_that_follow_the_person(growth):
    body, pixels = _walk_in_pixels(growth=growth)
    found = skeleton.in_crops(pixels, aspect=0.5, margin=1.25)
    middle = (body[:, :2].min(axis=0) + body[:, :2].max(axis=0)) / 2
    for t in range(20):
        for v in range(14):
            x, y = (body[v, :2] - middle) / 1.25
            np.testing.assert_allclose(found[t, v], (0.5 + x / 0.5, 0.5 + y, 1.0), atol=1e-5)
    larger = pixels * [3.0, 3.0, 1.0] + [50.0, 20.0, 0.0]
    np.testing.assert_allclose(skeleton.in_crops(larger), found, atol=1e-5)


def test_what_is_missing_stays_missing_and_makes_no_crop_smaller():
    _, pixels = _walk_in_pixels()
    pixels[3] = 0  # nobody in this frame
    pixels[5, 13] = 0  # the lowest keypoint
    found = skeleton.in_crops(pixels)
    assert not found[3].any()
    assert not found[5, 13].any()
    height = np.ptp(found[4, :, 1])
    shown = found[5, 0, 1] - found[5, 1:13, 1]
    assert np.abs(shown - (found[4, 0, 1] - found[4, 1:13, 1])).max() < 0.02 * height
    one = skeleton.in_crops(pixels[:1])
    assert np.isfinite(one).all()
    with pytest.raises(ValueError, match="two keypoints at different heights"):
        skeleton.in_crops(np.zeros((4, 14, 3)))
