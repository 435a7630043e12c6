"""Batches as pure functions of (seed, step); the rules for identities and clips; every tracklet read exactly once."""

from collections import Counter

import numpy as np
import pytest

from rgcn_jax.data.clips.augment import Augmentation
from rgcn_jax.data.clips.keypoint_augment import KeypointAugmentation
from rgcn_jax.data.clips.sampling import (
    IdentitySampler,
    choose_tracklets,
    clips_of_process,
    dense_clips,
    evaluation_plans,
    even_clips,
    interleaved_clips,
    num_evaluation_batches,
    training_clip,
    whole_plans,
)
from rgcn_jax.errors import InputError
from rgcn_jax.types import Tracklet


def tracklets(persons=10, each=5, frames=30):
    return [
        Tracklet(tuple(f"{p}/{k}/{f:03d}.jpg" for f in range(frames)), 100 + p, 1 + k % 3)
        for p in range(persons)
        for k in range(each)
    ]


def sampler(data=None, **changes):
    settings = {
        "identities": 4,
        "clips_per_identity": 3,
        "frames_per_clip": 6,
        "max_frame_stride": 4,
        "augmentation": Augmentation(),
        "seed": 0,
    }
    return IdentitySampler(data or tracklets(), **(settings | changes))


def equal(a, b):
    return all(np.array_equal(x, y) if isinstance(x, np.ndarray) else x == y for x, y in zip(a, b, strict=True))


def test_a_batch_depends_on_seed_and_step_alone():
    one, other = sampler(), sampler()
    forwards = [one.plan(step) for step in range(7)]
    backwards = [other.plan(step) for step in reversed(range(7))][::-1]
    assert all(equal(a, b) for a, b in zip(forwards, backwards, strict=True))
    assert all(equal(a, b) for a, b in zip(forwards[3:], sampler().plans(3, 7), strict=True))
    assert not equal(one.plan(0), one.plan(1))
    assert not equal(one.plan(0), sampler(seed=1).plan(0))


def test_the_batch_of_a_seed_and_a_step_is_this_one():
    """Written out: a run that is resumed by a later version must see the same batches."""
    plan = sampler().plan(5)
    assert plan.label.tolist() == [8, 8, 8, 1, 1, 1, 2, 2, 2, 4, 4, 4]
    assert plan.index.tolist() == [40, 42, 44, 5, 6, 9, 13, 11, 10, 23, 21, 24]
    assert plan.frames[:2].tolist() == [[12, 15, 18, 21, 24, 27], [3, 6, 9, 12, 15, 18]]


def test_every_step_draws_its_clips_anew():
    """Two batches of one epoch, and two of the same persons: other frames, other boxes."""
    augmented = {"augmentation": Augmentation(1.0, 1.2, 0.5, 1.0), "clips_per_identity": 5}
    for settings in ({"identities": 4}, {"identities": 10}):
        one, other = (sampler(**augmented, **settings).plan(step) for step in (0, 1))
        assert (len(set(one.label) & set(other.label)) > 0) == (settings["identities"] == 10)
        for name in ("frames", "box", "flip", "erase"):
            assert not np.array_equal(getattr(one, name), getattr(other, name)), name
    # The same person twice: its clips are other frames of its tracklets.
    of_first = [{t: f.tolist() for t, f in zip(p.tracklets, p.frames, strict=True)} for p in (one, other)]
    assert sum(of_first[0][t] != of_first[1][t] for t in of_first[0]) > 40


def test_jitter_of_keypoints_is_in_heights_of_crops_twice_as_high_as_wide():
    jitter = KeypointAugmentation(jitter_probability=1.0)
    changes = sampler(augmentation=Augmentation(keypoints=jitter)).plan(0).keypoint_changes
    assert changes is not None
    x, y = changes.shift.std(axis=(0, 1, 2))
    assert x / y == pytest.approx(2, rel=0.15)


def test_a_batch_has_p_distinct_people_with_k_clips_each():
    for step in range(20):
        plan = sampler().plan(step)
        assert sorted(Counter(plan.label.tolist()).values()) == [3, 3, 3, 3]
        people = {t.person_id for t in plan.tracklets}
        assert len(people) == 4
        for label, tracklet in zip(plan.label, plan.tracklets, strict=True):
            assert tracklet.person_id == sorted(range(100, 110))[label]


def test_an_epoch_visits_each_identity_at_most_once_and_later_ones_the_rest():
    s = sampler()
    assert s.steps_per_epoch == 2  # 10 identities, 4 a batch
    seen = [label for step in range(2) for label in set(s.plan(step).label.tolist())]
    assert len(seen) == len(set(seen)) == 8
    over_time = {label for step in range(40) for label in s.plan(step).label.tolist()}
    assert over_time == set(range(10))


def test_a_person_with_fewer_tracklets_than_k_shows_each_before_any_again():
    rng = np.random.default_rng(0)
    for have, want in ((1, 4), (3, 4), (4, 4), (9, 4)):
        counts = Counter(choose_tracklets(rng, range(have), want).tolist())
        assert sum(counts.values()) == want
        assert max(counts.values()) - min(counts[i] for i in range(have)) <= 1


def test_fewer_identities_than_p_is_reported():
    with pytest.raises(InputError, match="batch.identities is 11, .* 10 identities"):
        sampler(identities=11)


@pytest.mark.parametrize("length", [1, 2, 6, 10])
@pytest.mark.parametrize("frames", [1, 5, 6, 10, 11, 29, 200])
def test_a_training_clip_fits_with_one_stride(frames, length):
    rng = np.random.default_rng(0)
    strides, starts = set(), set()
    for _ in range(200):
        clip, mask = training_clip(rng, frames, length, 4)
        assert clip.shape == mask.shape == (length,)
        assert 0 <= clip.min() <= clip.max() < frames
        if frames < length:
            assert clip.tolist() == [*range(frames), *[frames - 1] * (length - frames)]
            assert mask.tolist() == [True] * frames + [False] * (length - frames)
        else:
            assert mask.all()
            strides |= set(np.diff(clip).tolist())
            starts.add(clip[0])
    if frames >= length > 1:
        assert strides == set(range(1, min(4, (frames - 1) // (length - 1)) + 1))
    if frames == 11 and length == 10:
        assert starts == {0, 1}


def test_a_clip_of_one_frame_draws_its_start_and_nothing_else():
    for seed in range(5):
        clip, _ = training_clip(np.random.default_rng(seed), 200, 1, 4)
        assert clip.tolist() == [np.random.default_rng(seed).integers(200)]


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 12, 29])
def test_dense_clips_hold_every_frame_once(frames):
    clips = dense_clips(frames, 6)
    kept = np.concatenate([clip[mask] for clip, mask in clips])
    assert kept.tolist() == list(range(frames))
    last, mask = clips[-1]
    assert (last[~mask] == frames - 1).all()


def test_even_clips_span_the_tracklet():
    ((clip, mask),) = even_clips(29, 5)
    assert clip.tolist() == [0, 7, 14, 21, 28]
    assert mask.all()
    ((clip, mask),) = even_clips(3, 5)
    assert clip.tolist() == [0, 1, 2, 2, 2]
    assert mask.tolist() == [True, True, True, False, False]


@pytest.mark.parametrize("frames", [1, 5, 6, 7, 12, 29])
def test_interleaved_clips_hold_every_frame_once_at_one_stride(frames):
    clips = interleaved_clips(frames, 6)
    kept = [clip[mask].tolist() for clip, mask in clips]
    assert sorted(np.concatenate(kept).tolist()) == list(range(frames))
    assert kept == [list(range(first, frames, len(clips))) for first in range(len(clips))]
    assert len(clips) == -(-frames // 6)
    assert all((clip[~mask] == clip[mask][-1]).all() for clip, mask in clips)


def test_whole_tracklets_are_padded_to_few_lengths():
    data = [Tracklet(tuple(map(str, range(n))), 1, 1) for n in (3, 6, 7, 12, 13, 100, 1, 2, 5)]
    plans = list(whole_plans(data, frames_per_clip=6, clips_per_batch=2))
    assert [plan.frames.shape for plan in plans] == [(2, 6), (2, 12), (2, 192), (2, 6), (2, 6)]
    assert np.concatenate([plan.index for plan in plans]).tolist() == [*range(9), -1]
    masks = [mask for plan in plans for mask in plan.frame_mask]
    assert [int(mask.sum()) for mask in masks] == [3, 6, 7, 12, 13, 100, 1, 2, 5, 0]
    shorter = sorted(data, key=lambda tracklet: -len(tracklet.frames))  # the last has one frame
    for plan in (*plans, *evaluation_plans(shorter, clips="dense", frames_per_clip=6, clips_per_batch=64)):
        for tracklet, frames in zip(plan.tracklets, plan.frames, strict=True):  # also of what pads a batch
            assert frames.max() < len(tracklet.frames)
    for frames, mask in zip((f for plan in plans for f in plan.frames), masks, strict=True):
        assert frames[mask].tolist() == list(range(mask.sum()))


@pytest.mark.parametrize("clips", ["dense", "even", "interleaved", "full"])
def test_evaluation_reads_every_tracklet_once_in_batches_of_one_size(clips):
    data = tracklets(persons=7, each=1, frames=17)
    settings = {"clips": clips, "frames_per_clip": 6, "clips_per_batch": 4}
    plans = list(evaluation_plans(data, **settings))
    assert len(plans) == num_evaluation_batches(data, **settings)
    assert {len(p.index) for p in plans} == {4}
    index = np.concatenate([p.index for p in plans])
    per_tracklet = 1 if clips == "even" else 3
    assert Counter(index[index >= 0].tolist()) == dict.fromkeys(range(7), per_tracklet)
    assert not np.concatenate([p.frame_mask for p in plans])[index < 0].any()
    assert (np.concatenate([p.label for p in plans]) == -1).all()


@pytest.mark.parametrize("processes", [1, 2, 3, 6])
def test_the_clips_of_all_processes_are_the_plan(processes):
    plan = sampler(augmentation=Augmentation(0.5, 1.2, 0.5, 0.5)).plan(7)
    of_processes = [clips_of_process(plan, index, processes) for index in range(processes)]
    assert sum((s.tracklets for s in of_processes), ()) == plan.tracklets
    assert {s.keypoint_changes for s in of_processes} == {None}
    for name in plan._fields[1:-1]:
        parts = [getattr(s, name) for s in of_processes]
        assert {len(part) for part in parts} == {12 // processes}
        np.testing.assert_array_equal(np.concatenate(parts), getattr(plan, name))


def test_a_plan_that_cannot_be_shared_equally_is_reported():
    with pytest.raises(InputError, match="12 clips .* 5 processes.*batch.identities"):
        clips_of_process(sampler().plan(0), 0, 5)
