"""Cameras: projection of joints in space to the crops of a person detector, and lighting."""

from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float64

# (yaw, elevation) in degrees. Yaw 0 is the front view of a walker, 90 its left side.
_FRONT = ((-25.0, 8.0), (0.0, 15.0), (25.0, 10.0), (50.0, 18.0), (-50.0, 12.0), (12.0, 20.0), (-12.0, 6.0), (38.0, 8.0))
_ROUND = (
    (0.0, 12.0),
    (90.0, 8.0),
    (180.0, 15.0),
    (-45.0, 18.0),
    (135.0, 6.0),
    (-90.0, 14.0),
    (45.0, 20.0),
    (-135.0, 10.0),
)
_VIEWS = {"front": _FRONT, "round": _ROUND}
_YAW_JITTER = 12.0
_CROP_MARGIN = 1.07


@dataclass(frozen=True)
class Camera:
    """A camera and its lighting. ``gain`` [3] multiplies the colours (RGB); ``light``: direction to the light source in
    the image (y down).
    """

    yaw: float
    elevation: float
    distance: float
    gain: Float64[np.ndarray, "3"]
    light: Float64[np.ndarray, "2"]


@dataclass(frozen=True)
class View:
    """Viewing geometry of the crops of one tracklet.

    ``right``, ``up``, ``away``: axes of the camera in the walker's frame. ``aim``: the point that the camera looks at,
    ``distance`` metres away. ``corner``: top left corner of each crop, and ``size`` its height, in metres at
    ``distance``; crops are half as wide as high.
    """

    right: Float64[np.ndarray, "3"]
    up: Float64[np.ndarray, "3"]
    away: Float64[np.ndarray, "3"]
    aim: Float64[np.ndarray, "3"]
    distance: float
    corner: Float64[np.ndarray, "f 2"]
    size: Float64[np.ndarray, "f"]

    def project(
        self, points: Float64[np.ndarray, "f *n 3"]
    ) -> tuple[Float64[np.ndarray, "f *n 2"], Float64[np.ndarray, "f *n"], Float64[np.ndarray, "f *n"]]:
        """Project points in space [F, ..., 3] into the crops.

        Returns:
          x and y in crop HEIGHTS from the top left corner (x is 0.5 at the right edge); depth behind the aim in metres;
          and the scale there, crop heights per metre.
        """
        offset = points - self.aim
        depth = offset @ self.away
        zoom = self.distance / (self.distance + depth)
        per_frame = (slice(None),) + (None,) * (points.ndim - 2)
        scale = zoom / self.size[per_frame]
        plane = np.stack([offset @ self.right, -(offset @ self.up)], -1) * zoom[..., None]
        return (plane - self.corner[(*per_frame, slice(None))]) / self.size[(*per_frame, None)], depth, scale

    def missed(self, rng: np.random.Generator) -> "View":
        """The same scene in boxes of a bad detection: on a part of the walker, next to the walker, or far too large."""
        zoom, across, below = (
            (rng.uniform(0.35, 0.5), rng.uniform(0.0, 0.2), rng.uniform(0.0, 0.7)),
            (rng.uniform(0.8, 1.1), rng.uniform(0.14, 0.27), rng.uniform(0.0, 0.2)),
            (rng.uniform(2.0, 3.0), rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.2)),
        )[rng.integers(3)]
        size = self.size * zoom
        middle = self.corner + self.size[:, None] * np.array([0.25, 0.5])
        middle = middle + size.mean() * rng.choice((-1.0, 1.0), 2) * (across, below)
        return replace(self, corner=middle - size[:, None] * np.array([0.25, 0.5]), size=size)


def draw_cameras(rng: np.random.Generator, count: int, views: str = "front") -> list[Camera]:
    """Draw the first ``count`` of eight views, each with a random distance (6 to 12 m), light and slight colour cast.

    ``views``: "front", yaws from -50 to 50 degrees, or "round", every 45 degrees; elevations from 5 to 20 degrees.
    """
    cameras = []
    for yaw, elevation in _VIEWS[views][:count]:
        gain = rng.uniform(0.92, 1.08) * rng.uniform(0.96, 1.04, 3)
        side = rng.choice((-1.0, 1.0))
        light = np.array([side * rng.uniform(0.5, 0.9), -rng.uniform(0.3, 0.8)])
        cameras.append(
            Camera(yaw, elevation, rng.uniform(6.0, 12.0), np.clip(gain, 0.88, 1.12), light / np.linalg.norm(light))
        )
    return cameras


def look(
    camera: Camera,
    rng: np.random.Generator,
    points: Float64[np.ndarray, "f n 3"],
    box_jitter: float = 1.0,
) -> View:
    """Point a camera at a walker and cut out the crops of a tracklet, with jittered boxes, like a person detector.

    The walking direction is rotated about the camera's yaw (normal, 12 degrees, at most 24). ``points``: of the walker
    in metres, which the boxes enclose. ``box_jitter``: factor of the jitter of the boxes; 0: none.
    """
    yaw = np.radians(camera.yaw + _YAW_JITTER * np.clip(rng.standard_normal(), -2, 2))
    elevation = np.radians(camera.elevation + rng.uniform(-1.5, 1.5))
    level = np.array([np.cos(yaw), np.sin(yaw), 0.0])
    right = np.array([-np.sin(yaw), np.cos(yaw), 0.0])
    away = -np.cos(elevation) * level - np.array([0.0, 0.0, np.sin(elevation)])
    up = np.cross(right, away)
    aim = np.array([0.0, 0.0, points[..., 2].max() / 2])
    frames = len(points)
    open_view = View(
        right, up, away, aim, camera.distance * rng.uniform(0.85, 1.15), np.zeros((frames, 2)), np.ones(frames)
    )
    plane, _, _ = open_view.project(points)
    low, high = plane.min(axis=1) - 0.06, plane.max(axis=1) + 0.06  # margin for the body around the points
    # Boxes have an offset per tracklet, and a smaller one per frame.
    loose = np.exp(box_jitter * (rng.uniform(-0.03, 0.16) + 0.025 * rng.standard_normal(frames)))
    size = _CROP_MARGIN * (high - low)[:, 1] * loose
    centre = (low + high) / 2
    # The box follows the torso more than the swinging limbs.
    centre[:, 0] = 0.5 * centre[:, 0] + 0.5 * plane[:, 1, 0]
    shift = rng.uniform(-0.03, 0.03, 2) + 0.014 * rng.standard_normal((frames, 2))
    centre += box_jitter * size[:, None] * shift
    corner = centre - size[:, None] * np.array([0.25, 0.5])
    return View(right, up, away, aim, open_view.distance, corner, size)
