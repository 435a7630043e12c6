import json
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints.frame_files import read_folder
from rgcn_jax.data.keypoints.numbers import LARGEST_FRAME
from rgcn_jax.data.keypoints.openpose import PROGRAM, parse_openpose, write_folder
from rgcn_jax.errors import InputError

SIZE = np.array([[256, 128]])
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def _file(*people):
    return json.dumps({"version": 1.3, "people": [{"pose_keypoints_2d": list(p)} for p in people]}).encode()


def _person(size, x=40.0):
    """Keypoint i at (x, 2 i) with confidence 0.5."""
    return [number for i in range(size) for number in (x, 2.0 * i, 0.5)]


@pytest.mark.parametrize("size", [25, 18])
def test_the_skeleton_is_told_by_the_number_of_numbers(size):
    people = parse_openpose(_file(_person(size), _person(size, 50))).keypoints
    assert people.shape == (2, size, 3)
    assert people[1, 3].tolist() == [50, 6, 0.5]
    assert parse_openpose(_file()).keypoints.shape == (0, 25, 3)


def test_both_skeletons_give_the_14_keypoints(tmp_path):
    for size, hip in ((25, 9), (18, 8)):
        folder = tmp_path / str(size)
        folder.mkdir()
        (folder / "a_keypoints.json").write_bytes(_file(_person(size)))
        (folder / "b_keypoints.json").write_bytes(_file())
        pixels = read_folder(PROGRAM, folder, ["x/a.jpg", "x/b.jpg"], SIZE).pixels
        assert pixels[0, 8].tolist() == [40, 2 * hip, 0.5]
        assert pixels[0, 1].tolist() == [40, 2, 0.5]
        assert not pixels[1].any()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty, zero bytes"),
        (_file(_person(25))[:-9], "is not JSON or is cut off"),
        (b"\xff\xfe\x00", "is not JSON or is cut off"),
        (b"[" * 200_000, "is not JSON or is cut off"),
        (b"[]", 'has no list "people", so OpenPose did not write it'),
        (b'{"people": 3}', 'has no list "people"'),
        (b'{"people": [3]}', 'has a person without a list "pose_keypoints_2d"'),
        (b'{"people": [{"pose_keypoints": []}]}', 'has a person without a list "pose_keypoints_2d"'),
        (
            _file(_person(17)),
            "has 51 numbers a person, expected 75 (BODY_25) or 54",
        ),
        (_file(_person(21)), "has 63 numbers a person, expected 75 (BODY_25) or 54"),
        (_file([1.0, 2.0]), "has 2 numbers a person, expected 75"),
        (_file(_person(25), _person(18)), "has people of different skeletons"),
        (_file([*_person(25)[:-1], "1.0"]), "has something other than numbers"),
        (_file([*_person(25)[:-1], None]), "has something other than numbers"),
        (_file([*_person(25)[:-1], True]), "has something other than numbers"),
        (_file([*_person(25)[:-1], [1.0]]), "has something other than numbers"),
        (_file([*_person(25)[:-1], float("nan")]), "has a number that is not finite or above 1e6"),
        (_file([*_person(25)[:-1], float("-inf")]), "has a number that is not finite or above 1e6"),
        (_file([*_person(25)[:-1], 1e30]), "has a number that is not finite or above 1e6"),
        (_file([*_person(25)[:-1], 10**400]), "has a number that is not finite or above 1e6"),
    ],
)
def test_a_file_is_not_what_it_must_be(text, reason):
    with pytest.raises(InputError) as caught:
        parse_openpose(text)
    assert reason in str(caught.value)


def _parses_or_says_why(text):
    try:
        people = parse_openpose(text).keypoints
    except InputError:
        return
    assert people.dtype == np.float32
    assert people.shape[1:] in ((25, 3), (18, 3))
    assert np.isfinite(people).all()


@QUICK
@given(st.binary(max_size=200))
def test_any_bytes(text):
    _parses_or_says_why(text)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=8,
)
_number = st.floats() | st.integers() | st.integers(min_value=10**300) | _anything
_numbers = (
    st.sampled_from([0, 54, 75, 74])
    .flatmap(lambda n: st.tuples(_number, st.just(n)))
    .map(lambda pair: [0.5] * (pair[1] - 1) + [pair[0]])
)
_people = st.lists(st.fixed_dictionaries({"pose_keypoints_2d": _numbers | _anything}) | _anything, max_size=3)


@QUICK
@given(st.fixed_dictionaries({"people": _people | _anything}) | _anything)
def test_any_json(contents):
    _parses_or_says_why(json.dumps(contents).encode())


@QUICK
@given(st.integers(0, 10_000), st.sampled_from([b"", b"0", b"}", b'"', b"-", b"e9", b"NaN", b"\x00", b"\xc3"]))
def test_any_damage(at, put):
    text = _file(_person(18), _person(18))
    at %= len(text)
    _parses_or_says_why(text[:at] + put + text[at + 1 :])


def test_several_people_in_a_folder(tmp_path):
    (tmp_path / "a_keypoints.json").write_bytes(_file(_person(25, 5), _person(25, 60)))
    (tmp_path / "b_keypoints.json").write_bytes(_file(_person(25, 60), _person(25, 5)))
    # For a crop that is 16 pixels wide the one at 5 is the subject.
    pixels = read_folder(PROGRAM, tmp_path, ["a.jpg", "b.jpg", "x/a.png"][:2], np.array([[256, 128], [256, 16]])).pixels
    assert pixels[:, 0, 0].tolist() == [60, 5]


def test_all_bad_files_are_counted(tmp_path):
    frames = [f"d/{i:04d}.jpg" for i in range(1200)]
    (tmp_path / "d").mkdir()
    for i, frame in enumerate(frames):
        bad = i in (3, 700, 701, 1199)
        (tmp_path / f"{frame[:-4]}_keypoints.json").write_bytes(_file(_person(17)) if bad else _file())
    (tmp_path / "d/0700_keypoints.json").unlink()
    (tmp_path / "d/0700_keypoints.json").mkdir()
    with pytest.raises(InputError) as caught:
        read_folder(PROGRAM, tmp_path, frames, SIZE)
    message = str(caught.value)
    assert f"4 of the 1,200 keypoint files in {tmp_path} cannot be used: d/0003_keypoints.json has 51" in message
    assert "d/0700_keypoints.json cannot be read (Is a directory)" in message
    assert "and 1 more. Run OpenPose (BODY_25 or COCO) again" in message


def test_a_folder_mixes_skeletons(tmp_path):
    (tmp_path / "a_keypoints.json").write_bytes(_file(_person(25)))
    (tmp_path / "b_keypoints.json").write_bytes(_file(_person(18)))
    with pytest.raises(InputError, match="a_keypoints.json .*openpose_body25 .*b_keypoints.json .*openpose_coco18"):
        read_folder(PROGRAM, tmp_path, ["a.jpg", "b.jpg"], SIZE)


def test_a_folder_has_not_what_is_asked_for(tmp_path):
    with pytest.raises(InputError, match="is empty: expected OpenPose files"):
        read_folder(PROGRAM, tmp_path, ["d/a.jpg"], SIZE)
    (tmp_path / "readme.txt").touch()
    with pytest.raises(InputError) as caught:
        read_folder(PROGRAM, tmp_path, ["d/a.jpg"], SIZE)
    assert "no keypoints for any of the 1 frames" in str(caught.value)
    assert f"{tmp_path / 'a_keypoints.json'} or {tmp_path / 'd/a_keypoints.json'}, found readme.txt" in str(
        caught.value
    )
    (tmp_path / "a_keypoints.json").write_bytes(_file())
    with pytest.raises(InputError) as caught:
        read_folder(PROGRAM, tmp_path, ["d/a.jpg", "d/b.jpg", "d/c.jpg"], SIZE)
    assert "missing for 2 of the 3 frames; the first is d/b.jpg (no file" in str(caught.value)
    assert "run OpenPose on these frames too; where it finds nobody it writes a file with an empty list" in str(
        caught.value
    )
    with pytest.raises(InputError, match="d/a.jpg .*e/a.jpg .*a_keypoints.json"):
        read_folder(PROGRAM, tmp_path, ["d/a.jpg", "e/a.jpg"], SIZE)


def test_a_file_is_too_large_for_one_frame(tmp_path):
    with (tmp_path / "a_keypoints.json").open("wb") as file:
        file.write(_file(_person(25)))
        file.truncate(200 * 2**20)  # sparse: it takes no room on the disk
    (tmp_path / "b_keypoints.json").write_bytes(_file(_person(25)))
    with pytest.raises(InputError, match="1 of the 2 .*a_keypoints.json .*10 MiB"):
        read_folder(PROGRAM, tmp_path, ["a.jpg", "b.jpg"], SIZE)
    with pytest.raises(InputError, match="is not JSON or is cut off"):
        parse_openpose(b'{"people": ' + b"[" * (LARGEST_FRAME - 11))


def test_symbolic_links_out_of_the_folder_are_refused(tmp_path):
    outside, root = tmp_path / "outside", tmp_path / "root"
    for folder in (outside, root / "d", root / "e"):
        folder.mkdir(parents=True)
    for stem in "abc":
        (outside / f"{stem}_keypoints.json").write_bytes(_file(_person(25)))
    (root / "e/b_keypoints.json").write_bytes(_file(_person(25)))
    (root / "d/a_keypoints.json").symlink_to(outside / "a_keypoints.json")
    (root / "d/b_keypoints.json").symlink_to(root / "e/b_keypoints.json")  # within: allowed
    (root / "f").symlink_to(outside)
    with pytest.raises(InputError) as caught:
        read_folder(PROGRAM, root, ["d/a.jpg", "d/b.jpg", "e/b.jpg", "f/c.jpg"], SIZE)
    message = str(caught.value)
    assert f"2 entries of the keypoint folder {root} are not read" in message
    assert "d/a_keypoints.json leads out of it by a symbolic link" in message
    assert "f leads out of it by a symbolic link" in message
    assert len(read_folder(PROGRAM, root, ["d/b.jpg", "e/b.jpg"], SIZE).pixels) == 2
    (tmp_path / "link").symlink_to(root)  # the folder itself may be one
    assert read_folder(PROGRAM, tmp_path / "link", ["e/b.jpg"], SIZE).pixels.any()


def test_frames_that_climb_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "a_keypoints.json").write_bytes(_file(_person(25)))
    (tmp_path / "root").mkdir()
    (tmp_path / "root/x.txt").touch()
    with pytest.raises(InputError, match=r"\.\. leads out of it"):
        read_folder(PROGRAM, tmp_path / "root", ["../a.jpg"], SIZE)


@pytest.mark.parametrize("linked", [False, True])
def test_a_pipe_is_not_waited_for(tmp_path, linked):
    os.mkfifo(tmp_path / ("pipe" if linked else "a_keypoints.json"))
    if linked:
        (tmp_path / "a_keypoints.json").symlink_to(tmp_path / "pipe")
    with pytest.raises(InputError, match="a_keypoints.json is a pipe"):
        read_folder(PROGRAM, tmp_path, ["a.jpg"], SIZE)


def test_names_that_are_not_utf8(tmp_path):
    name = os.fsdecode(b"\xff\xfe")
    (tmp_path / f"{name}_keypoints.json").write_bytes(_file(_person(25)))
    assert read_folder(PROGRAM, tmp_path, [f"{name}.jpg"], SIZE).pixels.any()
    with pytest.raises(InputError) as caught:
        read_folder(PROGRAM, tmp_path, ["a.jpg"], SIZE)
    str(caught.value).replace(f"{name}", "").encode()  # whatever the file's name adds can be printed


def test_what_is_written_reads_as_the_same_numbers(tmp_path):
    rng = np.random.default_rng(0)
    pixels = (rng.uniform(0, 1, (4, 14, 3)) * [128, 256, 1]).astype(np.float32)
    pixels[1, 3:9] = 0
    pixels[2] = 0
    frames = ["d/a.jpg", "d/b.jpg", "e/a.jpg", "e/f/g.h.png"]
    write_folder(tmp_path / "out", frames, pixels)
    found = read_folder(PROGRAM, tmp_path / "out", frames, SIZE)
    np.testing.assert_array_equal(found.pixels, pixels)
    assert found.skeleton == "openpose_body25"
    contents = json.loads((tmp_path / "out/d/a_keypoints.json").read_text())
    body = np.array(contents["people"][0]["pose_keypoints_2d"]).reshape(25, 3)
    np.testing.assert_allclose(body[8, :2], (body[9] + body[12])[:2] / 2, rtol=1e-6)
    assert not body[15:].any()
    assert json.loads((tmp_path / "out/e/a_keypoints.json").read_text())["people"] == []
    with pytest.raises(InputError, match="is there already"):
        write_folder(tmp_path / "out", frames, pixels)


def test_what_cannot_be_written_leaves_nothing(tmp_path):
    pixels = np.ones((2, 14, 3), np.float32)
    with pytest.raises(InputError, match=r"there is no folder .*no, make it first"):
        write_folder(tmp_path / "no/out", ["d/a.jpg", "d/b.jpg"], pixels)
    for frame in ("../a.jpg", "d/../../a.jpg", "/a.jpg"):
        with pytest.raises(InputError, match="would lie outside of"):
            write_folder(tmp_path / "out", ["d/b.jpg", frame], pixels)
    with pytest.raises(InputError, match=r"out .*\(File name too long\)"):
        write_folder(tmp_path / "out", ["d/a.jpg", f"d/{'b' * 300}.jpg"], pixels)
    assert not list(tmp_path.iterdir())
