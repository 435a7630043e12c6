"""Speed, turns and postures of tracklets."""

import numpy as np
import pytest

from rgcn_jax.walkers import WalkersSpec, generate
from rgcn_jax.walkers.gait import walk
from rgcn_jax.walkers.population import draw_person
from rgcn_jax.walkers.session import Course, draw_course, walk_course, with_another_posture

RATE = 12.5
PERSON = draw_person(np.random.default_rng(3), 1.0)


def _courses(**fields):
    spec = WalkersSpec(**fields)
    return [draw_course(np.random.default_rng(seed), 25, RATE, spec) for seed in range(600)]


def test_an_even_course_is_the_plain_walk():
    course = Course(np.ones(25), np.zeros(25))
    plain = walk(PERSON, 1.0 + 2 * np.pi * PERSON["cadence"] / RATE * np.arange(25))
    np.testing.assert_allclose(walk_course(PERSON, 1.0, course, RATE).points, plain.points, atol=1e-12)


def test_step_length_and_step_rate_go_together():
    """At 1.44 times the speed both are 1.2 times as large: the walk ratio stays."""
    frames = 400
    slow, fast = (walk_course(PERSON, 0.0, Course(np.full(frames, p), np.zeros(frames)), RATE) for p in (1.0, 1.2))

    def rate(motion):
        x = motion.points[:, 10, 0] - motion.points[:, 10, 0].mean()
        spectrum = np.abs(np.fft.rfft(x, 16 * frames))
        return np.argmax(spectrum)

    assert rate(fast) / rate(slow) == pytest.approx(1.2, abs=0.02)
    reach = [np.ptp(motion.points[:, 9, 0]) for motion in (slow, fast)]  # of the knee, which the thigh alone moves
    assert reach[1] / reach[0] == pytest.approx(1.2, abs=0.03)


def test_speeds_have_the_deviation_of_the_spec_and_change_over_the_tracklet_as_it_says():
    steady = np.array([2 * np.log(course.pace) for course in _courses(speed_variation=0.2)])
    np.testing.assert_allclose(steady, steady[:, :1] * np.ones(25), atol=1e-12)
    assert steady[:, 0].std() == pytest.approx(0.2, rel=0.1)
    changing = np.array([2 * np.log(course.pace) for course in _courses(slowing=0.3)])
    assert (changing[:, -1] - changing[:, 0]).std() == pytest.approx(0.3, rel=0.1)
    np.testing.assert_allclose(changing[:, 12], 0, atol=1e-12)


def test_a_turn_is_a_rotation_about_the_vertical_axis():
    turn = np.radians(np.linspace(-20, 20, 25))
    plain, turned = (walk_course(PERSON, 0.5, Course(np.ones(25), t), RATE) for t in (0 * turn, turn))
    for f, angle in enumerate(turn):
        matrix = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
        np.testing.assert_allclose(turned.points[f], plain.points[f] @ matrix.T, atol=1e-12)
        np.testing.assert_allclose(turned.trunk[f], plain.trunk[f] @ matrix.T, atol=1e-12)
        np.testing.assert_allclose(turned.head[f], plain.head[f] @ matrix.T, atol=1e-12)
    rates = [np.degrees(course.turn[-1] - course.turn[0]) * RATE / 24 for course in _courses(turning=10.0)]
    assert np.std(rates) == pytest.approx(10.0, rel=0.1)


def test_postures_change_as_often_as_they_are_drawn_anew():
    drawn = [with_another_posture(PERSON, np.random.default_rng(seed), 0.5) for seed in range(1000)]
    assert all((person.parameters == PERSON.parameters).all() for person in drawn)
    # A draw gives the same posture again with the posture's own share.
    share = {"none": 0.5, "phone_right": 0.1, "phone_left": 0.1, "pockets": 0.1, "carrying": 0.1}.get(
        PERSON.posture, 0.05
    )
    changed = np.mean([person.posture != PERSON.posture for person in drawn])
    assert changed == pytest.approx(0.5 * (1 - share), abs=0.05)
    assert with_another_posture(PERSON, np.random.default_rng(0), 0.0) == PERSON


def test_the_data_of_such_a_spec_are_drawn_and_their_people_are_the_same():
    plain = WalkersSpec(train_identities=2, test_identities=1, group_size=1, cameras=2, min_frames=4, max_frames=5)
    values = {"views": "round", "speed_variation": 0.1, "turning": 10.0, "slowing": 0.2, "posture_changes": 0.5}
    fields = {name: getattr(plain, name) for name in ("train_identities", "test_identities", "group_size", "cameras")}
    wide = generate(WalkersSpec(**fields, min_frames=4, max_frames=5, **values))
    assert wide.split == generate(plain).split
    np.testing.assert_array_equal(wide.people[1].parameters, generate(plain).people[1].parameters)
    tracklet = wide.split.train[0]
    assert wide.frames(tracklet, 32, 16).std() > 0
    np.testing.assert_array_equal(wide.keypoints(tracklet), wide.keypoints(tracklet))
