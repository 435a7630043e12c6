"""The pixels of a clip against the plain formulas in NumPy."""

import numpy as np
import pytest

from rgcn_jax.data.clips import pixels
from rgcn_jax.data.clips.tensorflow_cpu import tf
from tests import frames


def by_formula(clip, box, flip):
    """Bilinear at the centres of the pixels, the border repeated; float64, not rounded."""
    height, width = clip.shape[1:3]
    x = np.arange(width) + 0.5
    x = (width - x if flip else x) * (box[2] - box[0]) + box[0] * width - 0.5
    y = (np.arange(height) + 0.5) * (box[3] - box[1]) + box[1] * height - 0.5
    x, y = np.clip(x, 0, width - 1), np.clip(y, 0, height - 1)
    left, above = np.floor(x).astype(int), np.floor(y).astype(int)
    right, below = np.minimum(left + 1, width - 1), np.minimum(above + 1, height - 1)
    wx, wy = (x - left)[:, None], (y - above)[:, None, None]
    clip = clip.astype(np.float64)
    rows = clip[:, :, left] * (1 - wx) + clip[:, :, right] * wx
    return rows[:, above] * (1 - wy) + rows[:, below] * wy


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(0.05, 0.06, 0.93, 0.95), (0.0, 0.0, 1.0, 0.9), (0.11, 0.11, 1.0, 1.0)])
def test_a_crop_is_the_formula_rounded(box, flip):
    rng = np.random.default_rng(0)
    clip = np.stack([frames.draw_image(rng, sharp=True) for _ in range(3)])
    clip[0, :4], clip[0, 4:8] = 0, 255
    box = np.array(box, np.float32)
    shown = pixels.show(tf.constant(clip), tf.constant(box), tf.constant(flip), tf.zeros(4)).numpy()
    exact = by_formula(clip, box.astype(np.float64), flip)
    half_way = np.abs(exact % 1 - 0.5) < 0.001  # where float32 decides
    assert half_way.mean() < 0.1
    np.testing.assert_array_equal(np.where(half_way, np.round(exact), shown), np.round(exact))
    assert np.abs(shown - exact).max() <= 0.501


def test_the_quick_rounding_is_the_plain_one():
    """Everything from 0 to 255 in steps of 2^-10, ties included, and what rounding errors leave outside."""
    values = np.arange(255 * 1024 + 1, dtype=np.float32) / 1024
    values = np.concatenate([values, np.nextafter(values, np.inf), np.nextafter(values, -np.inf), [-1e-5, 255.0001]])
    values = values.astype(np.float32)
    for compiled in (False, True):
        found = tf.function(pixels._nearest, jit_compile=compiled, autograph=False)(tf.constant(values)).numpy()
        np.testing.assert_array_equal(found, np.clip(np.round(values), 0, 255).astype(np.uint8))
