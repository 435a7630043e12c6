"""Images of the frames of an entry, and its keypoints as they are stored."""

import numpy as np

from rgcn_jax.gallery import Entry, Gallery
from rgcn_jax.gallery.frame_images import pack, small_frames, unpack
from tests.gallery.models import model


def test_keypoints_are_unpacked_as_they_were_packed():
    rng = np.random.default_rng(0)
    keypoints = rng.uniform(0, 1, (5, 14, 3)).astype(np.float32)
    keypoints[rng.random((5, 14)) < 0.3] = 0
    found = unpack(pack(keypoints), 5)
    np.testing.assert_allclose(found[..., :2], keypoints[..., :2], atol=1e-3)
    np.testing.assert_array_equal(found[..., 2], keypoints[..., 2] > 0)
    assert pack(np.zeros((5, 14, 3), np.float32)) == ""
    np.testing.assert_array_equal(unpack("", 5), np.zeros((5, 14, 3)))


def test_an_entry_with_keypoints_but_without_frames_has_no_images(tmp_path):
    """As those of walkers, which are not on disk."""
    gallery = Gallery.open(tmp_path, model())
    entry = Entry("t", keypoints=pack(np.ones((8, 14, 3), np.float32)))
    assert small_frames(gallery, entry, skeletons=True) == ([], 0)
