import numpy as np
import pytest

from rgcn_jax.skeleton import FLIP_ORDER, KEYPOINTS
from rgcn_jax.walkers.gait import POINTS, walk
from rgcn_jax.walkers.population import BODY, GAIT, PARAMETERS, Person, Posture, draw_person, with_session_noise

PHASE = np.linspace(0, 2 * np.pi, 40, endpoint=False)
POSTURES: list[Posture] = ["none", "phone_right", "phone_left", "pockets", "strap_right", "strap_left", "carrying"]


def person(posture: Posture = "none", **changes: float) -> Person:
    """The mean person, with some parameters changed."""
    means = {name: row[0] for name, row in (BODY | GAIT).items()} | changes
    return Person(np.array([means[name] for name in PARAMETERS]), posture)


def joint(motion, name):
    return motion.points[:, KEYPOINTS.index(name) if name in KEYPOINTS else POINTS[name]]


@pytest.mark.parametrize("posture", POSTURES)
@pytest.mark.parametrize("seed", range(5))
def test_bones_keep_the_lengths_of_the_body(seed, posture):
    who = Person(draw_person(np.random.default_rng(seed), 2.0).parameters, posture)
    motion = walk(who, PHASE)
    leg, arm = 0.955 * who["leg"] * who["height"], who["arm"] * who["height"]
    expected = {
        ("hip", "knee"): leg * who["thigh"],
        ("knee", "ankle"): leg * (1 - who["thigh"]),
        ("shoulder", "elbow"): arm * who["upper_arm"],
        ("elbow", "wrist"): arm * (1 - who["upper_arm"]),
    }
    for side in ("right", "left"):
        for (a, b), length in expected.items():
            measured = np.linalg.norm(joint(motion, f"{side}_{a}") - joint(motion, f"{side}_{b}"), axis=-1)
            np.testing.assert_allclose(measured, length, rtol=1e-9)
    across = np.linalg.norm(joint(motion, "right_hip") - joint(motion, "left_hip"), axis=-1)
    np.testing.assert_allclose(across, who["hips"] * who["height"], rtol=1e-9)


def test_the_mirrored_walker_half_a_stride_later_is_the_same_walker():
    motion, later = walk(person(), PHASE), walk(person(), PHASE + np.pi)
    mirrored = later.points[:, :14][:, list(FLIP_ORDER)] * [1, -1, 1]
    np.testing.assert_allclose(mirrored, motion.points[:, :14], atol=1e-12)


@pytest.mark.parametrize("name", ["arm_asymmetry", "leg_asymmetry", "shoulder_tilt"])
def test_asymmetries_break_the_mirror(name):
    who = person("none", **{name: 0.2})
    mirrored = walk(who, PHASE + np.pi).points[:, :14][:, list(FLIP_ORDER)] * [1, -1, 1]
    assert np.abs(mirrored - walk(who, PHASE).points[:, :14]).max() > 1e-3


def test_the_walk_repeats_after_a_stride_and_the_feet_alternate():
    motion = walk(person(), PHASE)
    np.testing.assert_allclose(walk(person(), PHASE + 2 * np.pi).points, motion.points, atol=1e-12)
    ahead = joint(motion, "right_ankle")[:, 0] - joint(motion, "left_ankle")[:, 0]
    assert ahead[0] > 0.5  # heel strike of the right foot: a step of more than half a metre
    assert ahead[20] < -0.5


def test_the_lower_foot_stands_on_the_ground():
    motion = walk(person(foot_spread=0.0), PHASE)
    feet = np.stack(
        [joint(motion, f"{side}_{part}")[:, 2] for side in ("right", "left") for part in ("toe", "heel", "ankle")]
    )
    # The pelvis rolls by two degrees, which moves a hip by a few millimetres.
    np.testing.assert_allclose(feet.min(axis=0), 0.0, atol=0.005)
    assert joint(motion, "crown")[:, 2].max() == pytest.approx(1.72, abs=0.06)


def test_arms_swing_against_the_legs_of_their_side():
    motion = walk(person(arm_lag=0.0), PHASE)
    for side in ("right", "left"):
        hand, foot = joint(motion, f"{side}_wrist")[:, 0], joint(motion, f"{side}_ankle")[:, 0]
        assert np.corrcoef(hand, foot)[0, 1] < -0.8


def test_postures_hold_the_hands_where_they_say():
    motions = {posture: walk(person(posture), PHASE) for posture in POSTURES}

    def distance(posture, a, b):
        return np.linalg.norm(joint(motions[posture], a) - joint(motions[posture], b), axis=-1).max()

    for side, other in (("right", "left"), ("left", "right")):
        assert distance(f"phone_{side}", f"{side}_wrist", "skull") < 0.16
        assert distance(f"phone_{side}", f"{other}_wrist", "skull") > 0.5
        assert distance(f"strap_{side}", f"{side}_wrist", f"{side}_shoulder") < 0.27
        assert distance("pockets", f"{side}_wrist", f"{side}_hip") < 0.15
        ahead = (joint(motions["carrying"], f"{side}_wrist") - joint(motions["carrying"], "pelvis"))[:, 0]
        assert ahead.min() > 0.2
        elbow_turn = joint(motions["pockets"], f"{side}_elbow") - joint(motions["pockets"], f"{side}_shoulder")
        assert (elbow_turn[:, 1] * (1 if side == "left" else -1)).min() > 0.05  # elbows point outwards


def test_variation_scales_people_and_session_noise_moves_them_a_little():
    def spread(variation):
        rng = np.random.default_rng(0)
        return np.std([draw_person(rng, variation).parameters for _ in range(400)], axis=0)

    index = [PARAMETERS.index(name) for name in ("height", "cadence", "leg", "lean")]
    np.testing.assert_allclose(spread(1.0)[index] / spread(0.5)[index], 2.0, rtol=0.02)
    assert spread(0.0).max() < 1e-12
    rng = np.random.default_rng(0)
    days = np.std([with_session_noise(person(), rng, 0.25).parameters for _ in range(400)], axis=0)
    deviations = np.array([row[1] for row in (BODY | GAIT).values()])
    np.testing.assert_allclose(days / deviations, 0.25, rtol=0.15)
