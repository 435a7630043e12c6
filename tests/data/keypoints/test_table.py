import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from rgcn_jax.data.datasets import mars
from rgcn_jax.data.keypoints import table as keypoint_table
from rgcn_jax.data.keypoints.store import save
from rgcn_jax.errors import InputError
from rgcn_jax.types import Split, Tracklet

FRAMES = ("d/a.jpg", "d/b.jpg", "e/c.jpg")


@pytest.fixture
def split(tmp_path):
    """Three frames in two tracklets, whose images are not there."""
    first, second = Tracklet(FRAMES[:2], 1, 1), Tracklet(FRAMES[2:], 2, 3)
    return Split("small", tmp_path, (first,), (second,), (second,), (), (200, 100))


def _pixels():
    """Keypoint v of frame f at (10 f + v, 5 f + 2 v), confidence 0.9."""
    f, v = np.meshgrid(np.arange(3), np.arange(14), indexing="ij")
    return np.stack([10 * f + v + 1, 5 * f + 2 * v + 1, np.full((3, 14), 0.9)], axis=-1).astype(np.float32)


def _fails(path, split, *fragments):
    with pytest.raises(InputError) as caught:
        keypoint_table.load(path, split)
    for fragment in fragments:
        assert str(fragment) in str(caught.value)


def test_normalised_coordinates(tmp_path, split):
    pixels = _pixels()
    pixels[1, 4] = (50, 60, 0)  # not detected
    pixels[1, 5] = (100.5, 60, 0.9)  # outside
    pixels[1, 6] = (60, -0.5, 0.9)  # outside
    pixels[1, 7] = (100, 200, 1.2)  # the corner is inside, a confidence stays as it is
    pixels[1, 8] = (0, 0, 0.3)  # not detected, whatever its confidence
    save(tmp_path / "k.npz", FRAMES, pixels)
    table = keypoint_table.load(tmp_path / "k.npz", split)
    assert table.values.shape == (3, 14, 3)
    assert dict(table.rows) == {"d/a.jpg": 0, "d/b.jpg": 1, "e/c.jpg": 2}
    np.testing.assert_allclose(table.values[2, 3], [24 / 100, 17 / 200, 0.9], rtol=1e-6)
    assert not table.values[1, 4:7].any()
    np.testing.assert_allclose(table.values[1, 7:9], [[1, 1, 1.2], [0, 0, 0]], rtol=1e-6)


def test_rows_of_a_tracklet_in_its_order(tmp_path, split):
    save(tmp_path / "k.npz", FRAMES, _pixels())
    table = keypoint_table.load(tmp_path / "k.npz", split)
    got = table.of(Tracklet(("e/c.jpg", "d/a.jpg"), 1, 1))
    np.testing.assert_array_equal(got, table.values[[2, 0]])
    got[:] = 7
    assert table.values.max() < 7
    with pytest.raises(KeyError, match=r"no keypoints for frame 'd/x\.jpg'"):
        table.of(Tracklet(("d/a.jpg", "d/x.jpg"), 1, 1))


def test_only_the_tracklets_asked_for(tmp_path, split):
    save(tmp_path / "k.npz", FRAMES[2:], _pixels()[2:])
    assert list(keypoint_table.load(tmp_path / "k.npz", split, split.query).rows) == ["e/c.jpg"]
    _fails(
        tmp_path / "k.npz", split, "for 2 of the 3 frames; the first is d/a.jpg, looked for as d/a.jpg", "like e/c.jpg"
    )


def test_junk_needs_no_keypoints(tmp_path, split):
    with_junk = Split(**{**vars(split), "junk": (Tracklet(("d/junk.jpg",), -1, 1),)})
    save(tmp_path / "k.npz", FRAMES, _pixels())
    assert len(keypoint_table.load(tmp_path / "k.npz", with_junk).rows) == 3


def test_where_the_junk_has_no_usable_keypoints_the_table_is_without_it(tmp_path, split):
    junk = (Tracklet(("d/junk.jpg",), -1, 1),)
    wanted = [*split.train, *junk, *split.query]
    save(tmp_path / "k.npz", FRAMES, _pixels())
    table = keypoint_table.load(tmp_path / "k.npz", split, wanted, junk)
    assert list(table.rows) == list(FRAMES)
    assert not table.covers(junk)
    with pytest.raises(InputError, match="1 of the 4 frames.* d/junk.jpg"):
        keypoint_table.load(tmp_path / "k.npz", split, wanted)
    save(tmp_path / "k.npz", [*FRAMES, "d/junk.jpg"], np.concatenate([_pixels(), _pixels()[:1]]))
    table = keypoint_table.load(tmp_path / "k.npz", split, wanted, junk)
    assert table.covers(junk)
    np.testing.assert_array_equal(table.of(junk[0]), table.of(split.train[0])[:1])
    save(tmp_path / "k.npz", FRAMES[1:], _pixels()[1:])
    with pytest.raises(InputError, match="1 of the 3 frames.* d/a.jpg"):
        keypoint_table.load(tmp_path / "k.npz", split, wanted, junk)


def test_base_names_if_they_are_unique(tmp_path, split):
    save(tmp_path / "k.npz", ["c.jpg", "a.jpg", "b.jpg"], _pixels())
    np.testing.assert_allclose(
        keypoint_table.load(tmp_path / "k.npz", split).values[:, 0, 0], [0.11, 0.21, 0.01], rtol=1e-6
    )
    twins = Split("small", tmp_path, (Tracklet(("d/a.jpg", "e/a.jpg"), 1, 1),), (), (), (), (200, 100))
    _fails(tmp_path / "k.npz", twins, "names frames by base names, but these are not unique")


def test_sizes_from_the_images_of_a_set_without_one_size(tmp_path, split):
    sizes = {"d/a.jpg": (200, 100), "d/b.jpg": (64, 48), "e/c.png": (300, 77)}
    for name, (height, width) in sizes.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / name), np.zeros((height, width, 3), np.uint8))
    free = Split("small", tmp_path, (Tracklet(tuple(sizes), 1, 1),), (), ())
    save(tmp_path / "k.npz", list(sizes), _pixels())
    values = keypoint_table.load(tmp_path / "k.npz", free).values
    np.testing.assert_allclose(values[:, 3, 0], [4 / 100, 14 / 48, 24 / 77], rtol=1e-6)
    np.testing.assert_allclose(values[:, 3, 1], [7 / 200, 12 / 64, 17 / 300], rtol=1e-6)
    (tmp_path / "d/b.jpg").unlink()
    _fails(tmp_path / "k.npz", free, f"The image {tmp_path / 'd/b.jpg'} cannot be read (No such file or directory)")


def test_an_image_has_another_size_than_the_set(tmp_path, split):
    (tmp_path / "e").mkdir()
    cv2.imwrite(str(tmp_path / "e/c.jpg"), np.zeros((128, 64, 3), np.uint8))
    save(tmp_path / "k.npz", FRAMES, _pixels())
    _fails(
        tmp_path / "k.npz",
        split,
        "e/c.jpg is 128 x 64 pixels (height x width), but every crop of small must be 200 x 100",
    )


def test_the_path_is_nothing_that_is_read(tmp_path, split):
    _fails(tmp_path / "nowhere", split, "Keypoints not found at", "but there is nothing of that name")
    (tmp_path / "poses.txt").write_text("[]")
    _fails(tmp_path / "poses.txt", split, "expected a folder of OpenPose", "a file of another kind")


def test_frames_without_an_entry_are_counted_in_a_warning(tmp_path, split):
    person = [number for v in range(17) for number in (v + 1.0, 2.0 * v + 1, 0.9)]
    results = [{"image_id": name, "keypoints": person} for name in ("a.jpg", "c.jpg")]
    path = tmp_path / "alphapose-results.json"
    path.write_text(json.dumps(results))
    with pytest.warns(UserWarning, match="results.json .*1 of the 3 frames"):
        table = keypoint_table.load(path, split)
    assert table.values.any(axis=(1, 2)).tolist() == [True, False, True]
    path.write_text(json.dumps(results[:1]))
    _fails(path, split, "has no entry for 2 of the 3 frames; the first is d/b.jpg", "--least-share")


def test_coordinates_are_no_pixels_of_the_crops(tmp_path, split):
    pixels = _pixels()
    pixels[..., :2] /= 200
    save(tmp_path / "k.npz", FRAMES, pixels)
    _fails(tmp_path / "k.npz", split, "no coordinate is above 1", "--keypoint_scale 0")
    pixels = _pixels()
    pixels[:2, :, 0] += 300
    save(tmp_path / "k.npz", FRAMES, pixels)
    _fails(tmp_path / "k.npz", split, "67% of the keypoints lie outside of their crops")


def test_nobody_anywhere_is_refused(tmp_path, split):
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=np.zeros((3, 14, 3), np.float32))
    _fails(tmp_path / "k.npz", split, "no detected keypoint in any of the 3 frames")
    with pytest.raises(InputError, match="no detected keypoint"):
        save(tmp_path / "empty.npz", FRAMES, np.zeros((3, 14, 3), np.float32))
    assert not (tmp_path / "empty.npz").exists()


def test_a_store_is_damaged(tmp_path, split):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 0xFF
    for broken in (b"", b"text", whole[:50], whole[: len(whole) // 2], whole[:-10], bytes(flipped)):
        path.write_bytes(broken)
        _fails(path, split, f"The keypoint store {path} cannot be read", "write it again")


def test_a_store_with_pickled_objects_is_not_loaded(tmp_path, split):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    np.savez(tmp_path / "k.npz", names=np.array([Trap()] * 3, object), keypoints=_pixels())
    _fails(tmp_path / "k.npz", split, "cannot be read", "allow_pickle=False")
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize(
    ("arrays", "fragment"),
    [
        ({"names": np.array(FRAMES)}, "must hold names and keypoints, found names"),
        ({"x": np.zeros(1)}, "must hold names and keypoints, found x"),
        (
            {"names": np.array(FRAMES), "keypoints": np.zeros((2, 14, 3))},
            "found names [3] of <U7 and keypoints [2, 14, 3]",
        ),
        ({"names": np.array(FRAMES), "keypoints": np.zeros((3, 16, 3))}, "keypoints [3, 16, 3] of float64"),
        ({"names": np.arange(3), "keypoints": np.zeros((3, 14, 3))}, "found names [3] of int64"),
        ({"names": np.array(FRAMES), "keypoints": np.full((3, 14, 3), "1")}, "keypoints [3, 14, 3] of <U1"),
        ({"names": np.array(["a", "b", "a"]), "keypoints": np.zeros((3, 14, 3))}, "the frame a is in it twice"),
        (
            {"names": np.array(FRAMES), "keypoints": np.full((3, 14, 3), np.nan)},
            "of 3 of the 3 frames have a number that",
        ),
        (
            {"names": np.array(FRAMES), "keypoints": np.full((3, 14, 3), 1e9)},
            "not finite or above 1e6; the first is d/a.jpg",
        ),
    ],
)
def test_a_store_holds_something_else(tmp_path, split, arrays, fragment):
    np.savez(tmp_path / "k.npz", **arrays)
    _fails(tmp_path / "k.npz", split, fragment)


def test_coverage_counts_a_frame_once(tmp_path, split):
    pixels = _pixels()
    pixels[0, 7:] = 0  # 7 keypoints
    pixels[1, 8:] = 0  # 8
    save(tmp_path / "k.npz", FRAMES, pixels)
    table = keypoint_table.load(tmp_path / "k.npz", split)
    counted = table.coverage([*split.train, *split.query, *split.gallery])
    assert {camera: counts.tolist() for camera, counts in counted.cameras.items()} == {1: [0, 1, 1, 0], 3: [0, 0, 0, 1]}
    assert counted.frames.tolist() == [0, 1, 1, 1]


@pytest.mark.real_data
def test_openpose_files_and_store_of_real_crops_agree(real_data):
    root = real_data / "vtest_mars"
    split = mars.load(root)
    files = keypoint_table.load(root / "openpose", split)
    store = keypoint_table.load(root / "keypoints.npz", split)
    assert list(files.rows) == list(store.rows)
    assert len(files.rows) == 1178
    np.testing.assert_array_equal(files.values[..., 2] > 0, store.values[..., 2] > 0)
    # The files are rounded to three decimals of a pixel.
    bound = np.array([0.5e-3 / 128, 0.5e-3 / 256, 0.5e-3]) + 1e-7
    assert np.all(np.abs(files.values - store.values) <= bound)
    assert np.count_nonzero(store.values[..., 2]) / (1178 * 14) == pytest.approx(0.933, abs=5e-4)


@pytest.mark.real_data
def test_alphapose_results_of_real_crops_agree(real_data):
    """The results are not thresholded, go beyond the crop and are rounded to three decimals; the store's keypoints are
    those with a score of 0.2 or more. The subject of each of the 49 frames with more people must be the same.
    """
    root = real_data / "vtest_mars"
    split = mars.load(root)
    store = keypoint_table.load(root / "keypoints.npz", split)
    with pytest.warns(UserWarning, match="has no entry for 1 of the 1,178 frames"):
        results = keypoint_table.load(root / "alphapose-results.json", split)
    assert results.rows == store.rows
    stored = store.values[..., 2] > 0
    np.testing.assert_allclose(results.values[stored], store.values[stored], rtol=0, atol=5.1e-4)
    bound = np.array([0.51e-3 / 128, 0.51e-3 / 256, 0.51e-3])
    assert np.all(np.abs(results.values - store.values)[stored] <= bound)
    # What the store leaves out is below its threshold, to the third decimal.
    assert results.values[~stored, 2].max() <= 0.2
    # An independent reader: the first entry of an image is the subject.
    first = {}
    for result in json.loads((root / "alphapose-results.json").read_text()):
        first.setdefault(result["image_id"], result["keypoints"])
    assert len(first) == 1177
    for frame, row in store.rows.items():
        if frame[-19:] in first:
            expected = np.array(first[frame[-19:]]).reshape(17, 3)[[0, 6, 8, 10, 5, 7, 9, 12, 14, 16, 11, 13, 15]]
            got = results.values[row][[0, *range(2, 14)]] * [128, 256, 1]
            found = got[:, 2] > 0
            np.testing.assert_allclose(got[found], expected[found], atol=1e-4)


@pytest.mark.real_data
def test_files_in_the_folders_of_the_frames(real_data, tmp_path):
    root = real_data / "vtest_mars"
    split = mars.load(root)
    for tracklet in split.train[:3]:
        for frame in tracklet.frames:
            stem = Path(frame).with_suffix("")
            (tmp_path / stem.parent).mkdir(parents=True, exist_ok=True)
            source = root / "openpose" / f"{stem.name}_keypoints.json"
            (tmp_path / f"{stem}_keypoints.json").write_bytes(source.read_bytes())
    mirrored = keypoint_table.load(tmp_path, split, split.train[:3])
    flat = keypoint_table.load(root / "openpose", split, split.train[:3])
    assert mirrored.rows == flat.rows
    np.testing.assert_array_equal(mirrored.values, flat.values)
