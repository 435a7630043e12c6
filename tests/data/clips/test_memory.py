"""Clips from arrays: what a plan asks for, in order; read ahead, but not everything; errors come to who asks."""

import time
from collections.abc import Generator
from functools import partial

import numpy as np
import pytest

from rgcn_jax.data.clips.augment import ERASED_RGB, no_transform
from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch, show
from rgcn_jax.data.clips.sampling import BatchPlan
from tests import frames
from tests.threads import named, settles


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return frames.write(tmp_path_factory.mktemp("frames"), sharp=True)


def bilinear(frame, box):
    """The box of a frame at the frame's size: a loop over pixels; pixel i covers i to i + 1, the border repeats."""
    height, width = frame.shape[:2]
    left, top, right, bottom = (float(v) for v in box)
    out = np.zeros(frame.shape)
    for i in range(height):
        for j in range(width):
            y = (top + (i + 0.5) / height * (bottom - top)) * height - 0.5
            x = (left + (j + 0.5) / width * (right - left)) * width - 0.5
            y0, x0 = int(np.floor(y)), int(np.floor(x))
            for yy, wy in ((y0, y0 + 1 - y), (y0 + 1, y - y0)):
                for xx, wx in ((x0, x0 + 1 - x), (x0 + 1, x - x0)):
                    out[i, j] += wy * wx * frame[min(max(yy, 0), height - 1), min(max(xx, 0), width - 1)]
    return out


def test_a_batch_is_what_its_plan_says(data):
    tracklets = (frames.TRACKLETS[1], frames.TRACKLETS[3])
    box, flip, erase = no_transform(2)
    flip[1] = True
    plan = BatchPlan(
        tracklets=tracklets,
        frames=np.array([[4, 0, 2], [1, 1, 3]], np.int32),
        frame_mask=np.array([[True, True, True], [True, True, False]]),
        label=np.array([0, 1], np.int32),
        index=np.array([1, 3], np.int32),
        box=box,
        flip=flip,
        erase=erase,
    )
    batch = read_batch(plan, data.source)
    for f, position in enumerate((4, 0, 2)):
        path = tracklets[0].frames[position]
        np.testing.assert_array_equal(batch["frames"][0, f], data.pixels[path])
        np.testing.assert_array_equal(batch["keypoints"][0, f], data.points[path])
    for f, position in enumerate((1, 1, 3)):
        np.testing.assert_array_equal(batch["frames"][1, f], data.pixels[tracklets[1].frames[position]][:, ::-1])
    for name in ("frame_mask", "label", "index"):
        np.testing.assert_array_equal(batch[name], getattr(plan, name))


def test_all_frames_of_a_clip_are_moved_alike_and_the_keypoints_with_them(data):
    """A bright pixel at a keypoint is still at the keypoint after crop and flip."""
    path = frames.TRACKLETS[0].frames[0]
    plan = next(p for p in frames.plans(40, crop=1.0, flip=1.0) if frames.TRACKLETS[0] in p.tracklets)
    clip = plan.tracklets.index(frames.TRACKLETS[0])
    pixels, points = np.zeros((32, 16, 3), np.uint8), np.zeros((14, 3), np.float32)
    pixels[14:18, 7:11] = 255  # its middle is at (9, 16)
    points[2] = (9 / 16, 16 / 32, 1)  # right shoulder
    source = CachedSource(lambda t: np.stack([pixels] * len(t.frames)), lambda t: np.stack([points] * len(t.frames)))
    batch = read_batch(plan, source)
    assert path in plan.tracklets[clip].frames
    for frame, keypoints in zip(batch["frames"][clip], batch["keypoints"][clip], strict=True):
        weight = frame[..., 0].astype(float)
        y, x = (np.average(grid + 0.5, weights=weight) for grid in np.mgrid[:32, :16])
        (found,) = np.flatnonzero(keypoints[:, 2])
        assert found == 5  # left shoulder: mirrored
        np.testing.assert_allclose(keypoints[found, :2] * (16, 32), (x, y), atol=0.1)


def test_a_box_is_cut_out_bilinearly(data):
    """OpenCV 4 rounds coordinates to 1/32 of a pixel, so that noise may be off by 255 x 2 x 1/64 = 8, and half for
    rounding; OpenCV 5 was off by half.
    """
    rng = np.random.default_rng(1)
    for _ in range(5):
        left, top = rng.uniform(0, 1 / 9, 2)
        box = np.array([left, top, left + 8 / 9, top + 8 / 9], np.float32)
        frame = frames.draw_image(rng, sharp=True)
        shown = show(frame, box, False, np.zeros(4, np.float32))
        error = np.abs(shown - bilinear(frame, box))
        assert error.max() <= 8.5
        assert error.mean() <= 1.5


def test_an_erased_rectangle_is_painted_and_the_source_stays_as_it_was(data):
    frame = data.pixels[frames.TRACKLETS[0].frames[0]]
    before = frame.copy()
    whole, erased = np.array([[0, 0, 1, 1], [0.25, 0.5, 0.75, 1.0]], np.float32)
    shown = show(frame, whole, False, erased)
    assert (shown[16:, 4:12] == ERASED_RGB).all()
    shown = shown.copy()
    shown[16:, 4:12] = frame[16:, 4:12]
    np.testing.assert_array_equal(shown, before)
    np.testing.assert_array_equal(frame, before)


def test_batches_come_in_the_order_of_the_plans(data):
    plans = frames.plans(12, crop=0.5, flip=0.5, erase=0.5)
    batches = list(MemoryReader(data.read)(plans))
    assert len(batches) == 12
    for plan, batch in zip(plans, batches, strict=True):
        frames.assert_batches_equal(batch, read_batch(plan, data.source))
    assert list(MemoryReader(data.read)([])) == []


def test_a_tracklet_is_computed_once(data):
    asked = []

    def compute(tracklet):
        asked.append(tracklet)
        return data.source.frames(tracklet)

    list(MemoryReader(partial(read_batch, source=CachedSource(compute, data.source.of)))(frames.plans(20)))
    assert len(asked) == len(set(asked)) == len(frames.TRACKLETS)


def test_an_error_in_the_thread_is_raised_where_the_batch_is_asked_for(data):
    def broken(tracklet):
        if tracklet == frames.TRACKLETS[2]:
            raise RuntimeError("the projector is broken")
        return data.source.frames(tracklet)

    plans = frames.plans(30)
    good = next(i for i, plan in enumerate(plans) if frames.TRACKLETS[2] in plan.tracklets)
    received = []
    with pytest.raises(RuntimeError, match="the projector is broken"):
        received.extend(MemoryReader(partial(read_batch, source=CachedSource(broken, data.source.of)))(plans))
    assert len(received) == good
    assert settles(lambda: not named("memory-reader"))


def test_it_reads_ahead_a_little_and_stops_when_nobody_asks_any_more(data):
    asked = []

    def plans():
        for number, plan in enumerate(frames.plans(100)):
            asked.append(number)
            yield plan

    batches = MemoryReader(data.read, ahead=3)(plans())
    next(batches)
    assert settles(lambda: len(asked) == 5)  # one was taken, three wait, one is in the thread's hand
    time.sleep(0.2)
    assert len(asked) == 5
    assert len(named("memory-reader")) == 1
    assert isinstance(batches, Generator)
    batches.close()
    assert settles(lambda: not named("memory-reader"))
    assert len(asked) <= 6
