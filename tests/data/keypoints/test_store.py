import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints import formats
from rgcn_jax.data.keypoints.coverage import measure
from rgcn_jax.data.keypoints.store import read, save
from rgcn_jax.errors import InputError
from rgcn_jax.skeleton import KEYPOINTS
from rgcn_jax.types import Tracklet

SIZE = np.array([[256, 128]])
FRAMES = ["d/a.jpg", "d/b.jpg", "e/c.jpg"]


def _pixels(seed=0):
    pixels = (np.random.default_rng(seed).uniform(0.01, 1, (3, 14, 3)) * [128, 256, 1]).astype(np.float32)
    pixels[1, 3:9] = 0
    pixels[2] = 0
    return pixels


def _fails(path, *fragments):
    with pytest.raises(InputError) as caught:
        formats.read(path, FRAMES, SIZE)
    for fragment in (str(path), *fragments):
        assert fragment in str(caught.value)


def _header(path):
    with np.load(path, allow_pickle=False) as arrays:
        return json.loads(arrays["header"].item())


def _rewrite(path, **changes):
    with np.load(path) as store:
        arrays = dict(store) | changes
    np.savez(path, **arrays)


def test_a_store_gives_back_what_was_saved_and_says_where_it_is_from(tmp_path):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels(), detector="RTMPose-m 2.0", skeleton="coco17", threshold=0.25)
    found = formats.read(path, FRAMES[::-1], SIZE)
    np.testing.assert_array_equal(found.pixels, _pixels()[::-1])
    assert found._replace(pixels=_pixels(), has_entry=np.ones(1, bool))[2:6] == ("coco17", [], "RTMPose-m 2.0", 0.25)
    header = _header(path)
    assert [header[name] for name in ("detector", "skeleton", "threshold", "frames")] == [
        *("RTMPose-m 2.0", "coco17", 0.25, 3)
    ]
    assert header["coverage"]["frames"] == {"0": 1, "1-7": 0, "8-13": 1, "14": 1}
    assert header["coverage"]["keypoints"] == {name: 1 if 3 <= i < 9 else 2 for i, name in enumerate(KEYPOINTS)}
    assert header["coverage"]["cameras"] == {}


def test_the_file_is_as_it_is_documented(tmp_path):
    path = tmp_path / "k.npz"
    rows = {frame: i for i, frame in enumerate(FRAMES)}
    tracklets = [Tracklet((FRAMES[0],), 1, 2), Tracklet((FRAMES[1], FRAMES[2]), 1, 1)]
    save(path, FRAMES, _pixels(), coverage=measure(_pixels()[..., 2] > 0, rows, tracklets))
    with np.load(path, allow_pickle=False) as store:
        assert sorted(store) == ["header", "keypoints", "names"]
        assert store["keypoints"].dtype == np.float32
        assert store["names"].tolist() == FRAMES
        header = json.loads(store["header"].item())
    assert header["format"] == "rgcn_jax keypoints"
    assert (header["version"], header["frames"], header["detector"], header["skeleton"]) == (1, 3, "unknown", "")
    assert header["coverage"]["cameras"] == {
        "1": {"0": 1, "1-7": 0, "8-13": 1, "14": 0},
        "2": {"0": 0, "1-7": 0, "8-13": 0, "14": 1},
    }
    first = path.read_bytes()
    save(path, FRAMES, _pixels(), coverage=measure(_pixels()[..., 2] > 0, rows, tracklets))
    assert path.read_bytes() == first


def test_a_store_without_a_header_is_an_older_one_and_still_read(tmp_path):
    path = tmp_path / "k.npz"
    for kind in (np.float32, np.float64, np.float16):
        np.savez_compressed(path, names=np.array(FRAMES), keypoints=_pixels().astype(kind))
        np.testing.assert_array_equal(
            formats.read(path, FRAMES, SIZE).pixels, _pixels().astype(kind).astype(np.float32)
        )
    with pytest.raises(InputError, match="no header.* version 1"):
        read(path, FRAMES, SIZE)


def test_a_newer_store_is_refused(tmp_path):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    header = json.loads(np.load(path)["header"].item())
    _rewrite(path, header=np.array(json.dumps(header | {"version": 2})))
    _fails(path, "is of version 2, this program reads version 1: update rgcn_jax")


@pytest.mark.parametrize(
    ("header", "fragment"),
    [
        ("", "The header of the keypoint store"),
        ("{", "cannot be read (JSONDecodeError"),
        ("[" * 100_000, "cannot be read (RecursionError"),
        ("[]", "cannot be read (TypeError"),
        ('{"version": 1}', "cannot be read (KeyError: 'format')"),
        ('{"format": "coco", "version": 1}', "format coco"),
        ('{"format": "rgcn_jax keypoints", "version": "1"}', "version 1"),
        ('{"format": "rgcn_jax keypoints", "version": 0}', "version 0"),
        ('{"format": "rgcn_jax keypoints", "version": 1}', "lacks detector, skeleton, threshold, frames, coverage"),
        (np.arange(3), "cannot be read (ValueError"),
        (np.float64(3), "cannot be read (TypeError"),
    ],
)
def test_a_header_is_damaged(tmp_path, header, fragment):
    save(tmp_path / "k.npz", FRAMES, _pixels())
    _rewrite(tmp_path / "k.npz", header=np.array(header))
    _fails(tmp_path / "k.npz", fragment, "write the store again")


def test_the_arrays_are_not_what_the_header_says(tmp_path):
    path = tmp_path / "k.npz"
    for changes in ({"names": np.array(FRAMES[:2]), "keypoints": _pixels()[:2]}, {"keypoints": np.zeros((3, 17, 3))}):
        save(path, FRAMES, _pixels())
        _rewrite(path, **changes)
        _fails(path, "is damaged: its header speaks of 3 frames of 14 keypoints, found")


def test_half_a_store_is_never_taken_for_a_whole_one(tmp_path):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    whole = path.read_bytes()
    for end in range(0, len(whole), 37):
        path.write_bytes(whole[:end])
        _fails(path, "cannot be read", "it may be cut off: write it again")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(at=st.integers(0, 100_000), put=st.binary(min_size=1, max_size=3))
def test_a_changed_byte_changes_no_keypoint(saved, at, put):
    path, whole = saved
    at %= len(whole)
    path.write_bytes(whole[:at] + put + whole[at + len(put) :])
    found, reason = None, ""
    try:
        found = formats.read(path, FRAMES, SIZE)
    except InputError as error:
        reason = str(error)
    if found is None:
        assert str(path) in reason
        return
    np.testing.assert_array_equal(found.pixels, _pixels())


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "k.npz"
    save(path, FRAMES, _pixels())
    return path, path.read_bytes()


def test_saving_is_killed(tmp_path):
    """Whenever the writer is killed, the store is the old one or the new one, whole."""
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    code = f"""
import numpy as np
from rgcn_jax.data.keypoints.store import save
pixels = np.random.default_rng(1).uniform(1, 100, (3000, 14, 3)).astype(np.float32)
names = {FRAMES!r} + [f"x/{{i}}.jpg" for i in range(2997)]
print(flush=True)
while True:
    save({str(path)!r}, names, pixels)
"""
    sizes = set()
    for delay in (0.0, 0.005, 0.02, 0.05, 0.11, 0.17):
        process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        sizes.add(_header(path)["frames"])
        assert formats.read(path, FRAMES, SIZE).pixels[0].all()
    assert sizes <= {3, 3000}


def test_a_store_is_replaced_not_written_over(tmp_path):
    """Who has the old one open, or under another name, keeps it whole: there is no moment with half of either."""
    path, other = tmp_path / "k.npz", tmp_path / "old.npz"
    save(path, FRAMES, _pixels())
    os.link(path, other)
    before = path.read_bytes()
    save(path, FRAMES[:1], _pixels()[:1])
    assert other.read_bytes() == before != path.read_bytes()


def test_the_disk_is_full(tmp_path, monkeypatch):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    before = path.read_bytes()

    def full(descriptor):
        raise OSError(28, os.strerror(28))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(InputError, match=r"k.npz .*\(No space left on device\)"):
        save(path, FRAMES[:1], _pixels()[:1])
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["k.npz"]


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(ValueError, match="3 names, 3 of them different, for 2 frames"):
        save(tmp_path / "k.npz", FRAMES, _pixels()[:2])
    with pytest.raises(ValueError, match="not finite: write zeros"):
        save(tmp_path / "k.npz", FRAMES, np.full((3, 14, 3), np.nan, np.float32))


def test_reading_asks_for_frames_that_are_not_there(tmp_path):
    save(tmp_path / "k.npz", FRAMES, _pixels())
    with pytest.raises(InputError, match="1 of the 2 frames.* d/x.jpg"):
        read(tmp_path / "k.npz", ["d/a.jpg", "d/x.jpg"], SIZE)


def test_save_is_all_or_nothing(tmp_path):
    path = tmp_path / "k.npz"
    save(path, FRAMES, _pixels())
    save(path, FRAMES[:1], _pixels()[:1])
    assert [p.name for p in tmp_path.iterdir()] == ["k.npz"]
    assert len(np.load(path)["names"]) == 1
    with pytest.raises(InputError, match=r"must be called something\.npz"):
        save(tmp_path / "k", FRAMES, _pixels())
    with pytest.raises(InputError, match=r"there is no folder .*, make it first"):
        save(tmp_path / "no" / "k.npz", FRAMES, _pixels())
    (tmp_path / "folder.npz").mkdir()
    with pytest.raises(InputError, match="cannot be written"):
        save(tmp_path / "folder.npz", FRAMES, _pixels())
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.npz", "k.npz"]
    with pytest.raises(ValueError, match="3 names, 2 of them different, for 3 frames"):
        save(path, ["a", "b", "a"], _pixels())
