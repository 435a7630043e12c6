"""Scenery: a panoramic background for each camera, and shapes of occluders."""

import cv2
import numpy as np
from jaxtyping import UInt8

from rgcn_jax.walkers.camera import Camera
from rgcn_jax.walkers.outfit import RGB

CROP = 160
"""Resolution of a panorama, in pixels per crop height."""
ABOVE = 0.25
"""Extent of a panorama above and below the crop, in crop heights."""
LENGTH = 14
"""Width of a panorama in crop heights."""


def _colour(rng: np.random.Generator, low: int, high: int, tint: int = 12) -> RGB:
    r, g, b = (rng.uniform(low, high) + rng.uniform(-tint, tint, 3)).tolist()
    return (r, g, b)


def _shade(colour: RGB, factor: float) -> RGB:
    r, g, b = (min(255.0, c * factor) for c in colour)
    return (r, g, b)


def _wall(rng: np.random.Generator, image: np.ndarray, foot: int):
    """Draw house fronts with windows and doors down to row ``foot``."""
    x, width = 0, image.shape[1]
    while x < width:
        w = int(rng.uniform(0.9, 2.2) * CROP)
        base = _colour(rng, 95, 205, 18)
        cv2.rectangle(image, (x, 0), (x + w, foot), base, -1)
        cv2.rectangle(image, (x, foot - int(0.06 * CROP)), (x + w, foot), _shade(base, 0.75), -1)
        glass, frame = _colour(rng, 45, 110), _shade(base, 1.18)
        step = int(rng.uniform(0.32, 0.6) * CROP)
        top, bottom = int(rng.uniform(0.0, 0.35) * foot), int(rng.uniform(0.62, 0.85) * foot)
        for left in range(x + step // 4, x + w - step // 2, step):
            cv2.rectangle(image, (left, top), (left + int(0.55 * step), bottom), frame, -1)
            cv2.rectangle(image, (left + 3, top + 3), (left + int(0.55 * step) - 3, bottom - 3), glass, -1)
            shine = np.array([(left + 4, bottom - 5), (left + 4, top + 5), (left + int(0.3 * step), top + 5)])
            cv2.fillPoly(image, [shine], _shade(glass, 1.25), cv2.LINE_AA)
        x += w


def _ground(rng: np.random.Generator, image: np.ndarray, foot: int):
    """Draw paving below row ``foot``, with converging joints and a kerb."""
    height, width = image.shape[:2]
    base = _colour(rng, 105, 175, 10)
    rows = np.linspace(0.86, 1.12, height - foot)[:, None, None]
    image[foot:] = np.clip(rows * np.array(base), 0, 255).astype(np.uint8)
    joint = _shade(base, 0.86)
    row = float(foot)
    while row < height:
        cv2.line(image, (0, int(row)), (width, int(row)), joint, 1, cv2.LINE_AA)
        row += 4 + 0.28 * (row - foot)
    slant = rng.uniform(-0.6, 0.6)
    for x in range(-width // 4, width + width // 4, int(rng.uniform(0.25, 0.45) * CROP)):
        cv2.line(image, (x, foot), (int(x + slant * (height - foot)), height), joint, 1, cv2.LINE_AA)
    kerb = foot + int(rng.uniform(0.04, 0.10) * CROP)
    cv2.rectangle(image, (0, kerb), (width, kerb + 4), _shade(base, 1.2), -1)


def _clutter(rng: np.random.Generator, image: np.ndarray, foot: int):
    """Draw trees, posts, bins, benches and parked cars along the wall."""
    x = 0.0
    while x < image.shape[1]:
        kind = rng.integers(5)
        left, stand = int(x), foot + int(rng.uniform(0.02, 0.16) * CROP)
        if kind == 0:  # tree
            cv2.rectangle(image, (left, 0), (left + int(0.06 * CROP), stand), (84, 66, 50), -1)
            green = _shade((70, 104, 52), rng.uniform(0.8, 1.3))
            for _ in range(7):
                centre = (left + int(rng.normal(0.03, 0.16) * CROP), int(rng.uniform(0.0, 0.35) * foot))
                cv2.circle(
                    image,
                    centre,
                    int(rng.uniform(0.08, 0.17) * CROP),
                    _shade(green, rng.uniform(0.8, 1.2)),
                    -1,
                    cv2.LINE_AA,
                )
        elif kind == 1:  # post with a sign
            grey = _colour(rng, 70, 140)
            cv2.rectangle(image, (left, int(0.25 * foot)), (left + 5, stand), grey, -1)
            cv2.circle(image, (left + 2, int(0.3 * foot)), int(0.07 * CROP), _colour(rng, 40, 220, 60), -1, cv2.LINE_AA)
        elif kind == 2:  # bin
            body = _colour(rng, 50, 130, 30)
            top = stand - int(0.26 * CROP)
            cv2.rectangle(image, (left, top), (left + int(0.15 * CROP), stand), body, -1)
            cv2.rectangle(image, (left - 2, top - 5), (left + int(0.15 * CROP) + 2, top), _shade(body, 1.3), -1)
        elif kind == 3:  # bench
            wood, w = _colour(rng, 90, 130, 20), int(0.55 * CROP)
            for up in (0.22, 0.17, 0.11):
                level = stand - int(up * CROP)
                cv2.rectangle(image, (left, level), (left + w, level + 4), wood, -1)
            for leg in (left + 4, left + w - 8):
                cv2.rectangle(image, (leg, stand - int(0.22 * CROP)), (leg + 4, stand), (60, 60, 62), -1)
        else:  # car
            paint, w, h = _colour(rng, 50, 200, 45), int(1.1 * CROP), int(0.34 * CROP)
            body = [
                (0.0, 0.9),
                (0.0, 0.5),
                (0.2, 0.42),
                (0.32, 0.05),
                (0.72, 0.05),
                (0.86, 0.42),
                (1.0, 0.5),
                (1.0, 0.9),
            ]
            glass = [(0.25, 0.42), (0.35, 0.12), (0.70, 0.12), (0.80, 0.42)]
            for outline, colour in ((body, paint), (glass, _shade(paint, 0.45))):
                corners = np.array([(left + u * w, stand - h + v * h) for u, v in outline], np.int32)
                cv2.fillPoly(image, [corners], colour, cv2.LINE_AA)
            for u in (0.2, 0.8):
                cv2.circle(
                    image, (left + int(u * w), stand - int(0.1 * h)), int(0.2 * h), (32, 32, 34), -1, cv2.LINE_AA
                )
        x += rng.uniform(0.5, 1.6) * CROP


def panorama(camera: Camera, rng: np.random.Generator) -> UInt8[np.ndarray, "h w 3"]:
    """Draw the background along a camera's path: RGB, ``CROP`` pixels per crop height, in the camera's light."""
    height, width = int((1 + 2 * ABOVE) * CROP), LENGTH * CROP
    image = np.zeros((height, width, 3), np.uint8)
    # The higher the camera, the higher the horizon behind the walker.
    foot = int((ABOVE + 0.86 - camera.elevation / 45) * CROP)
    _wall(rng, image, foot)
    _ground(rng, image, foot)
    _clutter(rng, image, foot)
    image = cv2.GaussianBlur(image, (0, 0), 1.3)
    speckle = cv2.resize(rng.standard_normal((height // 3, width // 3)).astype(np.float32), (width, height))
    lit = (image + 4.5 * speckle[..., None]) * camera.gain * 0.96
    return np.clip(lit, 0, 255).astype(np.uint8)


def occluder_shapes(kind: str, rng: np.random.Generator) -> list[tuple[np.ndarray, RGB]]:
    """Polygons of an occluder in its box, x and y from 0 to 1, with colours, back to front."""
    base = _colour(rng, 60, 190, 25)
    box = np.array([(0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
    if kind == "pole":
        return [
            (box, _shade(base, 0.7)),
            (box * (0.45, 1.0) + (0.2, 0.0), base),
            (box * (0.14, 1.0) + (0.3, 0.0), _shade(base, 1.2)),
        ]
    if kind == "car":
        glass = np.array([(0.08, 0.2), (0.16, 0.05), (0.84, 0.05), (0.92, 0.2)])
        return [(box, base), (glass, _shade(base, 0.4)), (box * (1.0, 0.025) + (0.0, 0.3), _shade(base, 1.25))]
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    green = _shade((66, 100, 50), rng.uniform(0.8, 1.3))
    shapes = [(0.5 + 0.5 * np.stack([np.cos(angle), np.sin(angle)], -1), _shade(green, 0.8))]
    for _ in range(9):
        centre, radius = rng.uniform(0.3, 0.7, 2), rng.uniform(0.06, 0.14)
        shapes.append(
            (centre + radius * np.stack([np.cos(angle), np.sin(angle)], -1), _shade(green, rng.uniform(0.85, 1.35)))
        )
    return shapes
