import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints.frame_files import read_folder
from rgcn_jax.data.keypoints.mmpose import PROGRAM, parse_mmpose
from rgcn_jax.errors import InputError

SIZE = np.array([[256, 128]])
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def _person(size, x=40.0):
    points = [[x, 2.0 * i + 1] for i in range(size)]
    return {"keypoints": points, "keypoint_scores": [0.5] * size, "bbox": [[0, 0, 1, 1]], "bbox_score": 0.9}


def _file(*people):
    return json.dumps(list(people)).encode()


@pytest.mark.parametrize("size", [17, 26, 133, 136])
def test_people_as_they_stand(size):
    people = parse_mmpose(_file(_person(size), _person(size, 50))).keypoints
    assert people.shape == (2, size, 3)
    assert people[1, 3].tolist() == [50, 7, 0.5]


def test_the_list_may_be_wrapped():
    people = [_person(17)]
    for wrapped in ({"predictions": people}, {"predictions": [people]}, {"meta_info": {}, "instance_info": people}):
        assert parse_mmpose(json.dumps(wrapped).encode()).keypoints.shape == (1, 17, 3)
    assert len(parse_mmpose(b"[]").keypoints) == len(parse_mmpose(b'{"predictions": [[]]}').keypoints) == 0


@pytest.mark.parametrize("folders", [False, True])
def test_a_folder_flat_or_with_the_frames_folders(tmp_path, folders):
    for frame, people in {"d/a": [_person(17, 5), _person(17, 60)], "d/b": [], "e/c": [_person(17, 30)]}.items():
        file = tmp_path / (f"{frame}.json" if folders else f"{frame[2:]}.json")
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(_file(*people))
    found = read_folder(PROGRAM, tmp_path, ["d/a.jpg", "d/b.jpg", "e/c.jpg"], SIZE)
    assert found.pixels[:, 2].tolist() == [[60, 13, 0.5], [0, 0, 0], [30, 13, 0.5]]
    assert (found.skeleton, found.has_entry.all()) == ("coco17", True)
    with pytest.raises(InputError, match="1 of the 2 frames.* d/x.jpg"):
        read_folder(PROGRAM, tmp_path, ["d/a.jpg", "d/x.jpg"], SIZE)


def _changed(**fields):
    return _file({**_person(17), **fields})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "is empty, zero bytes"),
        (_file(_person(17))[:-9], "is not JSON or is cut off"),
        (b"[" * 200_000, "is not JSON or is cut off"),
        (b"3", "has no list of people, so MMPose did not write it"),
        (b'{"people": []}', "has no list of people"),
        (b"[3]", 'has a person without lists "keypoints" and "keypoint_scores"'),
        (_changed(keypoint_scores=None), 'has a person without lists "keypoints" and "keypoint_scores"'),
        (_changed(keypoint_scores=[0.5] * 16), "has a person with 17 keypoints and 16 scores"),
        (
            _file(_person(21)),
            "has 21 keypoints a person, expected one of 17 (coco17), 26",
        ),
        (_file(_person(17), _person(26)), "has people of different skeletons"),
        (_changed(keypoints=[[1.0, 2.0, 3.0]] * 17), "has a keypoint of 3 numbers, expected x and y"),
        (_changed(keypoints=[3.0] * 17), "has something other than numbers"),
        (_changed(keypoints=[["1", 2.0]] * 17), "has something other than numbers"),
        (_changed(keypoint_scores=[True] * 17), "has something other than numbers"),
        (_changed(keypoint_scores=[float("nan")] * 17), "has a number that is not finite or above 1e6"),
        (_changed(keypoint_scores=[10**400] * 17), "has a number that is not finite or above 1e6"),
    ],
)
def test_a_file_is_not_what_it_must_be(text, reason):
    with pytest.raises(InputError) as caught:
        parse_mmpose(text)
    assert reason in str(caught.value)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_point = st.tuples(st.floats() | st.integers(min_value=10**300) | _anything, st.floats()).map(list) | _anything
_people = st.lists(
    st.fixed_dictionaries(
        {
            "keypoints": st.lists(_point, min_size=1, max_size=1).map(lambda p: p * 17),
            "keypoint_scores": st.just([0.5] * 17),
        }
    )
    | _anything,
    max_size=2,
)


def _parses_or_says_why(text):
    try:
        people = parse_mmpose(text).keypoints
    except InputError:
        return
    assert np.isfinite(people).all()
    assert len(people) == 0 or people.shape[1] in (17, 26, 133, 136)


@QUICK
@given(_people | _anything | st.fixed_dictionaries({"predictions": _people | _anything}))
def test_any_json(contents):
    _parses_or_says_why(json.dumps(contents).encode())


@QUICK
@given(st.binary(max_size=100) | st.integers(0, 2000).map(lambda n: _file(_person(17))[:n]))
def test_any_bytes(text):
    _parses_or_says_why(text)
