"""Resizing in NumPy against TensorFlow's antialiased bilinear resizing, which frames on disk go through."""

import numpy as np
import pytest

from rgcn_jax.data.clips.resize import fit, weights


@pytest.mark.parametrize("size", [(8, 8), (16, 8), (64, 40), (17, 33), (256, 128), (300, 90), (1, 1)])
def test_it_is_tensorflows_to_one_grey_level(size):
    from rgcn_jax.data.clips import pixels

    frame = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    expected = pixels.fit(pixels.tf.constant(frame), 64, 32).numpy()
    found = fit(frame, 64, 32)
    difference = np.abs(found.astype(int) - expected.astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


def test_a_frame_of_the_right_size_is_itself():
    frame = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    assert fit(frame, 2, 4) is frame


@pytest.mark.parametrize(("size", "target"), [(10, 3), (3, 10), (7, 7), (1, 5), (5, 1)])
def test_weights_sum_to_one_and_a_constant_stays(size, target):
    np.testing.assert_allclose(weights(size, target).sum(axis=1), 1, rtol=1e-6)
    assert (fit(np.full((size, size, 3), 77, np.uint8), target, target) == 77).all()
