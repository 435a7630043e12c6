"""Variation between tracklets of a person beyond their parameters: speed, turning and posture."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

from rgcn_jax.walkers.gait import Motion, walk
from rgcn_jax.walkers.population import Person, draw_posture
from rgcn_jax.walkers.spec import WalkersSpec

_SLOWEST, _FASTEST = 0.4, 2.2  # factors of the person's own speed


@dataclass(frozen=True)
class Course:
    """Speed and direction in one tracklet. ``pace`` [F]: factor of both cadence and stride length. ``turn`` [F]:
    radians to the left, relative to the middle of the tracklet.
    """

    pace: Float64[np.ndarray, "f"]
    turn: Float64[np.ndarray, "f"]


def draw_course(rng: np.random.Generator, frames: int, frames_per_second: float, spec: WalkersSpec) -> Course:
    """Draw a course of ``frames`` frames.

    The logarithm of the speed is normal (``spec.speed_variation``) with a linear change over the tracklet
    (``spec.slowing``, normal). The walk ratio, step length over step rate, is that of the person, so that both are
    proportional to the root of the speed (Sekiya and Nagasaki, 1998). The turning rate is normal and constant
    (``spec.turning``). Normal draws are truncated at two deviations.
    """
    z = np.clip(rng.standard_normal(3), -2, 2)
    share = np.arange(frames) / max(frames - 1, 1) - 0.5
    speed = np.exp(spec.speed_variation * z[0] + spec.slowing * z[1] * share)
    seconds = (np.arange(frames) - (frames - 1) / 2) / frames_per_second
    return Course(np.sqrt(np.clip(speed, _SLOWEST, _FASTEST)), np.radians(spec.turning * z[2]) * seconds)


def walk_course(person: Person, start: float, course: Course, frames_per_second: float) -> Motion:
    """Motion along a course, starting at the phase ``start``; all points are rotated about the vertical axis through
    the origin.
    """
    strides = np.concatenate([[0.0], np.cumsum(course.pace[:-1])]) * person["cadence"] / frames_per_second
    motion = walk(person, start + 2 * np.pi * strides, course.pace)
    cosine, sine, zero, one = np.cos(course.turn), np.sin(course.turn), 0 * course.turn, 1 + 0 * course.turn
    rows = np.stack([cosine, sine, zero, -sine, cosine, zero, zero, zero, one], -1).reshape(-1, 3, 3)
    return Motion(motion.points @ rows, motion.trunk @ rows, motion.head @ rows)


def with_another_posture(person: Person, rng: np.random.Generator, probability: float) -> Person:
    """The person with another posture, drawn from the population, with this probability."""
    changes, posture = rng.random() < probability, draw_posture(rng)
    return replace(person, posture=posture) if changes else person
