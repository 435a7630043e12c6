"""Rendering of crops: background, body parts from far to near, occluder and sensor noise.

Every part is a convex polygon. It is filled at twice the size of the crop and averaged down, which is faster than
OpenCV's anti-aliased polygons and as smooth.
"""

from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
from jaxtyping import Float64, Int16, Int32, UInt8

from rgcn_jax.walkers.camera import Camera, View
from rgcn_jax.walkers.detector import Occluder
from rgcn_jax.walkers.dress import Figure
from rgcn_jax.walkers.scenery import ABOVE, CROP

_CORNERS = 16
_SUPERSAMPLING = 2
_SHIFT = 4  # fractional bits of OpenCV's coordinates
_SENSOR_NOISE = 3.5


def _hulls(
    centres: Float64[np.ndarray, "f s m 2"], radii: Float64[np.ndarray, "f s m"], flat: Float64[np.ndarray, "s"]
) -> Float64[np.ndarray, "f s k 2"]:
    """Corners of convex hulls of discs: in each of K directions the farthest point of all discs."""
    angle = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    direction = np.stack([np.cos(angle), np.sin(angle)])  # [2, K]
    squeezed = np.stack([np.ones_like(flat), flat], -1)[:, None, :] * direction.T  # [S, K, 2]
    length = np.linalg.norm(squeezed, axis=-1, keepdims=True)
    reach = centres @ direction + radii[..., None] * length[None, :, None, :, 0]  # [F, S, M, K]
    best = reach.argmax(axis=2)[..., None]  # [F, S, K, 1]
    unit = squeezed * np.stack([np.ones_like(flat), flat], -1)[:, None, :] / length
    return np.take_along_axis(centres, best, 2) + np.take_along_axis(radii, best[..., 0], 2)[..., None] * unit


def _fixed_point(corners: Float64[np.ndarray, "*n 2"], rows: int, columns: int) -> Int32[np.ndarray, "*n 2"]:
    """Convert crop heights to OpenCV's fixed-point pixel coordinates, in which pixel centres are whole numbers."""
    return np.rint((corners * np.array([2.0 * columns, rows]) - 0.5) * 2**_SHIFT).astype(np.int32)


class Painter:
    """Polygons of one tracklet at one size, in pixels, ready to be filled frame by frame; ``camera`` provides the
    light.
    """

    def __init__(self, figure: Figure, view: View, camera: Camera, height: int, width: int):
        self.rows, self.columns = _SUPERSAMPLING * height, _SUPERSAMPLING * width
        centres, _, scale = view.project(figure.centres)
        # From above, the head is nearer than the feet but does not hide them: sort by the distance on the ground.
        level = view.away * (1.0, 1.0, 0.0)
        depth = figure.middle @ (level / np.linalg.norm(level))
        radii = figure.radii * scale
        shiny = np.flatnonzero(figure.shiny)
        # The lit side of a part is a second, smaller hull on it.
        lit = centres[:, shiny] + 0.20 * radii[:, shiny, :, None] * camera.light
        polygons = np.concatenate(
            [_hulls(centres, radii, figure.flat), _hulls(lit, 0.80 * radii[:, shiny], figure.flat[shiny])], axis=1
        )
        self.polygons = _fixed_point(polygons, self.rows, self.columns)
        tone = np.where(figure.shiny, 0.78, 0.95)[:, None] * figure.colours
        colours = np.concatenate([tone, np.minimum(1.06 * figure.colours[shiny] + 6.0, 255.0)]) * camera.gain
        self.colours = np.clip(colours, 0, 255).tolist()
        order_depth = depth - figure.nearer
        # Highlights follow directly after their part.
        order = np.argsort(np.concatenate([order_depth, order_depth[:, shiny] - 1e-6], axis=1), axis=1)[:, ::-1]
        self.order = order.tolist()
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        patch = np.stack([0.40 * np.cos(angle), 0.30 * np.sin(angle), np.zeros(24)], -1)
        ground = view.project(np.broadcast_to(patch, (len(view.size), 24, 3)))[0]
        self.shadow = _fixed_point(ground, self.rows, self.columns)

    def paint(self, frame: int, image: np.ndarray):
        """Fill the parts of one frame into an image of the supersampled size, in place."""
        polygons, colours = self.polygons[frame], self.colours
        for part in self.order[frame]:
            cv2.fillConvexPoly(image, polygons[part], colours[part], cv2.LINE_8, _SHIFT)

    def cast_shadow(self, frame: int, image: np.ndarray):
        """Darken the ground below the walker, in place."""
        top = max(0, int(self.shadow[frame, :, 1].min()) >> _SHIFT)
        if top >= len(image):
            return
        ground = image[top:]
        mask = np.zeros(ground.shape[:2], np.uint8)
        cv2.fillConvexPoly(mask, self.shadow[frame] - np.array([0, top << _SHIFT], np.int32), 1, cv2.LINE_8, _SHIFT)
        cv2.copyTo(cv2.convertScaleAbs(ground, alpha=0.7), mask, ground)


@lru_cache(maxsize=4)
def _noise_tile(height: int, width: int) -> Int16[np.ndarray, "h w 3"]:
    """Sensor noise, 64 pixels larger than a crop in both directions; every frame uses another window of it."""
    grey = np.random.default_rng(0).standard_normal((height + 64, width + 64, 3))
    return np.rint(_SENSOR_NOISE * (0.8 * grey + 0.6 * grey[..., :1])).astype(np.int16)


@dataclass(frozen=True)
class Place:
    """Background of a tracklet: a camera's panorama, and the path through it in crop heights."""

    panorama: UInt8[np.ndarray, "ph pw 3"]
    start: float
    """Left edge of the first crop in the panorama."""
    step: float
    """Shift of the background to the left per frame."""
    occluder: Occluder | None
    occluder_shapes: list
    """Polygons in the occluder's box, with colours."""


def draw_frames(
    painter: Painter, view: View, place: Place, rng: np.random.Generator, height: int, width: int
) -> UInt8[np.ndarray, "f h w 3"]:
    """Render all crops of a tracklet, RGB; ``painter`` must be of this size, and ``rng`` draws the sensor noise."""
    rows, columns = painter.rows, painter.columns
    frames = len(view.size)
    out = np.empty((frames, height, width, 3), np.uint8)
    canvas = np.empty((rows, columns, 3), np.uint8)
    # Jitter of the box shifts and zooms the background like the walker.
    usual = np.median(view.size)
    extent = np.rint(CROP * view.size[:, None] / usual * np.array([0.5, 1.0]))
    drift = (view.corner - np.median(view.corner, axis=0)) / usual
    corner = CROP * (np.stack([place.start + place.step * np.arange(frames), np.full(frames, ABOVE)], -1) + drift)
    end = np.array(place.panorama.shape[1::-1]) - extent
    # The path is reflected at the ends of the panorama.
    corner[:, 0] = end[:, 0] - np.abs(corner[:, 0] % (2 * end[:, 0]) - end[:, 0])
    windows = np.concatenate([np.clip(corner, 0, end), extent], axis=1).astype(int).tolist()
    noise = _noise_tile(height, width)
    for f, (left, top, wide, high) in enumerate(windows):
        scene = place.panorama[top : top + high, left : left + wide]
        cv2.resize(scene, (columns, rows), dst=canvas, interpolation=cv2.INTER_LINEAR)
        painter.cast_shadow(f, canvas)
        painter.paint(f, canvas)
        if place.occluder is not None and place.occluder.box[f].any():
            low, high = place.occluder.box[f, :2], place.occluder.box[f, 2:]
            for polygon, colour in place.occluder_shapes:
                cv2.fillConvexPoly(
                    canvas, _fixed_point(low + polygon * (high - low), rows, columns), colour, cv2.LINE_8, _SHIFT
                )
        cv2.resize(canvas, (width, height), dst=out[f], interpolation=cv2.INTER_AREA)
        u, v = rng.integers(0, 64, 2)
        cv2.add(out[f], noise[v : v + height, u : u + width], dst=out[f], dtype=cv2.CV_8U)
    return out
