"""Geometry of a walker's body and clothes: every part is the convex hull of up to four balls.

Thickness depends on the body's ``build``, colours on the outfit. Output radii are in metres; internally they are
fractions of the person's height.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.walkers.gait import POINTS, Motion
from rgcn_jax.walkers.outfit import RGB, Outfit
from rgcn_jax.walkers.population import Person

BALLS = 4
_INDEX = {name: i for i, name in enumerate(KEYPOINTS)} | POINTS


@dataclass(frozen=True)
class Figure:
    """S parts, each the convex hull of ``BALLS`` balls (repeated if a part has fewer).

    ``nearer``: metres by which a part is moved towards the camera when parts are sorted by the depth of ``middle``.
    ``flat``: height of a ball over its width. ``shiny``: shade in two tones.
    """

    centres: Float64[np.ndarray, "f s 4 3"]
    middle: Float64[np.ndarray, "f s 3"]
    radii: Float64[np.ndarray, "s 4"]
    colours: Float64[np.ndarray, "s 3"]
    nearer: Float64[np.ndarray, "s"]
    flat: Float64[np.ndarray, "s"]
    shiny: Bool[np.ndarray, "s"]


class _Tailor:
    def __init__(self, person: Person, motion: Motion, loose: float, hem: float):
        self.tall, self.build, self.hem = person["height"], person["build"] * loose, hem
        self.motion = motion
        self.parts: list[tuple] = []

    def at(
        self, name: str, forward: float = 0.0, left: float = 0.0, up: float = 0.0, frame: str = "trunk"
    ) -> np.ndarray:
        """A point moved along the axes of the torso (in body heights) or of the head (in units of 0.182 body heights,
        the size of a head).
        """
        axes = getattr(self.motion, frame)
        unit = self.tall * (0.182 if frame == "head" else 1.0)
        return self.motion.points[:, _INDEX[name]] + unit * (forward * axes[:, 0] + left * axes[:, 1] + up * axes[:, 2])

    def core(self, forward: float) -> np.ndarray:
        """The centre of the torso, moved forward by a fraction of the height; determines the depth of parts on the
        torso.
        """
        middle = (self.at("neck") + self.at("pelvis")) / 2
        return middle + forward * self.tall * self.motion.trunk[:, 0]

    def add(
        self,
        colour: RGB,
        *balls: tuple[np.ndarray, float],
        nearer: float = 0.0,
        flat: float = 1.0,
        shiny: bool = False,
        middle: np.ndarray | None = None,
    ):
        """Add a part: balls of (centre, radius as a fraction of the height), with depth at ``middle``, or the mean of
        the centres.
        """
        own = [centre for centre, _ in balls]
        self.parts.append((colour, balls, sum(own) / len(own) if middle is None else middle, nearer, flat, shiny))

    def figure(self) -> Figure:
        centres, radii = [], []
        for _, balls, *_ in self.parts:
            own = [centre for centre, _ in balls]
            pad = BALLS - len(balls)
            centres.append(np.stack(own + own[-1:] * pad, 1))
            radii.append([r for _, r in balls] + [balls[-1][1]] * pad)
        colour, _, middle, nearer, flat, shiny = zip(*self.parts, strict=True)
        return Figure(
            np.stack(centres, 1),
            np.stack(middle, 1),
            self.tall * np.array(radii, np.float64),
            np.array(colour, np.float64),
            np.array(nearer, np.float64),
            np.array(flat, np.float64),
            np.array(shiny, bool),
        )


def _between(a: np.ndarray, b: np.ndarray, share: float) -> np.ndarray:
    return a + share * (b - a)


def _legs(t: _Tailor, outfit: Outfit):
    b, bare = t.build, outfit.bottom_style != "trousers"
    # Legs are sorted as if 0.2 m farther away, so that a forward thigh stays below shirt and coat.
    t.add(outfit.bottom, (t.at("right_hip"), 0.050 * b), (t.at("left_hip"), 0.050 * b), nearer=-0.19)
    for side in ("right", "left"):
        hip, knee, ankle = t.at(f"{side}_hip"), t.at(f"{side}_knee"), t.at(f"{side}_ankle")
        cloth = outfit.skin if bare else outfit.bottom
        t.add(cloth, (hip, 0.050 * b), (knee, 0.033 * b), nearer=-0.20, shiny=True)
        t.add(cloth, (knee, 0.033 * b), (ankle, (0.022 if bare else 0.027) * b), nearer=-0.21, shiny=True)
        shoe = ((t.at(f"{side}_heel"), 0.017), (t.at(f"{side}_toe"), 0.014), (ankle, 0.020))
        t.add(outfit.shoes, *shoe, nearer=-0.22)
        if outfit.bottom_style == "shorts":
            t.add(
                outfit.bottom,
                (hip, 0.054 * b),
                (_between(hip, knee, 0.72 + 4 * t.hem), 0.044 * b),
                nearer=-0.195,
                shiny=True,
                middle=_between(hip, knee, 0.5),
            )
    if outfit.bottom_style == "skirt":
        hem = [(_between(t.at(f"{s}_hip"), t.at(f"{s}_knee"), 0.8 + 4 * t.hem), 0.056 * b) for s in ("right", "left")]
        t.add(
            outfit.bottom, (t.at("right_hip"), 0.050 * b), (t.at("left_hip"), 0.050 * b), *hem, nearer=0.04, shiny=True
        )


def _trunk(t: _Tailor, outfit: Outfit):
    b = t.build
    neck = t.at("neck")
    corners = [
        (_between(t.at("right_shoulder"), neck, 0.28), 0.036 * b),
        (_between(t.at("left_shoulder"), neck, 0.28), 0.036 * b),
        (t.at("left_hip", up=0.02 - t.hem), 0.048 * b),
        (t.at("right_hip", up=0.02 - t.hem), 0.048 * b),
    ]
    t.add(outfit.top, *corners, nearer=0.03, shiny=True, middle=t.core(0.0))
    if outfit.coat:
        hem = [(_between(t.at(f"{s}_hip"), t.at(f"{s}_knee"), 0.5), 0.056 * b) for s in ("right", "left")]
        t.add(outfit.top, *corners[2:], *hem, nearer=0.025, shiny=True, middle=t.core(0.0))
    match outfit.top_style:
        case "stripes":
            for share in (0.22, 0.48, 0.74):
                radius = (0.036 + 0.012 * share) * b * 0.98
                ends = [(_between(corners[i][0], corners[j][0], share), radius) for i, j in ((0, 3), (1, 2))]
                t.add(outfit.second, *ends, nearer=0.034, flat=0.36, middle=t.core(0.0))
        case "logo":
            t.add(
                outfit.second,
                *[(t.at("neck", 0.045 * b, x, -0.095), 0.022) for x in (-0.022, 0.022)],
                middle=t.core(0.045),
            )
        case "open":
            strip = ((t.at("neck", 0.035 * b, 0.0, -0.015), 0.022), (t.at("pelvis", 0.052 * b, 0.0, 0.0), 0.026))
            t.add(outfit.second, *strip, middle=t.core(0.045))


def _arms(t: _Tailor, outfit: Outfit):
    b = t.build
    for side in ("right", "left"):
        shoulder, elbow, wrist = t.at(f"{side}_shoulder"), t.at(f"{side}_elbow"), t.at(f"{side}_wrist")
        cloth = outfit.top if outfit.long_sleeves else outfit.skin
        t.add(cloth, (shoulder, 0.029 * b), (elbow, 0.024 * b), nearer=0.05, shiny=True)
        t.add(cloth, (elbow, 0.024 * b), (wrist, 0.018 * b), nearer=0.06, shiny=True)
        t.add(outfit.skin, (_between(elbow, wrist, 0.97), 0.014 * b), (t.at(f"{side}_hand"), 0.016), nearer=0.055)
        if not outfit.long_sleeves:
            t.add(
                outfit.top,
                (shoulder, 0.032 * b),
                (_between(shoulder, elbow, 0.65), 0.030 * b),
                nearer=0.055,
                shiny=True,
            )


def _head(t: _Tailor, outfit: Outfit):
    def on(forward: float, left: float, up: float) -> np.ndarray:
        return t.at("skull", forward, left, up, frame="head")

    h = 0.182  # unit of the radii below, the size of a head
    t.add(outfit.skin, (t.at("neck"), 0.030), (_between(t.at("neck"), t.at("skull"), 0.6), 0.028), nearer=0.005)
    t.add(outfit.skin, (on(0.0, 0.0, 0.0), 0.26 * h), (t.at("chin"), 0.13 * h), nearer=0.03, shiny=True)
    t.add(outfit.skin, (on(0.27, 0.0, -0.06), 0.05 * h), nearer=0.0)
    for left in (-0.1, 0.1):
        t.add((36.0, 28.0, 26.0), (on(0.22, left, 0.02), 0.030 * h), nearer=-0.02)
    hair = outfit.hair
    if outfit.hair_style == "cap":
        t.add(outfit.hair, (on(-0.08, 0.0, 0.0), 0.25 * h), nearer=0.03)
        t.add(outfit.second, *[(on(-0.02, x, 0.16), 0.21 * h) for x in (-0.06, 0.06)], nearer=0.035, flat=0.8)
        t.add(outfit.second, (on(0.18, 0.0, 0.17), 0.16 * h), (on(0.38, 0.0, 0.16), 0.11 * h), flat=0.35)
    elif outfit.hair_style != "bald":
        t.add(hair, (on(-0.06, 0.0, 0.06), 0.27 * h), (on(-0.12, 0.0, -0.08), 0.21 * h), nearer=0.03)
        t.add(hair, *[(on(0.10, x, 0.21), 0.10 * h) for x in (-0.11, 0.11)], nearer=0.015)
        if outfit.hair_style == "long":
            ends = ((t.at("neck", -0.045, -0.02, -0.06), 0.036), (t.at("neck", -0.045, 0.02, -0.06), 0.036))
            t.add(hair, (on(-0.10, 0.0, 0.0), 0.27 * h), *ends, nearer=0.03, middle=t.core(-0.06))
        elif outfit.hair_style == "bun":
            t.add(hair, (on(-0.32, 0.0, 0.10), 0.12 * h), nearer=0.02)


def _bag(t: _Tailor, outfit: Outfit):
    b, colour = t.build, outfit.bag_colour
    if outfit.bag == "backpack":
        bulk = [
            (t.at("neck", -0.085 * b, x, z), 0.042)
            for x, z in ((-0.035, -0.05), (0.035, -0.05), (0.035, -0.19), (-0.035, -0.19))
        ]
        t.add(colour, *bulk, shiny=True, middle=t.core(-0.085))
        for side, x in (("right", 0.02), ("left", -0.02)):
            top = t.at(f"{side}_shoulder", 0.012, x, 0.028)
            t.add(colour, (top, 0.010), (t.at(f"{side}_shoulder", 0.046 * b, x, -0.12), 0.010), middle=t.core(0.04))
    elif outfit.bag == "shoulder":
        bulk = [
            (t.at("left_hip", x, 0.062 * b, z), 0.026)
            for x, z in ((-0.06, 0.0), (0.06, 0.0), (0.06, -0.05), (-0.06, -0.05))
        ]
        t.add(colour, *bulk, nearer=0.05, shiny=True)
        for depth in (0.046 * b, -0.050 * b):
            strap = (
                (t.at("right_shoulder", depth / 2, 0.03, 0.03), 0.009),
                (t.at("left_hip", depth, 0.04, 0.03), 0.009),
            )
            t.add(colour, *strap, middle=t.core(depth))


def dress(person: Person, motion: Motion, outfit: Outfit, loose: float = 1.0, hem: float = 0.0) -> Figure:
    """Create all parts of a walker in every frame, unsorted.

    ``loose``: factor of all girths: how loosely the clothes fit. ``hem``: offset by which hems are lower, as a fraction
    of the height.
    """
    tailor = _Tailor(person, motion, loose, hem)
    for clothe in (_legs, _trunk, _arms, _head, _bag):
        clothe(tailor, outfit)
    return tailor.figure()
