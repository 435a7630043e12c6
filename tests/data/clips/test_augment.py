"""Frames and keypoints move together: a dot painted at a keypoint is found where the moved keypoint says."""

import numpy as np
import pytest

from rgcn_jax.config import AugmentConfig
from rgcn_jax.data.clips.augment import Augmentation, draw, no_transform, transform_keypoints
from rgcn_jax.data.clips.memory import show
from rgcn_jax.skeleton import KEYPOINTS


def clips_of(keypoints, box=(0, 0, 1, 1), flip=False):
    k = np.array(keypoints, np.float32)[None, None]
    return transform_keypoints(k, np.array([box], np.float32), np.array([flip]))[0, 0]


def random_keypoints(seed=0):
    rng = np.random.default_rng(seed)
    return np.concatenate([rng.uniform(0.2, 0.8, (14, 2)), np.ones((14, 1))], axis=1).astype(np.float32)


def test_a_flip_mirrors_x_and_swaps_left_and_right():
    keypoints = random_keypoints()
    flipped = clips_of(keypoints, flip=True)
    for node, name in enumerate(KEYPOINTS):
        other = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right")
        x, y, c = keypoints[KEYPOINTS.index(other)]
        np.testing.assert_allclose(flipped[node], [1 - x, y, c], atol=1e-6)
    np.testing.assert_allclose(clips_of(flipped, flip=True), keypoints, atol=1e-6)


def test_a_crop_moves_keypoints_by_hand_and_missing_ones_stay_missing():
    keypoints = np.zeros((14, 3), np.float32)
    keypoints[3] = (0.5, 0.25, 0.9)
    moved = clips_of(keypoints, box=(0.1, 0.05, 0.9, 0.85))
    np.testing.assert_allclose(moved[3], [0.5, 0.25, 0.9], atol=1e-6)
    moved = clips_of(keypoints, box=(0.0, 0.2, 0.8, 1.0), flip=True)
    np.testing.assert_allclose(moved[6], [1 - 0.625, 0.0625, 0.9], atol=1e-6)  # right elbow is now the left one
    assert (np.delete(moved, 6, axis=0) == 0).all()


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("box", [(0, 0, 1, 1), (0.05, 0.1, 0.94, 0.99), (0.11, 0.0, 1.0, 0.89)])
def test_pixels_and_keypoints_go_the_same_way(box, flip):
    height, width = 256, 128
    keypoints = random_keypoints(1)
    moved = clips_of(keypoints, box=box, flip=flip)
    nothing = np.zeros(4, np.float32)
    for node in range(14):
        x, y, _ = keypoints[node]
        frame = np.zeros((height, width, 3), np.uint8)
        cx, cy = int(x * width), int(y * height)
        frame[cy - 1 : cy + 2, cx - 1 : cx + 2] = 255
        shown = show(frame, np.array(box, np.float32), flip, nothing)[..., 0].astype(float)
        ys, xs = np.indices(shown.shape)
        found = np.array([(xs * shown).sum(), (ys * shown).sum()]) / shown.sum() + 0.5
        name = KEYPOINTS[node]
        mirrored = name.replace("left", "LEFT").replace("right", "left").replace("LEFT", "right") if flip else name
        expected = moved[KEYPOINTS.index(mirrored), :2] * (width, height)
        np.testing.assert_allclose(found, expected, atol=1.0)


def test_draws_follow_their_probabilities_and_streams_do_not_shift():
    box, flip, erase = draw(np.random.default_rng(0), 4000, Augmentation(0.5, 1.125, 0.25, 0.1))
    cropped = ~(box == np.array([0, 0, 1, 1], np.float32)).all(axis=1)
    assert cropped.mean() == pytest.approx(0.5, abs=0.03)
    assert flip.mean() == pytest.approx(0.25, abs=0.03)
    erased = erase[:, 2] > erase[:, 0]
    assert erased.mean() == pytest.approx(0.1, abs=0.02)
    np.testing.assert_allclose(box[cropped, 2:] - box[cropped, :2], 1 / 1.125, atol=1e-6)
    assert box.min() >= 0
    assert box.max() <= 1 + 1e-6
    areas = ((erase[:, 2] - erase[:, 0]) * (erase[:, 3] - erase[:, 1]))[erased]
    assert areas.min() >= 0.0199
    assert areas.max() <= 0.4001
    other_box, other_flip, _ = draw(np.random.default_rng(0), 4000, Augmentation(0.5, 1.125, 0.25, 0.0))
    np.testing.assert_array_equal(box, other_box)
    np.testing.assert_array_equal(flip, other_flip)


def correlations(*columns):
    """The largest correlation between two different columns."""
    found = np.abs(np.corrcoef(np.array(columns, float)))
    return (found - np.eye(len(columns))).max()


def test_no_draw_tells_of_another_and_each_has_its_distribution():
    box, flip, erase = draw(np.random.default_rng(1), 10_000, Augmentation(0.5, 1.25, 0.25, 0.5))
    cropped, erased = box[:, 2] - box[:, 0] < 0.99, erase[:, 2] > erase[:, 0]
    assert correlations(cropped, flip, erased) < 0.05
    corner = box[cropped, :2] / (1 - 1 / 1.25)
    assert correlations(*corner.T, flip[cropped], erased[cropped]) < 0.07
    for uniform in corner.T:
        np.testing.assert_allclose(np.quantile(uniform, [0, 0.25, 0.5, 0.75, 1]), [0, 0.25, 0.5, 0.75, 1], atol=0.03)
    start, extent = erase[erased, :2], erase[erased, 2:] - erase[erased, :2]
    assert erase.min() >= 0
    assert erase.max() <= 1 + 1e-6
    area, aspect = extent.prod(axis=1), extent[:, 1] / extent[:, 0]
    whole = (extent < 0.9999).all(axis=1)  # else the frame's border cuts the rectangle
    place = (start[whole] / (1 - extent[whole])).T
    assert correlations(area[whole], *place, flip[erased][whole], cropped[erased][whole]) < 0.07
    for uniform in (*place, (area - 0.02) / 0.38):
        np.testing.assert_allclose(np.quantile(uniform, [0, 0.25, 0.5, 1]), [0, 0.25, 0.5, 1], atol=0.05)
    logs = np.log(aspect) / np.log(11)  # from log(0.3) to log(3.3)
    np.testing.assert_allclose(logs.max() - logs.min(), 1, atol=0.02)
    np.testing.assert_allclose(np.median(aspect), np.sqrt(0.3 * 3.3), rtol=0.1)


def test_the_draws_of_a_seed_are_these():
    """Written out: a run that is resumed by a later version must see the same batches."""
    box, flip, erase = draw(np.random.default_rng(3), 2, Augmentation(0.7, 1.25, 0.5, 0.8))
    np.testing.assert_allclose(box, [[0.047362, 0.160255, 0.847362, 0.960255], [0.0, 0.0, 1.0, 1.0]], atol=1e-6)
    assert flip.tolist() == [False, False]
    np.testing.assert_allclose(
        erase, [[0.158677, 0.3775, 0.60035, 0.79543], [0.437524, 0.101299, 0.809092, 0.755239]], atol=1e-6
    )


def test_without_settings_it_is_the_recipe_of_the_field():
    assert Augmentation() == Augmentation(0.5, 1.125, 0.5, 0.0)
    assert hash(Augmentation()) == hash(Augmentation())  # constant
    config = AugmentConfig()
    of_images = config.crop_probability, config.crop_scale, config.flip_probability, config.erase_probability
    assert of_images == (0.5, 1.125, 0.5, 0.0)


def test_erasing_paints_the_mean_colour_and_leaves_the_source_alone():
    frame = np.full((64, 32, 3), 7, np.uint8)
    shown = show(frame, no_transform(1)[0][0], False, np.array([0.25, 0.5, 0.75, 1.0], np.float32))
    assert (shown[32:, 8:24] == (124, 116, 104)).all()
    assert (shown == 7).all(axis=-1).sum() == 64 * 32 - 32 * 16
    assert (frame == 7).all()
