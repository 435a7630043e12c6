"""Which name in a file is which frame, and what is said where none is."""

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.datasets.absent import beside, difference, nearest
from rgcn_jax.data.keypoints import formats, yolo
from rgcn_jax.data.keypoints.names import match
from rgcn_jax.errors import InputError
from tests.data.keypoints.bodies import people

SIZE = np.array([[256, 128]])
FRAMES = ["bbox_train/é/a.jpg", "bbox_train/é/b.jpg", "bbox_train/o/c.jpg"]
CHANGES = {
    "the same": str,
    "backslashes": lambda f: f.replace("/", "\\"),
    "decomposed": lambda f: unicodedata.normalize("NFD", f),
    "another suffix": lambda f: f.replace(".jpg", ".PNG"),
    "an absolute path": lambda f: "/home/x/MARS/" + f,
    "a drive": lambda f: "D:\\data\\MARS\\" + f.replace("/", "\\"),
    "without the first folder": lambda f: f.partition("/")[2],
    "base names": lambda f: f.rpartition("/")[2],
    "a prefix": lambda f: "results_" + f.rpartition("/")[2],
    "stems": lambda f: f.rpartition("/")[2][:-4],
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_that_can_only_be_these_frames(change, tmp_path):
    names = [CHANGES[change](frame) for frame in FRAMES]
    assert list(match(tmp_path, [*names[::-1], "other"], FRAMES).names) == names


def test_names_that_climb_or_could_be_two_frames_are_no_frames(tmp_path):
    frames = ["a/x.jpg", "b/x.jpg", "b/y.jpg"]
    assert list(match(tmp_path, ["c/x.jpg", "c/y.jpg"], frames).names) == frames
    assert list(match(tmp_path, ["../a/x.jpg", "../b/x.jpg", "../b/y.jpg"], frames).names) == frames
    assert list(match(tmp_path, ["a/x.png", "a/x.jpeg"], frames).names) == frames  # which of the two


def test_a_difference_can_be_seen():
    assert r"caf\xe9.jpg', found 'cafe\u0301.jpg' (accents" in difference("café.jpg", "cafe\u0301.jpg")
    assert "another suffix" in difference("a.jpg", "a.JPG") or "capital" in difference("a.jpg", "a.JPG")
    assert "a prefix, results_" in difference("a.json", "results_a.json")
    assert "backslashes" in difference("d/a.jpg", "d\\a.jpg")
    assert nearest("0001C1T0001F002.jpg", ["x", "0001C1T0001F001.png", "0001C1T0001F002.png"]).endswith("002.png")


def test_what_is_there_in_place_of_a_file(tmp_path):
    (tmp_path / "bbox/bbox/1").mkdir(parents=True)
    (tmp_path / "bbox/bbox/1/a.jpg").touch()
    assert "one folder deeper" in beside(tmp_path, "bbox/1/a.jpg")
    assert "another suffix" in beside(tmp_path, "bbox/bbox/1/a.png")
    (tmp_path / "empty").mkdir()
    assert "is empty" in beside(tmp_path, "empty/a.png")


def _mmpose(folder, files):
    for file, body in zip(files, people("coco17", len(files)), strict=True):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        person = {"keypoints": body[:, :2].tolist(), "keypoint_scores": body[:, 2].tolist()}
        (folder / file).write_text(json.dumps([person]))


@pytest.mark.parametrize(
    "place", ["{s}", "deeper/{d}/{s}", "predictions/{s}", "results_{s}", "{d}/{s}", "bbox_train/{d}/{s}"]
)
def test_files_are_found_where_they_lie(tmp_path, place):
    stems = [f[:-4].split("/")[1:] for f in FRAMES]
    _mmpose(tmp_path, [place.format(d=d, s=s) + ".json" for d, s in stems])
    litter = tmp_path / "predictions/@eaDir"
    litter.mkdir(parents=True)
    for name in ("._a.json", "a.json:Zone.Identifier", ".DS_Store", "thumbs.DB"):
        (tmp_path / name).write_bytes(b"\0")
    (litter / "a.json").write_bytes(b"\0")
    found = formats.read(tmp_path, FRAMES, SIZE)
    np.testing.assert_array_equal(found.pixels[:, 0], people("coco17", 3)[:, 0])


def test_a_stray_file_does_not_make_a_folder_flat(tmp_path):
    _mmpose(tmp_path, [f[:-4] + ".json" for f in FRAMES])
    (tmp_path / "summary.json").write_text("{}")
    assert formats.read(tmp_path, FRAMES, SIZE).pixels[..., 2].all()


def test_files_of_no_frame_are_shown_beside_what_was_expected(tmp_path):
    _mmpose(tmp_path, ["bbox_train/o/x-c.json"])
    with pytest.raises(InputError, match=r"expected .*found bbox_train/o/x-c.json"):
        formats.read(tmp_path, FRAMES, SIZE)


def _label(body, *more):
    return " ".join(["0 0.5 0.5 0.6 0.9", *(f"{v:.6f}" for v in (body / (128, 256, 1)).ravel()), *more]) + "\n"


def test_label_files_of_ultralytics(tmp_path):
    bodies = people("coco17", 3)
    (tmp_path / "a.txt").write_text(_label(bodies[0]))
    (tmp_path / "c.txt").write_text(_label(bodies[1] + [50, 0, 0]) + _label(bodies[2], "0.93"))
    found = formats.read(tmp_path, FRAMES, np.array([[256, 128], [256, 128], [256, 128]]))
    assert found.has_entry.tolist() == [True, False, True]
    np.testing.assert_allclose(found.pixels[[0, 2], 0], bodies[[0, 2], 0], atol=1e-3)
    (tmp_path / "extra.txt").write_text(_label(bodies[0]))
    assert formats.unused_files(tmp_path, FRAMES) == ["extra.txt"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"0 0.5 0.5 0.1 0.1\n", "boxes without keypoints"),
        (b"0 0.5 0.5 0.1 x\n", "something other than numbers"),
        (b"\xff\xfe", "something other than numbers"),
        (b"0 " * 55 + b"1_0", "something other than numbers"),
        (b"nan " * 56, "not finite"),
        (b"0 " * 39, "has a line of 39 numbers, expected 56 or 57"),
    ],
)
def test_a_label_file_is_not_what_it_must_be(text, reason):
    with pytest.raises(InputError, match=reason):
        yolo.parse_yolo(text)
    assert len(yolo.parse_yolo(b"").keypoints) == 0


_NUMBERS = st.lists(st.floats() | st.sampled_from(["x", "1_0", "", "1e400", "\ud7ff"]), min_size=55, max_size=58)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.binary(max_size=300)
    | st.lists(_NUMBERS, max_size=3).map(lambda rows: "\n".join(" ".join(map(str, r)) for r in rows).encode())
)
def test_any_label_file(text):
    try:
        people_found = yolo.parse_yolo(text).keypoints
    except InputError:
        return
    assert len(people_found) == 0 or people_found.shape[1:] == (17, 3)
    assert np.isfinite(people_found).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(st.text(alphabet="ab./\\é\u0301", max_size=8), max_size=6), st.booleans())
def test_any_names(names, joined):
    """A frame is matched with a name of the file, no name with two frames, and a name that climbs with none."""
    frames = ["a/b.jpg", "a/é.jpg", "b/a.png"]
    found = match(Path("f"), names, frames, joined).names
    assert len(found) == 3
    matched = [name for name in found if name in set(names)]
    assert len(set(matched)) == len(matched)
    assert not any(".." in name.replace("\\", "/").split("/") for name in matched)


def test_a_key_that_stands_twice(tmp_path):
    body = json.dumps(people("coco17", 1)[0].ravel().tolist())
    (tmp_path / "a.json").write_text(f'[{{"image_id": "a.jpg", "image_id": "b.jpg", "keypoints": {body}}}]')
    with pytest.raises(InputError, match="ambiguous: the key 'image_id'"):
        formats.read(tmp_path / "a.json", FRAMES, SIZE)
    (tmp_path / "op").mkdir()
    (tmp_path / "op/a_keypoints.json").write_text('{"people": [], "people": []}')
    with pytest.raises(InputError, match="ambiguous: the key 'people'"):
        formats.read(tmp_path / "op", FRAMES[:1], SIZE)
