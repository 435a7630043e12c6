import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints import arrays
from rgcn_jax.data.keypoints.arrays import read
from rgcn_jax.data.keypoints.skeletons import ARRAYS
from rgcn_jax.errors import InputError
from rgcn_jax.runtime import npz
from rgcn_jax.skeleton import to_14

SIZE = np.array([[256, 128]])
FRAMES = ["d/a.jpg", "d/b.jpg"]


def _keypoints(size, frames=2):
    """Keypoint v of frame f at (10 f + v + 1, 2 v + 1), confidence 0.5."""
    f, v = np.meshgrid(np.arange(frames), np.arange(size), indexing="ij")
    return np.stack([10 * f + v + 1, 2 * v + 1, np.full(f.shape, 0.5)], axis=-1).astype(np.float32)


def _fails(path, *fragments, frames=FRAMES):
    with pytest.raises(InputError) as caught:
        read(path, frames, SIZE)
    for fragment in fragments:
        assert fragment in str(caught.value)


@pytest.mark.parametrize("size", ARRAYS)
def test_the_number_of_keypoints_tells_the_skeleton(tmp_path, size):
    path = tmp_path / "k.npz"
    np.savez(path, names=[*FRAMES[::-1], "d/c.jpg"], keypoints=_keypoints(size, 3), units="pixels")
    found = read(path, FRAMES, SIZE)
    expected = {17: "coco17", 26: "coco17", 133: "coco17", 136: "coco17"}.get(size, ARRAYS[size])
    whole = _keypoints(size, 3)[[1, 0]]
    if size == 14:
        np.testing.assert_array_equal(found.pixels, whole)
    else:
        np.testing.assert_array_equal(found.pixels, to_14(whole[:, :17] if expected == "coco17" else whole, expected))
    assert (found.skeleton, len(found.unused), found.has_entry.all()) == (ARRAYS[size], 1, True)


def test_shares_become_pixels_of_each_frame(tmp_path):
    shares = np.full((2, 33, 3), [0.25, 0.5, 0.9])
    shares[0, 11, 2] = 0  # the left shoulder
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=shares, units="shares")
    pixels = read(tmp_path / "k.npz", FRAMES, np.array([[256, 128], [100, 40]])).pixels
    np.testing.assert_allclose(pixels[:, 0], [[32, 128, 0.9], [10, 50, 0.9]], rtol=1e-6)
    assert not pixels[0, [1, 5]].any()
    np.testing.assert_array_equal(read(tmp_path / "k.npz", FRAMES, SIZE).pixels[1, 0], pixels[0, 0])


def test_blazepose_must_say_its_units(tmp_path):
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=_keypoints(33))
    _fails(tmp_path / "k.npz", "without saying in which units", 'Add units="shares", or units="pixels"')
    for units in ("metres", ["pixels"], 3):
        np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=_keypoints(33), units=units)
        _fails(tmp_path / "k.npz", 'units must be "pixels" or "shares", found')


def test_names_are_looked_up_and_never_opened(tmp_path):
    outside = tmp_path / "secret.jpg"
    outside.write_bytes(b"secret")
    names = ["../secret.jpg", str(outside), "d/a.jpg", "d/b.jpg", "d/\x00.jpg", "\ud800"]
    np.savez(tmp_path / "k.npz", names=names, keypoints=_keypoints(14, 6))
    found = read(tmp_path / "k.npz", FRAMES, SIZE)
    assert len(found.unused) == 4
    np.testing.assert_array_equal(found.pixels, _keypoints(14, 6)[2:4])
    _fails(tmp_path / "k.npz", "the first is d/x.jpg", "names like ../secret.jpg", frames=["d/x.jpg"])


def test_names_that_are_no_characters(tmp_path):
    names = np.array([0x7FFFFFFF, 0, 0x61, 0], np.uint32).view("<U2")
    np.savez(tmp_path / "k.npz", names=names, keypoints=_keypoints(14))
    _fails(tmp_path / "k.npz", "has names that are not text")


def test_whole_numbers_at_the_end_of_their_range(tmp_path):
    keypoints = np.ones((2, 14, 3), np.int64)
    keypoints[1, 0, 0] = np.iinfo(np.int64).min  # whose absolute value is itself
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=keypoints)
    _fails(
        tmp_path / "k.npz", "of 1 of the 2 frames have a number that is not finite or above 1e6; the first is d/b.jpg"
    )


def test_an_archive_that_would_fill_the_memory_is_not_unpacked(tmp_path, monkeypatch):
    np.savez_compressed(tmp_path / "k.npz", names=FRAMES, keypoints=np.zeros((2, 14, 3)), other=np.zeros(10**6))
    assert (tmp_path / "k.npz").stat().st_size < 20_000
    monkeypatch.setattr(npz, "LARGEST", 10**6)
    assert len(arrays.open_arrays(tmp_path / "k.npz")) == 2  # what is not wanted does not count
    monkeypatch.setattr(npz, "LARGEST", 600)
    _fails(tmp_path / "k.npz", "cannot be read", "its arrays would take")


def test_members_that_are_no_arrays_or_there_twice(tmp_path):
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=_keypoints(14))
    with zipfile.ZipFile(tmp_path / "k.npz", "a") as archive:
        archive.writestr("keypoints", b"which np.load would prefer")
        archive.writestr("README.txt", b"made by hand")
    assert arrays.open_arrays(tmp_path / "k.npz")["keypoints"].shape == (2, 14, 3)
    with pytest.warns(UserWarning, match="Duplicate name"), zipfile.ZipFile(tmp_path / "k.npz", "a") as archive:
        archive.writestr("keypoints.npy", b"small")
    _fails(tmp_path / "k.npz", "cannot be read (it contains an array twice)")
    with zipfile.ZipFile(tmp_path / "k.npz", "w") as archive:
        archive.writestr("names.npy", b"of no form")
        archive.writestr("keypoints.npy", b"nor this")
    _fails(tmp_path / "k.npz", "cannot be read (it contains an entry that is not an array)")


def test_an_archive_that_lies_about_a_shape(tmp_path):
    np.savez(tmp_path / "k.npz", names=FRAMES, keypoints=np.zeros((2, 14, 3)))
    with zipfile.ZipFile(tmp_path / "k.npz") as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    huge = members["keypoints.npy"].replace(b"(2, 14, 3), }" + b" " * 8, b"(2, 14, 300000000), }")
    assert len(huge) == len(members["keypoints.npy"])
    assert huge != members["keypoints.npy"]
    with zipfile.ZipFile(tmp_path / "k.npz", "w") as archive:
        archive.writestr("names.npy", members["names.npy"])
        archive.writestr("keypoints.npy", huge)
    _fails(tmp_path / "k.npz", "cannot be read", "it may be cut off")


@settings(max_examples=150, deadline=None, derandomize=True)
@given(at=st.integers(0, 100_000), put=st.binary(max_size=3), cut=st.booleans())
def test_any_damage(damaged, at, put, cut):
    path, whole = damaged
    at %= len(whole)
    path.write_bytes(whole[:at] + put + (b"" if cut else whole[at + len(put) :]))
    found, reason = None, ""
    try:
        found = read(path, FRAMES, SIZE)
    except InputError as error:
        reason = str(error)
    if found is None:
        assert str(path) in reason
        return
    assert np.isfinite(found.pixels).all()


@pytest.fixture(scope="module")
def damaged(tmp_path_factory):
    path = tmp_path_factory.mktemp("arrays") / "k.npz"
    np.savez(path, names=FRAMES, keypoints=_keypoints(17), units="pixels")
    return path, path.read_bytes()
