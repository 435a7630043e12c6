import numpy as np

from rgcn_jax.walkers.detector import Occluder, detect, draw_occluder

FRAMES = 4000
# A person who stands upright in the middle of the crop, far from its edges.
PLACES = np.stack([np.linspace(0.2, 0.3, 14), np.linspace(0.2, 0.8, 14)], -1)
XY = np.broadcast_to(PLACES, (FRAMES, 14, 2))
FAR = {"right": [3, 4, 9, 10], "left": [6, 7, 12, 13]}


def test_missing_is_all_zero_and_the_rest_is_inside_with_a_confidence():
    found = detect(XY, 0.7, None, np.random.default_rng(0))
    missing = found[..., 2] == 0
    assert not found[missing].any()
    assert found.dtype == np.float32
    assert ((found[~missing] > 0) & (found[~missing] <= 1)).all()


def test_noise_and_misses_have_the_documented_size():
    found = detect(XY, 0.0, None, np.random.default_rng(0))
    seen = found[..., 2] > 0
    assert abs(1 - seen.mean() - 0.03) < 0.004
    error = (found[..., :2] * [0.5, 1.0] - XY)[seen]
    # A mixture of 95 % with deviation 0.01 and 5 % with 0.03.
    assert abs(error.std() - np.sqrt(0.95 * 0.01**2 + 0.05 * 0.03**2)) < 2e-4
    assert abs(error.mean()) < 2e-4


def test_the_far_side_is_missed_more_often_the_more_from_the_side_it_is_seen():
    for sine, far, near in ((0.8, "right", "left"), (-0.8, "left", "right")):
        missing = (detect(XY, sine, None, np.random.default_rng(0))[..., 2] == 0).mean(axis=0)
        np.testing.assert_allclose(missing[FAR[far]], 0.03 + 0.25 * 0.8, atol=0.025)
        np.testing.assert_allclose(missing[FAR[near]], 0.03, atol=0.015)


def test_the_confidence_is_lower_where_the_place_is_worse():
    found = detect(XY, 0.0, None, np.random.default_rng(0))
    seen = found[..., 2] > 0
    error = np.linalg.norm(found[..., :2] * [0.5, 1.0] - XY, axis=-1)[seen]
    assert np.corrcoef(error, found[..., 2][seen])[0, 1] < -0.5


def test_what_is_outside_of_the_crop_is_missing():
    outside = XY.copy()
    outside[:, 0, 0] = 0.7
    outside[:, 5, 1] = -0.2
    found = detect(outside, 0.0, None, np.random.default_rng(0))
    assert not found[:, [0, 5]].any()
    assert found[:, [1, 2, 3]].any(axis=(0, 2)).all()


def test_a_box_and_an_ellipse_cover_what_lies_in_them():
    points = np.array([[[0.25, 0.7], [0.11, 0.51], [0.05, 0.7], [0.25, 0.4]]])
    box = np.array([[0.1, 0.5, 0.4, 0.9]])
    assert Occluder("car", box).covers(points).tolist() == [[True, True, False, False]]
    assert Occluder("bush", box).covers(points).tolist() == [[True, False, False, False]]  # the corner is free
    assert not Occluder("bush", np.zeros((1, 4))).covers(points).any()
    assert not Occluder("pole", np.zeros((1, 4))).covers(points).any()


def test_covered_keypoints_go_missing_and_others_stay():
    box = np.zeros((FRAMES, 4))
    box[100:110] = [0.0, 0.5, 0.5, 1.1]
    found = detect(XY, 0.0, Occluder("car", box), np.random.default_rng(0))
    hidden = PLACES[:, 1] > 0.5
    assert not found[100:110, hidden].any()
    assert (found[100:110, ~hidden, 2] > 0).mean() > 0.9
    assert (found[:100, hidden, 2] > 0).mean() > 0.9


def test_a_quarter_of_tracklets_have_a_burst_of_5_to_14_frames_that_hides_something():
    drawn = [draw_occluder(np.random.default_rng(seed), 30) for seed in range(2000)]
    bursts = [occluder for occluder in drawn if occluder is not None]
    assert abs(len(bursts) / 2000 - 0.25) < 0.03
    lengths = {int(occluder.box.any(axis=1).sum()) for occluder in bursts}
    assert lengths == set(range(5, 15))
    hiding = [occluder.covers(np.broadcast_to(PLACES, (30, 14, 2))).any() for occluder in bursts]
    assert np.mean(hiding) > 0.9


def test_a_burst_fits_into_a_short_tracklet():
    boxes = [o.box for o in (draw_occluder(np.random.default_rng(seed), 3) for seed in range(50)) if o is not None]
    assert boxes
    assert all(box.shape == (3, 4) and box.any(axis=1).all() for box in boxes)
