"""Augmentation of keypoints alone, beside plain loops, and where it is applied."""

from dataclasses import fields, replace

import numpy as np
import pytest

from rgcn_jax.config import Config
from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.keypoint_augment import (
    KeypointAugmentation,
    KeypointChanges,
    change_keypoints,
    draw_changes,
)
from rgcn_jax.data.clips.reader import planned_keypoints
from rgcn_jax.data.clips.sampling import IdentitySampler, clips_of_process, evaluation_plans, whole_plans
from rgcn_jax.types import Tracklet

ALL = KeypointAugmentation(1.0, 0.3, 1.0, 0.02, 1.0, 0.2, 1.0, 1.0, 1.5)
KINDS = ("drop", "jitter", "aspect", "swap", "stretch")
SIDES = {2: 5, 3: 6, 4: 7, 5: 2, 6: 3, 7: 4, 8: 11, 9: 12, 10: 13, 11: 8, 12: 9, 13: 10}


class Source:
    """Keypoints of a tracklet: random, a fifth of them missing."""

    def of(self, tracklet):
        return drawn(len(tracklet.frames), int(tracklet.frames[0].split("/")[0]))


def drawn(frames, seed):
    rng = np.random.default_rng(seed)
    keypoints = rng.uniform(0.1, 0.9, (frames, 14, 3)).astype(np.float32)
    return np.where(rng.random((frames, 14, 1)) < 0.2, 0, keypoints).astype(np.float32)


def tracklets(lengths=(30, 6, 12, 25)):
    return [Tracklet(tuple(f"{i}/{f}" for f in range(n)), i + 1, 1) for i, n in enumerate(lengths)]


def sampler(keypoints, seed=3):
    augmentation = replace(Augmentation(), keypoints=keypoints)
    sizes = {"identities": 4, "clips_per_identity": 2, "frames_per_clip": 8, "max_frame_stride": 2}
    return IdentitySampler(tracklets(), **sizes, augmentation=augmentation, seed=seed)


def by_loops(keypoints, changes):
    out = np.zeros_like(keypoints, np.float64)
    for b, t, v in np.ndindex(*keypoints.shape[:3]):
        side = 0 if v < 8 else 1
        source = SIDES[v] if v > 1 and changes.swapped[b, t, side] else v
        place = float(changes.time[b, t])
        first, share = int(place), place - int(place)
        one = keypoints[b, first, source]
        two = keypoints[b, min(first + 1, keypoints.shape[1] - 1), source]
        if share == 0:
            here = one
        elif one[2] > 0 and two[2] > 0:
            here = [(1 - share) * p + share * q for p, q in zip(one, two, strict=True)]
        else:
            here = one if share < 0.5 else two
        if here[2] > 0 and not changes.dropped[b, t, v]:
            x = 0.5 + changes.width[b] * (here[0] + changes.shift[b, t, v, 0] - 0.5)
            out[b, t, v] = x, here[1] + changes.shift[b, t, v, 1], here[2]
    return out


@pytest.mark.parametrize("kind", [*KINDS, "all"])
def test_each_kind_is_what_plain_loops_make_of_its_draw(kind):
    one = ALL if kind == "all" else replace(ALL, **{f"{other}_probability": 0.0 for other in KINDS if other != kind})
    keypoints = np.stack([drawn(8, seed) for seed in range(6)])
    mask = np.ones((6, 8), bool)
    mask[2, 5:] = False
    changes = draw_changes(np.random.default_rng(0), mask, one, 0.5)
    changed = change_keypoints(keypoints, changes)
    assert not np.array_equal(changed, keypoints)
    np.testing.assert_allclose(changed, by_loops(keypoints, changes), atol=1e-6)


def test_with_all_probabilities_0_nothing_is_drawn_and_draws_do_not_depend_on_each_other():
    assert sampler(KeypointAugmentation()).plan(3).keypoint_changes is None
    plan, plain = sampler(ALL).plan(3), sampler(KeypointAugmentation()).plan(3)
    for name in ("frames", "box", "flip", "erase", "index"):
        np.testing.assert_array_equal(getattr(plan, name), getattr(plain, name))
    mask = np.ones((9, 8), bool)
    everything = draw_changes(np.random.default_rng(1), mask, ALL, 0.5)
    fewer = draw_changes(np.random.default_rng(1), mask, replace(ALL, drop_probability=0.0), 0.5)
    np.testing.assert_array_equal(fewer.shift, everything.shift)
    np.testing.assert_array_equal(fewer.time, everything.time)
    assert not fewer.dropped.any()


def test_draws_have_the_documented_shares_and_sizes():
    mask = np.ones((4000, 10), bool)
    half = replace(ALL, **{f"{kind}_probability": 0.5 for kind in KINDS})
    changes = draw_changes(np.random.default_rng(2), mask, half, 0.5)
    assert (changes.shift != 0).any(axis=(1, 2, 3)).mean() == pytest.approx(0.5, abs=0.03)
    assert (changes.width != 1).mean() == pytest.approx(0.5, abs=0.03)
    stretched = changes.time[:, -1] - changes.time[:, 0] < 9 - 1e-4
    assert stretched.mean() == pytest.approx(0.5, abs=0.03)
    moved = changes.shift[(changes.shift != 0).any(axis=(1, 2, 3))]
    assert moved[..., 0].std() == pytest.approx(0.04, rel=0.02)  # of the width, half of the height
    assert moved[..., 1].std() == pytest.approx(0.02, rel=0.02)
    assert np.abs(np.log(changes.width)).max() <= 0.2 + 1e-6
    assert (changes.time[:, -1] - changes.time[:, 0]).min() >= 9 / 1.5 - 1e-4
    assert changes.dropped.any(axis=1).mean() == pytest.approx(0.5 * 0.3, abs=0.02)
    assert changes.swapped.any(axis=(1, 2)).mean() == pytest.approx(0.5 * 0.75, abs=0.03)
    # Runs: what is dropped is dropped in consecutive frames.
    steps = np.abs(np.diff(changes.dropped.astype(int), axis=1)).sum(axis=1)
    assert steps.max() <= 2


def test_padded_frames_repeat_the_last_one_and_no_place_lies_beyond_it():
    mask = np.arange(8) < np.array([8, 5, 1, 3])[:, None]
    time = draw_changes(np.random.default_rng(0), mask, replace(ALL), 0.5).time
    last = mask.sum(axis=1) - 1
    assert (time >= 0).all()
    assert (time <= last[:, None]).all()
    for row, end in zip(time, last, strict=True):
        assert (row[end:] == row[-1]).all() or row[-1] > row[end]
    still = draw_changes(np.random.default_rng(0), mask, replace(ALL, stretch_probability=0.0), 0.5).time
    np.testing.assert_array_equal(still, np.minimum(np.arange(8), last[:, None]))


def test_they_come_before_the_flip_and_are_those_of_seed_and_step():
    plan = sampler(ALL).plan(5)
    assert plan.flip.any()
    found = planned_keypoints(plan, Source())
    np.testing.assert_array_equal(found, planned_keypoints(sampler(ALL).plan(5), Source()))
    assert not np.array_equal(found, planned_keypoints(sampler(ALL, seed=4).plan(5), Source()))
    chosen = np.stack([Source().of(t)[f] for t, f in zip(plan.tracklets, plan.frames, strict=True)])
    before = by_loops(chosen, plan.keypoint_changes)
    left, top, right, bottom = (plan.box[:, i, None, None] for i in range(4))
    x, y = (before[..., 0] - left) / (right - left), (before[..., 1] - top) / (bottom - top)
    for b, t, v in np.ndindex(*before.shape[:3]):
        source = SIDES.get(v, v) if plan.flip[b] else v
        if before[b, t, source, 2] == 0:
            expected = (0, 0, 0)
        else:
            place = x[b, t, source]
            expected = (1 - place if plan.flip[b] else place, y[b, t, source], before[b, t, source, 2])
        np.testing.assert_allclose(found[b, t, v], expected, atol=1e-5)


def test_processes_share_them_and_evaluation_has_none():
    plan = sampler(ALL).plan(2)
    whole = planned_keypoints(plan, Source())
    parts = [planned_keypoints(clips_of_process(plan, i, 2), Source()) for i in range(2)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    shown = tracklets()
    plans = [*evaluation_plans(shown, clips="even", frames_per_clip=8, clips_per_batch=2)]
    plans += whole_plans(shown, frames_per_clip=8, clips_per_batch=2)
    assert all(plan.keypoint_changes is None for plan in plans)


def test_the_fields_are_those_of_the_config():
    config = Config().augment.keypoints
    assert {f.name: getattr(config, f.name) for f in fields(config)} == {
        f.name: f.default for f in fields(KeypointAugmentation)
    }
    assert not any(KeypointAugmentation().probabilities)
    assert isinstance(sampler(ALL).plan(0).keypoint_changes, KeypointChanges)
