"""Population of walkers: parameters of body, gait and posture, and their distribution.

Angles are in degrees, lengths in metres, fractions relative to the person's height unless stated otherwise.
"""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float64

Posture = Literal["none", "phone_right", "phone_left", "pockets", "strap_right", "strap_left", "carrying"]

# Half of the population swings the arms without a special posture.
_POSTURE_SHARES = (0.5, 0.1, 0.1, 0.1, 0.05, 0.05, 0.1)

# name: (mean, standard deviation, minimum, maximum)
BODY = {
    "height": (1.72, 0.07, 1.45, 2.00),
    "leg": (0.515, 0.012, 0.47, 0.56),  # hip joint above the ground
    "thigh": (0.51, 0.010, 0.46, 0.56),  # fraction of the leg
    "arm": (0.325, 0.012, 0.28, 0.37),  # shoulder to wrist
    "upper_arm": (0.54, 0.012, 0.48, 0.60),  # fraction of the arm
    "shoulders": (0.205, 0.012, 0.16, 0.25),  # joint to joint
    "hips": (0.108, 0.009, 0.075, 0.145),  # joint to joint
    "head": (0.182, 0.007, 0.16, 0.205),  # neck joint to crown
    "build": (1.0, 0.08, 0.72, 1.32),  # factor of all girths
}
GAIT = {
    "cadence": (0.95, 0.05, 0.70, 1.25),  # strides (two steps) per second
    "hip_swing": (22.0, 3.6, 11.0, 33.0),
    "hip_bias": (7.0, 2.5, -2.0, 16.0),
    "knee_swing": (50.0, 6.0, 30.0, 70.0),
    "knee_stance": (12.0, 3.0, 2.0, 24.0),
    "arm_swing": (20.0, 7.5, 2.0, 44.0),
    "arm_bias": (-2.0, 5.0, -16.0, 14.0),
    "arm_lag": (0.0, 12.0, -40.0, 40.0),  # behind the opposite leg, degrees of the stride
    "elbow_bend": (20.0, 9.5, 4.0, 60.0),
    "elbow_swing": (12.0, 4.0, 0.0, 28.0),
    "abduction": (8.0, 3.2, 1.0, 18.0),  # of the arms
    "lean": (4.0, 2.7, -5.0, 14.0),
    "head_pitch": (8.0, 5.0, -8.0, 30.0),
    "bounce": (1.0, 0.25, 0.2, 2.0),  # factor of the vertical movement
    "sway": (0.018, 0.007, 0.0, 0.045),  # of the trunk over the standing leg, metres
    "pelvis_turn": (6.0, 2.5, 0.0, 14.0),
    "shoulder_turn": (6.0, 3.0, 0.0, 15.0),
    "shoulder_tilt": (0.0, 1.5, -6.0, 6.0),  # constant; positive lifts the left shoulder
    "foot_spread": (0.5, 1.8, -4.0, 6.0),  # sideways angle of each leg
    "toe_out": (8.0, 5.0, -6.0, 26.0),
    "arm_asymmetry": (0.0, 0.15, -0.7, 0.7),  # positive: the left arm swings more
    "leg_asymmetry": (0.0, 0.05, -0.25, 0.25),  # positive: the left leg swings more
    "hand_forward": (0.0, 0.02, -0.07, 0.07),  # offset of hands that a posture holds, metres
    "hand_up": (0.0, 0.025, -0.09, 0.09),
}
_TABLE = {**BODY, **GAIT}
PARAMETERS = tuple(_TABLE)
"""Names of the entries of ``Person.parameters``: body, then gait."""

_MEAN, _STD, _LOW, _HIGH = np.array(list(_TABLE.values()), np.float64).T


@dataclass(frozen=True)
class Person:
    """Body, gait and posture, in which look-alikes differ. ``parameters`` are in the order of ``PARAMETERS``."""

    parameters: Float64[np.ndarray, "p"]
    posture: Posture

    def __getitem__(self, name: str) -> float:
        """A parameter by name."""
        return float(self.parameters[PARAMETERS.index(name)])


def draw_person(rng: np.random.Generator, variation: float) -> Person:
    """Draw a random person: parameters are normal, truncated at two standard deviations, which ``variation``
    multiplies.
    """
    z = rng.standard_normal(len(PARAMETERS))
    z = np.where(np.abs(z) > 2.0, rng.uniform(-2.0, 2.0, len(PARAMETERS)), z)
    return Person(np.clip(_MEAN + variation * _STD * z, _LOW, _HIGH), draw_posture(rng))


def draw_posture(rng: np.random.Generator) -> Posture:
    """Draw a posture according to its frequency in the population."""
    return get_args(Posture)[rng.choice(len(_POSTURE_SHARES), p=_POSTURE_SHARES)]


def with_session_noise(person: Person, rng: np.random.Generator, session_noise: float) -> Person:
    """The person in one tracklet: parameters vary by ``session_noise`` standard deviations of the population."""
    moved = person.parameters + session_noise * _STD * rng.standard_normal(len(PARAMETERS))
    return Person(np.clip(moved, _LOW, _HIGH), person.posture)
