import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from rgcn_jax import models
from rgcn_jax.errors import InputError
from rgcn_jax.models.pose_input import MIN_TORSO, TYPICAL_TORSO
from rgcn_jax.skeleton import FLIP_ORDER, KEYPOINTS

ASPECT = 0.5
NECK, RIGHT_HIP, LEFT_HIP = 1, 8, 11
MODES = ("crop", "centred", "centred+confidence", "crop+velocity+bones", "centred+confidence+velocity+bones")

pose_input = jax.jit(models.pose_input, static_argnums=(1, 2))  # compiled in the tests that are marked so


def clips(seed=0, b=4, t=5, missing=0.2):
    """Random keypoints in the middle of the crop, the neck well above the hips, some missing."""
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0.3, 0.7, (b, t, 14, 3)).astype(np.float32)
    keypoints[..., NECK, 1] = rng.uniform(0.1, 0.2, (b, t))
    keypoints[rng.random((b, t, 14)) < missing] = 0.0
    return keypoints


def centred_by_loops(keypoints, aspect, mask=None):
    """The rule of the docstring, clip by clip and frame by frame."""
    out = np.zeros((*keypoints.shape[:3], 2))
    counts = mask if mask is not None else np.ones(keypoints.shape[:2], bool)
    for b, (clip, keep) in enumerate(zip(keypoints, counts, strict=True)):
        frames = [t for t in range(len(clip)) if keep[t]]
        seen = {t: [v for v in range(14) if clip[t, v, 2] > 0] for t in frames}
        point = {(t, v): np.array([clip[t, v, 0] * aspect, clip[t, v, 1]], float) for t in frames for v in seen[t]}
        origin = {}
        for t in frames:
            hips = [point[t, v] for v in (RIGHT_HIP, LEFT_HIP) if v in seen[t]]
            if hips:
                origin[t] = sum(hips) / len(hips)
        torsos = [np.hypot(*(point[t, NECK] - origin[t])) for t in origin if NECK in seen[t]]
        torsos = [length for length in torsos if length >= MIN_TORSO]
        scale = np.median(torsos) if torsos else TYPICAL_TORSO
        if origin:
            fallback = np.median(list(origin.values()), axis=0)
        elif point:
            fallback = np.mean(list(point.values()), axis=0)
        else:
            continue
        for t, v in point:
            out[b, t, v] = (point[t, v] - origin.get(t, fallback)) / scale
    return out


@pytest.mark.parametrize("missing", [0.0, 0.2, 0.6, 0.95])
@pytest.mark.parametrize("t", [pytest.param(1, marks=pytest.mark.jit), pytest.param(4, marks=pytest.mark.jit), 5])
def test_centred_equals_the_rule_written_as_loops(missing, t):
    keypoints = clips(seed=t, t=t, missing=missing)
    mask = np.random.default_rng(9).random((4, t)) < 0.8
    for m in (None, mask):
        x = pose_input(jnp.asarray(keypoints), "centred", ASPECT, None if m is None else jnp.asarray(m))
        np.testing.assert_allclose(x, centred_by_loops(keypoints, ASPECT, m), atol=1e-5)


def additions_by_loops(keypoints, mask):
    """Velocity and bones of the centred positions, keypoint by keypoint."""
    parents = {"head": "neck", "neck": "neck", "right_shoulder": "neck", "right_elbow": "right_shoulder"}
    parents |= {"right_wrist": "right_elbow", "left_shoulder": "neck", "left_elbow": "left_shoulder"}
    parents |= {"left_wrist": "left_elbow", "right_hip": "neck", "right_knee": "right_hip", "right_ankle": "right_knee"}
    parents |= {"left_hip": "neck", "left_knee": "left_hip", "left_ankle": "left_knee"}
    position = centred_by_loops(keypoints, ASPECT, mask)
    seen = (keypoints[..., 2] > 0) & mask[..., None]
    velocity, bones = np.zeros_like(position), np.zeros_like(position)
    for b, t, v in np.ndindex(seen.shape):
        parent = KEYPOINTS.index(parents[KEYPOINTS[v]])
        if seen[b, t, v] and t and seen[b, t - 1, v]:
            velocity[b, t, v] = position[b, t, v] - position[b, t - 1, v]
        if seen[b, t, v] and seen[b, t, parent]:
            bones[b, t, v] = position[b, t, v] - position[b, t, parent]
    return {"velocity": velocity, "bones": bones}


@pytest.mark.parametrize("missing", [0.0, 0.3])
def test_velocity_and_bones_equal_the_rule_written_as_loops(missing):
    keypoints = clips(seed=3, missing=missing)
    mask = np.random.default_rng(9).random((4, 5)) < 0.8
    expected = additions_by_loops(keypoints, mask)
    x = np.asarray(pose_input(jnp.asarray(keypoints), "centred+bones+confidence+velocity", ASPECT, jnp.asarray(mask)))
    np.testing.assert_array_equal(x[..., 2], np.where(mask[..., None], keypoints[..., 2], 0.0))
    np.testing.assert_allclose(x[..., 3:5], expected["velocity"], atol=1e-5)
    np.testing.assert_allclose(x[..., 5:7], expected["bones"], atol=1e-5)
    assert expected["velocity"].any()
    assert expected["bones"].any()


def test_a_skeleton_worked_by_hand():
    keypoints = np.zeros((4, 5, 14, 3), np.float32)
    keypoints[1, 2, NECK] = (0.5, 0.2, 0.9)
    keypoints[1, 2, RIGHT_HIP] = (0.4, 0.6, 0.8)
    keypoints[1, 2, LEFT_HIP] = (0.6, 0.6, 0.7)
    keypoints[1, 2, 13] = (0.7, 0.9, 0.6)
    x = np.asarray(pose_input(jnp.asarray(keypoints), "centred+confidence", ASPECT))[1, 2]
    # Middle of the hips (0.25, 0.6) and torso 0.4, both in crop heights.
    np.testing.assert_allclose(x[NECK], (0.0, -1.0, 0.9), atol=1e-6)
    np.testing.assert_allclose(x[RIGHT_HIP], (-0.125, 0.0, 0.8), atol=1e-6)
    np.testing.assert_allclose(x[LEFT_HIP], (0.125, 0.0, 0.7), atol=1e-6)
    np.testing.assert_allclose(x[13], (0.25, 0.75, 0.6), atol=1e-6)
    assert not x[[0, 2, 3, 4, 5, 6, 7, 9, 10, 12]].any()


def test_crop_hands_over_the_positions_and_zero_where_nothing_was_detected():
    keypoints = clips()
    keypoints[0, 0, 3] = (0.4, 0.4, 0.0)
    x = np.asarray(pose_input(jnp.asarray(keypoints), "crop", ASPECT))
    np.testing.assert_array_equal(x, np.where(keypoints[..., 2:] > 0, keypoints[..., :2], 0.0))
    assert not x[0, 0, 3].any()


@pytest.mark.parametrize("mode", MODES)
def test_channels_are_as_listed_and_the_third_is_the_confidence(mode):
    keypoints = clips()
    x = pose_input(jnp.asarray(keypoints), mode, ASPECT)
    channels = 2 + sum({"confidence": 1, "velocity": 2, "bones": 2}[name] for name in mode.split("+")[1:])
    assert x.shape == (4, 5, 14, channels)
    assert x.dtype == jnp.float32
    if channels == 3:
        np.testing.assert_array_equal(x[..., 2], keypoints[..., 2])
        np.testing.assert_array_equal(x[..., :2], pose_input(jnp.asarray(keypoints), "centred", ASPECT))


def test_centred_forgets_where_the_person_stands_and_how_large():
    keypoints = clips()
    detected = keypoints[..., 2:] > 0
    moved = keypoints.copy()
    moved[..., 0] = 0.6 * moved[..., 0] + 0.17
    moved[..., 1] = 0.6 * moved[..., 1] - 0.04
    moved = np.where(detected, moved, 0.0)
    one = pose_input(jnp.asarray(keypoints), "centred", ASPECT)
    other = pose_input(jnp.asarray(moved), "centred", ASPECT)
    np.testing.assert_allclose(other, one, atol=1e-5)


def test_centred_is_the_same_whatever_the_crops_shape():
    keypoints = clips()
    narrow = keypoints.copy()
    narrow[..., 0] *= 0.5
    np.testing.assert_allclose(
        pose_input(jnp.asarray(narrow), "centred", 1.0), pose_input(jnp.asarray(keypoints), "centred", 0.5), atol=1e-5
    )


def test_a_mirrored_clip_gives_a_mirrored_input():
    keypoints = clips(missing=0.3)
    mirrored = keypoints[..., FLIP_ORDER, :].copy()
    mirrored[..., 0] = np.where(mirrored[..., 2] > 0, 1.0 - mirrored[..., 0], 0.0)
    mode = "centred+confidence+velocity+bones"
    x = np.asarray(pose_input(jnp.asarray(keypoints), mode, ASPECT))
    expected = x[..., FLIP_ORDER, :] * np.array([-1.0, 1.0, 1.0, -1.0, 1.0, -1.0, 1.0])
    np.testing.assert_allclose(pose_input(jnp.asarray(mirrored), mode, ASPECT), expected, atol=1e-5)


@pytest.mark.jit
@pytest.mark.parametrize("mode", MODES)
def test_masked_frames_are_zero_and_have_no_influence(mode):
    keypoints = clips()
    mask = np.array([[True, True, True, False, False]] * 4)
    other = keypoints.copy()
    other[:, 3:] = 0.9
    x = pose_input(jnp.asarray(keypoints), mode, ASPECT, jnp.asarray(mask))
    np.testing.assert_array_equal(pose_input(jnp.asarray(other), mode, ASPECT, jnp.asarray(mask)), x)
    assert not np.asarray(x)[:, 3:].any()
    np.testing.assert_allclose(x[:, :3], pose_input(jnp.asarray(keypoints[:, :3]), mode, ASPECT), atol=1e-6)


@pytest.mark.parametrize("mode", MODES)
def test_nothing_detected_anywhere_gives_zeros(mode):
    assert not np.asarray(pose_input(jnp.zeros((4, 5, 14, 3)), mode, ASPECT)).any()
    x = pose_input(jnp.asarray(clips()), mode, ASPECT, jnp.zeros((4, 5), bool))
    assert not np.asarray(x).any()


def test_a_collapsed_torso_does_not_blow_the_input_up():
    keypoints = clips(missing=0.0)
    keypoints[..., NECK, :2] = keypoints[..., RIGHT_HIP, :2] = keypoints[..., LEFT_HIP, :2] = 0.5
    x = np.asarray(pose_input(jnp.asarray(keypoints), "centred", ASPECT))
    assert np.abs(x).max() < 0.5 / TYPICAL_TORSO


def test_the_median_ignores_one_frame_with_a_wild_neck():
    keypoints = clips(missing=0.0)
    keypoints[..., NECK, :2] = (0.5, 0.15)
    keypoints[..., [RIGHT_HIP, LEFT_HIP], :2] = (0.5, 0.5)
    wild = keypoints.copy()
    wild[0, 2, NECK, 1] = 0.99
    x, y = (np.asarray(pose_input(jnp.asarray(k), "centred", ASPECT)) for k in (keypoints, wild))
    np.testing.assert_array_equal(np.delete(x, 2, axis=1), np.delete(y, 2, axis=1))


@pytest.mark.parametrize("mode", ["centered", "centred+speed", "velocity", "crop+bones+bones", "", "crop+"])
def test_an_unknown_mode_is_named_with_the_choices(mode):
    choices = r"expected crop or centred, then \[\+confidence\]\[\+velocity\]\[\+bones\]"
    with pytest.raises(InputError, match=f"unknown pose input '{re.escape(mode)}': {choices}"):
        pose_input(jnp.zeros((1, 1, 14, 3)), mode, ASPECT)
