"""Self-occlusion, swapped limbs and lasting noise of a pose estimator."""

import numpy as np
import pytest

from rgcn_jax.skeleton import KEYPOINTS, to_14
from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.camera import draw_cameras, look
from rgcn_jax.walkers.gait import walk
from rgcn_jax.walkers.mistakes import NOISE, hidden_by_body, misplace, swapped_frames, with_middle_neck
from rgcn_jax.walkers.population import draw_person

FRAMES = 2000
XY = np.broadcast_to(np.stack([np.linspace(0.2, 0.3, 14), np.linspace(0.2, 0.8, 14)], -1), (FRAMES, 14, 2))
SEEN = np.zeros((FRAMES, 14), bool)


def _hidden(camera, postures=("none",)):
    """Share of frames in which each keypoint is hidden, of several people in a camera of the round."""
    shares = []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        person = draw_person(rng, 1.0)
        if person.posture in postures:
            motion = walk(person, np.linspace(0, 4 * np.pi, 40))
            view = look(draw_cameras(rng, 8, "round")[camera], rng, motion.points)
            shares.append(hidden_by_body(view, motion).mean(axis=0))
    return dict(zip(KEYPOINTS, np.mean(shares, axis=0), strict=True))


def test_a_body_hides_what_is_behind_it():
    front, left, behind = _hidden(0), _hidden(1), _hidden(2)
    assert max(front[name] for name in ("head", "neck", "left_wrist", "right_wrist")) < 0.05
    assert behind["head"] > 0.95
    # From the left the right arm is behind the trunk, and the right leg now and then behind the left one.
    assert left["right_shoulder"] > 0.9
    assert left["left_shoulder"] == 0
    assert left["right_elbow"] > left["left_elbow"] + 0.2
    assert left["right_knee"] > left["left_knee"] + 0.1
    assert left["neck"] == behind["neck"] == 0


def test_what_is_carried_before_the_trunk_is_hidden_from_behind():
    everybody = ("carrying", "phone_left", "phone_right", "pockets", "strap_left", "strap_right")
    assert _hidden(2, everybody)["left_wrist"] > _hidden(0, everybody)["left_wrist"]


def test_limbs_are_swapped_in_the_documented_share_of_frames_and_in_runs():
    share = np.full(60_000, 0.1)
    swapped = swapped_frames(np.random.default_rng(0), share)
    assert swapped.mean() == pytest.approx(0.1, abs=0.01)
    runs = np.diff(np.flatnonzero(np.diff(np.concatenate([[0], swapped.astype(int), [0]]))))[::2]
    assert runs.mean() == pytest.approx(3.0, abs=0.15)


def test_a_swap_exchanges_both_arms_or_both_legs_and_nothing_else():
    found = misplace(XY, SEEN, np.ones(FRAMES), np.random.default_rng(0), 0.0, 0.2)
    arms = (found[:, 2] == XY[:, 5]).all(-1)
    legs = (found[:, 8] == XY[:, 11]).all(-1)
    assert arms.mean() == pytest.approx(0.2, abs=0.05)
    assert legs.mean() == pytest.approx(0.2, abs=0.05)
    for f in range(0, FRAMES, 7):
        right, left = [2, 3, 4, 8, 9, 10], [5, 6, 7, 11, 12, 13]
        expected = XY[f].copy()
        for swapped, part in ((arms[f], slice(0, 3)), (legs[f], slice(3, 6))):
            if swapped:
                a, b = right[part], left[part]
                expected[a], expected[b] = XY[f][b], XY[f][a]
        np.testing.assert_array_equal(found[f], expected)
    level = misplace(XY, SEEN, np.zeros(FRAMES), np.random.default_rng(0), 0.0, 0.2)
    assert (level[:, 2] == XY[:, 5]).all(-1).mean() == pytest.approx(0.1, abs=0.04)


def test_the_noise_has_the_documented_size_and_lasts():
    errors = np.stack(
        [misplace(XY[:30], SEEN[:30], np.zeros(30), np.random.default_rng(s), 1.0, 0.0) - XY[:30] for s in range(800)]
    )
    np.testing.assert_allclose(errors.std(axis=(0, 1, 3)), NOISE, rtol=0.06)
    together = (errors[:, 0] * errors[:, 29]).mean(axis=(0, 2)) / NOISE**2
    np.testing.assert_allclose(together, 0.6, atol=0.1)
    hidden = SEEN[:30].copy()
    hidden[:, 4] = True
    guessed = [misplace(XY[:30], hidden, np.zeros(30), np.random.default_rng(s), 1.0, 0.0)[:, 4] for s in range(800)]
    assert (np.array(guessed) - XY[:30, 4]).std() == pytest.approx(3 * NOISE[4], rel=0.06)


def test_a_neck_from_shoulders_is_that_of_a_skeleton_without_one():
    rng = np.random.default_rng(0)
    keypoints = rng.random((50, 14, 3)).astype(np.float32)
    keypoints[rng.random((50, 14)) < 0.2] = 0
    coco = np.zeros((50, 17, 3), np.float32)
    for node, index in enumerate((0, None, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15)):
        if index is not None:
            coco[:, index] = keypoints[:, node]
    np.testing.assert_array_equal(with_middle_neck(keypoints), to_14(coco, "coco17"))


def test_hidden_keypoints_go_missing_in_such_data():
    fields = {"train_identities": 6, "test_identities": 1, "group_size": 1, "cameras": 3, "views": "round"}

    def seen(**more):
        walkers = generate(WalkersSpec(**fields, **more))
        behind = [walkers.keypoints(t) for t in walkers.split.train if t.camera_id == 3]
        return (np.concatenate(behind)[..., 2] > 0).mean(axis=0)

    plain, occluded = seen(), seen(self_occlusion=1.0, keypoint_noise=1.0, swaps=0.1, neck_from_shoulders=1.0)
    assert plain[0] > 0.9
    assert occluded[0] < 0.2  # the nose, from behind
    assert occluded[8] > 0.8
