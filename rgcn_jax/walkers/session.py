"""What differs between two tracklets of one person beyond their parameters: speed, turns, posture."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from rgcn_jax.walkers.gait import Motion, walk
from rgcn_jax.walkers.population import Person, draw_posture
from rgcn_jax.walkers.spec import WalkersSpec

_SLOWEST, _FASTEST = 0.4, 2.2  # speeds as factors on the person's own


@dataclass(frozen=True)
class Course:
    """How one tracklet is walked: ``pace`` [F], factor on cadence and on stride length alike; ``turn`` [F], radians to
    the left of the middle of the tracklet.
    """

    pace: Float64[np.ndarray, "f"]
    turn: Float64[np.ndarray, "f"]


def draw_course(rng: np.random.Generator, frames: int, frames_per_second: float, spec: WalkersSpec) -> Course:
    """A course of ``frames`` frames.

    The logarithm of the speed is normal (``spec.speed_variation``) with a linear change over the tracklet
    (``spec.slowing``, normal); the walk ratio, step length over step rate, stays that of the person, so that both go
    with the root of the speed (Sekiya and Nagasaki, 1998). The turn has a normal, constant rate (``spec.turning``).
    All normal draws are cut at two deviations.
    """
    z = np.clip(rng.standard_normal(3), -2, 2)
    share = np.arange(frames) / max(frames - 1, 1) - 0.5
    speed = np.exp(spec.speed_variation * z[0] + spec.slowing * z[1] * share)
    seconds = (np.arange(frames) - (frames - 1) / 2) / frames_per_second
    return Course(np.sqrt(np.clip(speed, _SLOWEST, _FASTEST)), np.radians(spec.turning * z[2]) * seconds)


def walk_course(person: Person, start: float, course: Course, frames_per_second: float) -> Motion:
    """The walker along a course, from the phase ``start``; trunk, head and all points are turned about the vertical
    axis through the origin.
    """
    strides = np.concatenate([[0.0], np.cumsum(course.pace[:-1])]) * person["cadence"] / frames_per_second
    motion = walk(person, start + 2 * np.pi * strides, course.pace)
    cosine, sine, zero, one = np.cos(course.turn), np.sin(course.turn), 0 * course.turn, 1 + 0 * course.turn
    rows = np.stack([cosine, sine, zero, -sine, cosine, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return Motion(motion.points @ rows, motion.trunk @ rows, motion.head @ rows)


def with_another_posture(person: Person, rng: np.random.Generator, probability: float) -> Person:
    """The person with a posture drawn from the population's, with this probability."""
    changes, posture = rng.random() < probability, draw_posture(rng)
    return replace(person, posture=posture) if changes else person
