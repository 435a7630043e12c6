"""Clips from image files through tf.data: the same batches as from memory, in the same order; bad files are named."""

import itertools
import subprocess
import sys
import time
from collections.abc import Generator

import cv2
import numpy as np
import pytest
import tensorflow as tf

from rgcn_jax.data.clips.augment import ERASED_RGB, Augmentation
from rgcn_jax.data.clips.memory import CachedSource, MemoryReader, read_batch
from rgcn_jax.data.clips.pipeline import ClipReader, LooseFiles
from rgcn_jax.data.clips.reader import NoKeypoints
from rgcn_jax.data.clips.sampling import IdentitySampler, evaluation_plans
from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.errors import InputError
from rgcn_jax.types import Tracklet
from tests import frames
from tests.data.clips.test_memory import bilinear


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return frames.write(tmp_path_factory.mktemp("frames"))


@pytest.fixture(scope="module")
def sharp(tmp_path_factory):
    return frames.write(tmp_path_factory.mktemp("sharp"), sharp=True)


def reader(data, **changes):
    return ClipReader(LooseFiles(data.root), data.source, frames.HEIGHT, frames.WIDTH, **changes)


def read_images(tmp_path, *names, height=frames.HEIGHT, width=frames.WIDTH):
    """The frames that the reader makes of some files, one tracklet."""
    tracklet = Tracklet(names, 1, 1)
    plans = evaluation_plans([tracklet], clips="dense", frames_per_clip=len(names), clips_per_batch=1)
    (batch,) = ClipReader(LooseFiles(tmp_path), NoKeypoints(), height, width)(plans)
    return batch["frames"][0]


def test_without_a_crop_the_batches_are_those_from_memory_bit_for_bit(sharp):
    plans = frames.plans(6, flip=0.5, erase=0.5)
    assert any(p.flip.any() for p in plans)
    assert any(p.erase.any() for p in plans)
    batches = list(reader(sharp)(plans))
    assert len(batches) == len(plans)
    for batch, other in zip(batches, MemoryReader(sharp.read)(plans), strict=True):
        frames.assert_batches_equal(batch, other)


def test_with_a_crop_images_agree_within_one_grey_level(data):
    """They differ where rounding decides, with OpenCV 5 in one value of 50,000. OpenCV 4 rounds coordinates to 1/32
    of a pixel: half a level in frames so soft.
    """
    plans = frames.plans(6, crop=1.0, flip=0.5, erase=0.3)
    for batch, other in zip(reader(data)(plans), MemoryReader(data.read)(plans), strict=True):
        error = np.abs(batch["frames"].astype(int) - other["frames"])
        assert error.max() <= 1
        for name in ("keypoints", "frame_mask", "label", "index"):
            assert batch[name].dtype == other[name].dtype
            np.testing.assert_array_equal(batch[name], other[name])


def test_a_crop_is_bilinear(sharp):
    """On noise, against a loop over pixels: exact but for rounding."""
    (plan,) = frames.plans(1, crop=1.0)
    (batch,) = reader(sharp)([plan])
    for clip, (tracklet, positions) in enumerate(zip(plan.tracklets, plan.frames, strict=True)):
        expected = bilinear(sharp.pixels[tracklet.frames[positions[0]]], plan.box[clip])
        np.testing.assert_allclose(batch["frames"][clip, 0], expected, atol=0.51)


def test_repeated_reading_gives_the_same_batches_however_many_threads(data):
    plans = frames.plans(12, crop=0.5, flip=0.5, erase=0.5)
    first = list(reader(data)(plans))
    for ahead, threads in ((1, 1), (5, 2), (2, 7)):
        for batch, other in zip(first, reader(data, ahead=ahead, threads=threads)(plans), strict=True):
            frames.assert_batches_equal(batch, other)


def test_evaluation_reads_every_frame_once_and_fills_up_the_last_batch(data):
    plans = evaluation_plans(frames.TRACKLETS, clips="dense", frames_per_clip=3, clips_per_batch=4)
    seen = []
    for batch in reader(data)(plans):
        assert batch["frames"].shape == (4, 3, frames.HEIGHT, frames.WIDTH, 3)
        for clip, index in enumerate(batch["index"]):
            seen += [(int(index), f.tobytes()) for f in batch["frames"][clip][batch["frame_mask"][clip]]]
    expected = [(i, data.pixels[f].tobytes()) for i, t in enumerate(frames.TRACKLETS) for f in t.frames]
    assert seen == expected


def test_no_plans_give_no_batches(data):
    assert list(reader(data)([])) == []


def test_frames_of_another_size_are_resized_whole(tmp_path):
    """Four times smaller: about the mean of each 4 x 4 block, OpenCV's area interpolation; twice as large: bilinear."""
    rng = np.random.default_rng(0)
    large, small = frames.draw_image(rng, height=128, width=64), frames.draw_image(rng, height=16, width=8)
    cv2.imwrite(str(tmp_path / "large.png"), large[..., ::-1])
    cv2.imwrite(str(tmp_path / "small.png"), small[..., ::-1])
    shrunk, grown = read_images(tmp_path, "large.png", "small.png")
    area = cv2.resize(large, (frames.WIDTH, frames.HEIGHT), interpolation=cv2.INTER_AREA)
    linear = cv2.resize(small, (frames.WIDTH, frames.HEIGHT), interpolation=cv2.INTER_LINEAR)
    shrunk_error, grown_error = np.abs(shrunk.astype(int) - area), np.abs(grown.astype(int) - linear)
    # A triangle twice as wide as the block is softer than the block's mean.
    assert shrunk_error.mean() < 4
    assert grown_error.max() <= 1
    # Without antialiasing a checkerboard of single pixels would come out black or white, not grey.
    checkers = np.zeros((128, 64, 3), np.uint8)
    checkers[::2, ::2] = checkers[1::2, 1::2] = 255
    cv2.imwrite(str(tmp_path / "checkers.png"), checkers)
    np.testing.assert_allclose(read_images(tmp_path, "checkers.png")[0], 127.5, atol=5)


def test_jpeg_is_decoded_to_rgb(tmp_path):
    image = frames.draw_image(np.random.default_rng(0))
    image[..., 0] = image[..., 0] // 4 + 190  # red
    image[..., 2] //= 4
    cv2.imwrite(str(tmp_path / "a.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    decoded = read_images(tmp_path, "a.jpg")[0].astype(int)
    by_opencv = frames.read_image(tmp_path / "a.jpg")
    assert np.abs(decoded - by_opencv).mean() < 1.5
    assert np.abs(decoded - image).mean() < 8
    assert decoded[..., 0].mean() > decoded[..., 2].mean() + 100


def test_a_grey_image_has_three_equal_channels(tmp_path):
    grey = frames.draw_image(np.random.default_rng(0))[..., 0]
    cv2.imwrite(str(tmp_path / "grey.png"), grey)
    np.testing.assert_array_equal(read_images(tmp_path, "grey.png")[0], np.repeat(grey[..., None], 3, axis=2))


def _truncate(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize(
    "spoil",
    [_truncate, lambda p: p.write_bytes(b""), lambda p: p.unlink(), lambda p: p.write_bytes(b"this is no image" * 9)],
    ids=["truncated", "empty", "absent", "no image"],
)
def test_a_bad_image_is_named(spoil, suffix, tmp_path):
    rng = np.random.default_rng(0)
    names = [f"{i}{suffix}" for i in range(6)]
    for name in names:
        cv2.imwrite(str(tmp_path / name), frames.draw_image(rng, sharp=True, height=64))
    spoil(tmp_path / names[4])
    tracklets = [Tracklet((name,), 1, 1) for name in names]
    plans = evaluation_plans(tracklets, clips="dense", frames_per_clip=1, clips_per_batch=2)
    with pytest.raises(InputError) as caught:
        list(ClipReader(LooseFiles(tmp_path), NoKeypoints(), frames.HEIGHT, frames.WIDTH)(plans))
    assert str(tmp_path / names[4]) in str(caught.value)
    assert str(tmp_path / names[3]) not in str(caught.value)
    assert "restore it" in str(caught.value)


def test_an_error_of_the_plans_or_keypoints_is_raised_as_it_is(data):
    class NoSuchKeypoints:
        def of(self, tracklet):
            raise KeyError("no keypoints for this frame")

    with pytest.raises(KeyError, match="no keypoints for this frame"):
        list(ClipReader(LooseFiles(data.root), NoSuchKeypoints(), frames.HEIGHT, frames.WIDTH)(frames.plans(2)))


def test_it_reads_ahead_a_little_and_stops_when_nobody_asks_any_more(data):
    asked = []

    def plans():
        for number, plan in enumerate(itertools.cycle(frames.plans(10))):
            asked.append(number)
            yield plan

    batches = reader(data)(plans())
    next(batches)
    time.sleep(0.5)
    ahead = len(asked)
    # The buffers of tf.data: two whole batches, and clips for every core.
    assert 3 <= ahead <= 60
    time.sleep(0.5)
    assert len(asked) == ahead
    assert isinstance(batches, Generator)
    batches.close()
    time.sleep(0.2)
    assert len(asked) == ahead


@pytest.mark.slow
def test_tensorflow_leaves_the_accelerators_alone():
    assert tf.config.get_visible_devices("GPU") == []
    # With a GPU the line above holds only if the reader's module says so before TensorFlow starts its devices.
    code = (
        "import tensorflow as tf; reported = []; tf.config.set_visible_devices = lambda *a: reported.append(a)\n"
        "import rgcn_jax.data.clips.pipeline; assert reported == [([], 'GPU')], reported"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.real_data
def test_real_frames_arrive_with_their_keypoints(real_data):
    split = mars.load(real_data / "vtest_mars")
    table = keypoint_table.load(real_data / "vtest_mars" / "openpose", split)
    plain = Augmentation(crop_probability=0.0, flip_probability=0.0)
    sampler = IdentitySampler(
        split.train,
        identities=2,
        clips_per_identity=2,
        frames_per_clip=4,
        max_frame_stride=2,
        augmentation=plain,
        seed=0,
    )
    plan = sampler.plan(0)
    (batch,) = ClipReader(LooseFiles(split.root), table, 256, 128)([plan])
    assert batch["frames"].shape == (4, 4, 256, 128, 3)
    for clip, (tracklet, positions) in enumerate(zip(plan.tracklets, plan.frames, strict=True)):
        for frame, position in zip(batch["frames"][clip], positions, strict=True):
            expected = frames.read_image(split.root / tracklet.frames[position])
            # Two JPEG decoders differ by a level or two in the inverse transform and the interpolation of colours.
            assert np.abs(frame.astype(int) - expected).mean() < 2
    points = batch["keypoints"]
    detected = points[..., 2] > 0
    assert detected.mean() > 0.5
    assert ((points[..., :2] >= 0) & (points[..., :2] <= 1)).all()
    assert (points[~detected] == 0).all()
    neck, ankles = points[..., 1, 1][detected[..., 1]], points[..., [10, 13], 1][detected[..., [10, 13]]]
    assert neck.mean() < 0.4 < 0.7 < ankles.mean()


@pytest.mark.real_data
def test_a_crop_of_real_frames_at_the_training_size(real_data):
    """Shrunk, cropped, flipped and erased by TensorFlow, and by OpenCV from its own area-resized frames."""
    split = mars.load(real_data / "vtest_mars")
    sampler = IdentitySampler(
        split.train,
        identities=2,
        clips_per_identity=2,
        frames_per_clip=2,
        max_frame_stride=2,
        augmentation=Augmentation(1.0, 1.125, 0.5, 1.0),
        seed=3,
    )
    plan = sampler.plan(0)
    (batch,) = ClipReader(LooseFiles(split.root), NoKeypoints(), 64, 32)([plan])

    def shrunk(tracklet):
        images = [frames.read_image(split.root / f) for f in tracklet.frames]
        return np.stack([cv2.resize(p, (32, 64), interpolation=cv2.INTER_AREA) for p in images])

    other = read_batch(plan, CachedSource(shrunk, NoKeypoints().of))
    assert np.abs(batch["frames"].astype(int) - other["frames"]).mean() < 5
    erased = (batch["frames"] == ERASED_RGB).all(-1)
    np.testing.assert_array_equal(erased.mean((2, 3)) > 0.01, True)
