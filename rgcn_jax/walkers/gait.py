"""Analytic gait model: from a person's parameters to joint positions in every frame.

Axes: x forward, y to the person's left, z up, in metres; the origin is on the ground below the pelvis, and moves with
it.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float64

from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.walkers.population import Person

# Points in addition to the 14 keypoints, in this order.
EXTRA_POINTS = (
    "pelvis",
    "skull",
    "crown",
    "chin",
    "right_toe",
    "right_heel",
    "left_toe",
    "left_heel",
    "right_hand",
    "left_hand",
)
POINTS = {name: 14 + i for i, name in enumerate(EXTRA_POINTS)}


@dataclass(frozen=True)
class Motion:
    """Positions of a walker's points in every frame, and orientation of torso and head.

    ``points``: the 14 keypoints, followed by ``EXTRA_POINTS``. ``trunk`` and ``head``: unit vectors forward, left, up,
    as rows.
    """

    points: Float64[np.ndarray, "f n 3"]
    trunk: Float64[np.ndarray, "f 3 3"]
    head: Float64[np.ndarray, "f 3 3"]


def _rotation(yaw: np.ndarray, pitch: np.ndarray, roll: np.ndarray) -> np.ndarray:
    """Axes forward, left, up as rows [F, 3, 3] of a body turned left by yaw, leaned forward by pitch, left side raised
    by roll (radians).
    """
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    zero = np.zeros_like(yaw)
    forward = np.stack([cy * cp, sy * cp, -sp], -1)
    level_left = np.stack([-sy, cy, zero], -1)
    level_up = np.stack([cy * sp, sy * sp, cp], -1)
    left = cr[:, None] * level_left + sr[:, None] * level_up
    up = cr[:, None] * level_up - sr[:, None] * level_left
    return np.stack([forward, left, up], 1)


def _bump(phase: np.ndarray, centre: float, sharpness: float) -> np.ndarray:
    """A smooth periodic bump of height 1 at ``centre``, a fraction of the stride."""
    return np.exp(sharpness * (np.cos(phase - 2 * np.pi * centre) - 1.0))


def _leg(person: Person, phase: np.ndarray, swing: float | np.ndarray, side: float) -> tuple[np.ndarray, ...]:
    """Knee, ankle, toe and heel [F, 3] of a leg relative to its hip. Phase 0 is the heel strike; side +1: left."""
    length = person["leg"] * person["height"] * 0.955  # the ankle is above the ground
    thigh, shank = length * person["thigh"], length * (1 - person["thigh"])
    hip = np.radians(
        person["hip_bias"] + swing * person["hip_swing"] * (np.cos(phase) + 0.12 * np.cos(2 * phase + 0.8))
    )
    knee = np.radians(
        4.0 + person["knee_stance"] * _bump(phase, 0.14, 4.0) + swing * person["knee_swing"] * _bump(phase, 0.72, 3.0)
    )
    foot = np.radians(18.0 * _bump(phase, 0.0, 6.0) - 48.0 * _bump(phase, 0.62, 5.0))  # positive: toes up
    spread = np.radians(person["foot_spread"]) * side

    def along(angle: np.ndarray) -> np.ndarray:
        return np.stack([np.sin(angle), np.cos(angle) * np.sin(spread), -np.cos(angle) * np.cos(spread)], -1)

    knee_at = thigh * along(hip)
    ankle = knee_at + shank * along(hip - knee)
    out = np.radians(person["toe_out"]) * side
    toes = np.stack([np.cos(foot) * np.cos(out), np.cos(foot) * np.sin(out), np.sin(foot)], -1)
    down = np.stack([np.sin(foot) * np.cos(out), np.sin(foot) * np.sin(out), -np.cos(foot)], -1)
    size = person["height"]
    return knee_at, ankle, ankle + size * (0.092 * toes + 0.030 * down), ankle + size * (0.030 * down - 0.026 * toes)


def _reach(
    shoulder: np.ndarray, target: np.ndarray, pole: np.ndarray, upper: float, fore: float
) -> tuple[np.ndarray, np.ndarray]:
    """Inverse kinematics of an arm: elbow and wrist with the wrist at ``target`` (or as near as possible) and the elbow
    on the side of ``pole``.
    """
    way = target - shoulder
    distance = np.linalg.norm(way, axis=-1, keepdims=True)
    way = way / distance
    distance = np.clip(distance, abs(upper - fore) + 1e-3, upper + fore - 1e-3)
    cosine = (upper**2 + distance**2 - fore**2) / (2 * upper * distance)
    aside = pole - np.sum(pole * way, -1, keepdims=True) * way
    aside /= np.linalg.norm(aside, axis=-1, keepdims=True)
    elbow = shoulder + upper * (cosine * way + np.sqrt(np.maximum(1 - cosine**2, 0.0)) * aside)
    return elbow, shoulder + distance * way


def _swinging_arm(
    person: Person, phase: np.ndarray, shoulder: np.ndarray, trunk: np.ndarray, side: float, pace: float | np.ndarray
) -> tuple[np.ndarray, ...]:
    """Elbow and wrist of an arm that swings opposite to the leg of its side."""
    arm = person["arm"] * person["height"]
    wave = -np.cos(phase - np.radians(person["arm_lag"])) * (1 + side * person["arm_asymmetry"]) * pace
    flexion = np.radians(person["arm_bias"] + person["arm_swing"] * wave)
    bend = np.radians(person["elbow_bend"] + person["elbow_swing"] * wave)
    aside = np.radians(person["abduction"]) * side

    def along(angle: np.ndarray) -> np.ndarray:
        local = np.stack([np.sin(angle), np.cos(angle) * np.sin(aside), -np.cos(angle) * np.cos(aside)], -1)
        return np.einsum("fi,fij->fj", local, trunk)

    elbow = shoulder + arm * person["upper_arm"] * along(flexion)
    # The forearm points slightly inwards from the upper arm, hence the smaller abduction.
    aside *= 0.3
    return elbow, elbow + arm * (1 - person["upper_arm"]) * along(flexion + np.maximum(bend, 0.0))


def _held_arm(
    person: Person, side: float, points: dict[str, np.ndarray], trunk: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """Elbow and wrist of an arm whose position the posture determines; None if it swings."""
    name = "left" if side > 0 else "right"
    tall = person["height"]
    forward, left, up = trunk[:, 0], trunk[:, 1] * side, trunk[:, 2]  # here "left" is outwards
    match person.posture:
        case "phone_right" | "phone_left" if person.posture.endswith(name):
            target = points["skull"] + 0.055 * tall * left + 0.02 * tall * forward - 0.02 * tall * up
            pole = 0.7 * left + 0.5 * forward - 0.8 * up
        case "strap_right" | "strap_left" if person.posture.endswith(name):
            target = points[f"{name}_shoulder"] + 0.085 * tall * forward - 0.05 * tall * left - 0.085 * tall * up
            pole = 0.9 * left - 0.7 * up
        case "pockets":
            target = points[f"{name}_hip"] + 0.05 * tall * left + 0.03 * tall * forward + 0.035 * tall * up
            pole = 0.8 * left - 0.6 * forward
        case "carrying":
            target = points["pelvis"] + 0.075 * tall * left + 0.17 * tall * forward + 0.11 * tall * up
            pole = 0.5 * left - 0.4 * forward - 0.7 * up
        case _:
            return None
    target = target + person["hand_forward"] * forward + person["hand_up"] * up
    arm = tall * person["arm"]
    return _reach(points[f"{name}_shoulder"], target, pole, arm * person["upper_arm"], arm * (1 - person["upper_arm"]))


def walk(person: Person, phase: Float64[np.ndarray, "f"], pace: float | Float64[np.ndarray, "f"] = 1.0) -> Motion:
    """Compute the motion at given phases of the stride, in radians; 0 and 2 pi are heel strikes of the right foot.

    ``pace``: factor of the swing of legs and arms, for all frames or for each. The lowest foot touches the ground if
    the person's ``bounce`` is 1.
    """
    tall = person["height"]
    level = np.zeros_like(phase)
    legs = {
        "right": _leg(person, phase, (1 - person["leg_asymmetry"]) * pace, -1.0),
        "left": _leg(person, phase + np.pi, (1 + person["leg_asymmetry"]) * pace, 1.0),
    }
    drop = np.max([np.max(-np.stack(leg)[..., 2], axis=0) for leg in legs.values()], axis=0)
    height = drop.mean() + person["bounce"] * (drop - drop.mean())
    pelvis = np.stack([level, person["sway"] * -np.sin(phase), height], -1)
    turn = np.radians(person["pelvis_turn"]) * np.cos(phase)
    hips_frame = _rotation(turn, level, np.radians(2.0) * np.sin(phase))
    lean = np.radians(person["lean"]) + np.radians(1.5) * np.cos(2 * phase)
    shoulder_turn = -np.radians(person["shoulder_turn"]) * np.cos(phase)
    trunk = _rotation(shoulder_turn, lean, np.radians(person["shoulder_tilt"]) + level)
    head = _rotation(0.3 * shoulder_turn, np.radians(person["head_pitch"]) + level, level)

    points: dict[str, np.ndarray] = {"pelvis": pelvis}
    points["neck"] = pelvis + tall * (1.0 - person["leg"] - person["head"]) * trunk[:, 2]
    neck_up = 0.6 * head[:, 2] + 0.4 * trunk[:, 2]
    size = tall * person["head"]
    points["skull"] = points["neck"] + size * (0.62 * neck_up + 0.10 * head[:, 0])
    points["crown"] = points["skull"] + size * 0.26 * head[:, 2]
    points["chin"] = points["skull"] + size * (0.16 * head[:, 0] - 0.22 * head[:, 2])
    points["head"] = points["skull"] + size * (0.31 * head[:, 0] - 0.06 * head[:, 2])
    for name, side, own_phase in (("right", -1.0, phase), ("left", 1.0, phase + np.pi)):
        points[f"{name}_hip"] = pelvis + side * tall * person["hips"] / 2 * hips_frame[:, 1]
        points[f"{name}_shoulder"] = (
            points["neck"] + side * tall * person["shoulders"] / 2 * trunk[:, 1] - 0.012 * tall * trunk[:, 2]
        )
        for joint, offset in zip(("knee", "ankle", "toe", "heel"), legs[name], strict=True):
            points[f"{name}_{joint}"] = points[f"{name}_hip"] + offset
        elbow, wrist = _held_arm(person, side, points, trunk) or _swinging_arm(
            person, own_phase, points[f"{name}_shoulder"], trunk, side, pace
        )
        points[f"{name}_elbow"], points[f"{name}_wrist"] = elbow, wrist
        fore = wrist - elbow
        points[f"{name}_hand"] = wrist + 0.04 * tall * fore / np.linalg.norm(fore, axis=-1, keepdims=True)
    return Motion(np.stack([points[name] for name in KEYPOINTS + EXTRA_POINTS], 1), trunk, head)
