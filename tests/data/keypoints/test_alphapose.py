import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints.alphapose import read_images, read_results
from rgcn_jax.errors import InputError

SIZE = np.array([[256, 128]])
FRAMES = ["d/a.jpg", "d/b.jpg", "e/c.jpg"]
QUICK = settings(max_examples=120, deadline=None, derandomize=True)


def _person(size, x=40.0):
    """Keypoint i at (x, 2 i + 1) with confidence 0.5."""
    return [number for i in range(size) for number in (x, 2.0 * i + 1, 0.5)]


def _result(name, numbers):
    return {"image_id": name, "category_id": 1, "keypoints": numbers, "score": 2.0, "box": [0, 0, 1, 1], "idx": [0.0]}


def _write(path, contents):
    path.write_text(json.dumps(contents))
    return path


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("alphapose") / "f.json"


def test_results_are_found_by_base_name_in_any_order(file):
    results = [_result("c.jpg", _person(17, 30)), _result("other.jpg", _person(17)), _result("a.jpg", _person(17, 50))]
    found = read_results(_write(file, results), FRAMES, SIZE)
    assert found.has_entry.tolist() == [True, False, True]
    assert (found.skeleton, len(found.unused), found.detector) == ("coco17", 1, "alphapose")
    # Right shoulder is COCO's 6, the neck is between 5 and 6.
    assert found.pixels[:, 2].tolist() == [[50, 13, 0.5], [0, 0, 0], [30, 13, 0.5]]
    assert found.pixels[0, 1].tolist() == [50, 12, 0.5]


def test_results_are_found_by_path(file):
    results = [
        _result("e/c.jpg", _person(17, 30)),
        _result("../d/a.jpg", _person(17)),
        _result("/etc/passwd", _person(17)),
    ]
    found = read_results(_write(file, results), FRAMES, SIZE)
    assert found.has_entry.tolist() == [False, False, True]
    assert len(found.unused) == 2  # names that climb are unknown names, nothing more


@pytest.mark.parametrize(("size", "name"), [(26, "halpe26"), (133, "coco_wholebody133"), (136, "halpe136")])
def test_larger_skeletons_begin_with_coco(file, size, name):
    small = read_results(_write(file, [_result("a.jpg", _person(17))]), FRAMES, SIZE)
    large = read_results(_write(file, [_result("a.jpg", _person(size))]), FRAMES, SIZE)
    np.testing.assert_array_equal(large.pixels, small.pixels)
    assert large.skeleton == name


def test_the_subject_of_several_people_is_the_one_in_the_middle(file):
    results = [_result("a.jpg", _person(17, 5)), _result("b.jpg", _person(17, 60)), _result("a.jpg", _person(17, 70))]
    found = read_results(_write(file, [*results, _result("b.jpg", _person(17, 120))]), FRAMES, SIZE)
    assert found.pixels[:, 0, 0].tolist() == [70, 60, 0]
    narrow = read_results(file, FRAMES, np.array([[256, 12], [256, 128], [256, 128]]))
    assert narrow.pixels[:, 0, 0].tolist() == [5, 60, 0]


def test_base_names_must_be_unique(file):
    _write(file, [_result("a.jpg", _person(17))])
    with pytest.raises(InputError, match="base names.* not unique"):
        read_results(file, ["d/a.jpg", "e/a.jpg"], SIZE)


def test_an_empty_list_is_a_file_without_entries(file):
    found = read_results(_write(file, []), FRAMES, SIZE)
    assert not found.has_entry.any()
    assert (found.skeleton, found.pixels.any()) == ("", False)


@pytest.mark.parametrize(
    ("entry", "reason"),
    [
        (3, 'entry 2 has no "image_id" that is a file\'s name'),
        ({"keypoints": _person(17)}, 'entry 2 has no "image_id"'),
        (_result(17, _person(17)), 'entry 2 has no "image_id"'),
        (_result("b.jpg", None), "entry 2 (b.jpg) has a person without a list of keypoints"),
        (
            _result("b.jpg", _person(18)),
            "has 54 numbers a person, expected",
        ),
        (
            _result("b.jpg", _person(16)),
            "has 48 numbers a person, expected one of 51 (coco17)",
        ),
        (_result("b.jpg", [*_person(17), 1.0]), "has 52 numbers a person, expected"),
        (_result("b.jpg", _person(26)), "has 78 numbers a person, but entry 1 (a.jpg) has 51"),
        (_result("b.jpg", ["1", *_person(17)[1:]]), "has something other than numbers"),
        (_result("b.jpg", [True, *_person(17)[1:]]), "has something other than numbers"),
        (_result("b.jpg", [[1], *_person(17)[1:]]), "has something other than numbers"),
        (_result("b.jpg", [1.1e6, *_person(17)[1:]]), "has a number that is not finite or above 1e6"),
        (_result("x\ny" * 100, None), "entry 2 ('x\\ny"),
    ],
)
def test_a_result_is_not_what_it_must_be(file, entry, reason):
    _write(file, [_result("a.jpg", _person(17)), entry])
    with pytest.raises(InputError) as caught:
        read_results(file, FRAMES, SIZE)
    message = str(caught.value)
    assert reason in message
    assert message.startswith(f"The keypoint file {file} cannot be used, because of 1 of its entries: ")
    assert "\n" not in message
    assert len(message) < 500


def test_all_bad_entries_are_counted(file):
    _write(file, [_result(f"{i}.jpg", _person(17 if i % 2 else 16)) for i in range(10)])
    with pytest.raises(InputError, match=r"5 of its entries: entry 1 \(0.jpg\).*entry 3 .*entry 5 .*2 more"):
        read_results(file, FRAMES, SIZE)


def test_a_file_that_is_cut_off_or_another(file):
    text = json.dumps([_result("a.jpg", _person(17))])
    for end in (0, 1, 50, len(text) - 1):
        file.write_text(text[:end])
        with pytest.raises(InputError, match=rf"The keypoint file {file} is .*: write it again"):
            read_results(file, FRAMES, SIZE)
    with pytest.raises(InputError, match="AlphaPose's results are a list"):
        read_results(_write(file, {"a.jpg": {"bodies": []}}), FRAMES, SIZE)
    with pytest.raises(InputError, match="poses by image are an object"):
        read_images(_write(file, [_result("a.jpg", _person(17))]), FRAMES, SIZE)


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), 10**400])
def test_a_number_that_is_no_json(file, number):
    _write(file, [_result("a.jpg", _person(17)), _result("b.jpg", [number, *_person(17)[1:]])])
    with pytest.raises(InputError, match="at entry 2"):
        read_results(file, FRAMES, SIZE)


@pytest.mark.parametrize("form", [("bodies", "joints"), ("people", "pose_keypoints_2d")])
def test_poses_by_image(file, form):
    image, person = form
    contents = {
        "a.jpg": {
            "version": "AlphaPose v0.3",
            image: [{person: _person(18, 5)}, {person: _person(18, 50), "score": 1.0}],
        },
        "b.jpg": {image: []},
        "x.jpg": {image: [{person: _person(18)}]},
    }
    found = read_images(_write(file, contents), FRAMES, SIZE)
    assert found.has_entry.tolist() == [True, True, False]
    assert (found.skeleton, len(found.unused)) == ("openpose_coco18", 1)
    assert found.pixels[0, 8].tolist() == [50, 17, 0.5]
    assert not found.pixels[1:].any()


def test_agrl_joins_the_folders_where_base_names_repeat(file):
    frames = [f"multi_shot/cam_{c}/person_{p:04d}/0001.png" for c in "ab" for p in (1, 2)]
    keys = [f"cam_{c}-person_{p:04d}-0001.png" for c in "ab" for p in (1, 2)]
    found = read_images(
        _write(file, {key: {"bodies": [{"joints": _person(18, 10 * i + 10)}]} for i, key in enumerate(keys)}),
        frames,
        SIZE,
    )
    assert found.pixels[:, 0, 0].tolist() == [10, 20, 30, 40]
    duke = [f"{part}/0148/0212/0148_C5_F0006_X89499.jpg" for part in ("query", "gallery")]
    _write(file, {"0148-0212-0148_C5_F0006_X89499.jpg": {"bodies": [{"joints": _person(18)}]}})
    found = read_images(file, duke, np.array([[256, 128], [256, 128]]))
    assert (found.has_entry.all(), len(found.unused)) == (True, 0)
    np.testing.assert_array_equal(found.pixels[0], found.pixels[1])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"a.jpg": 3}', 'a.jpg has no list "bodies" or "people"'),
        ('{"a.jpg": {"bodies": {}}}', 'a.jpg has no list "bodies" or "people"'),
        ('{"a.jpg": {"bodies": [3]}}', "a.jpg has a person without a list of keypoints"),
        ('{"a.jpg": {"bodies": []}, "a.jpg": {"bodies": []}}', "a.jpg is in it twice"),
        (json.dumps({"a.jpg": {"bodies": [{"joints": _person(17)}]}}), "has 51 numbers a person, expected"),
    ],
)
def test_an_image_is_not_what_it_must_be(file, text, reason):
    file.write_text(text)
    with pytest.raises(InputError) as caught:
        read_images(file, FRAMES, SIZE)
    assert reason in str(caught.value)


_anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
_numbers = st.tuples(st.floats() | st.integers(min_value=10**300) | _anything, st.sampled_from([0, 51, 54, 52])).map(
    lambda pair: [0.5] * (pair[1] - 1) + [pair[0]]
)
_name = st.sampled_from(["a.jpg", "d/a.jpg", "../d/a.jpg", "\ud800", "a\x00.jpg", ""]) | st.text(max_size=3)
_results = st.lists(
    st.fixed_dictionaries({"image_id": _name | _anything, "keypoints": _numbers | _anything}) | _anything
)
_bodies = st.lists(st.fixed_dictionaries({"joints": _numbers | _anything}) | _anything, max_size=2)
_images = st.dictionaries(_name, st.fixed_dictionaries({"bodies": _bodies | _anything}) | _anything, max_size=3)


def _reads_or_says_why(file):
    for read in (read_results, read_images):
        found, reason = None, ""
        try:
            found = read(file, FRAMES, SIZE)
        except InputError as error:
            reason = str(error)
        if found is None:
            assert str(file) in reason
            continue
        assert found.pixels.shape == (3, 14, 3)
        assert np.isfinite(found.pixels).all()
        assert not found.pixels[~found.has_entry].any()


@QUICK
@given(contents=_results | _images)
def test_any_json(file, contents):
    _reads_or_says_why(_write(file, contents))


@QUICK
@given(
    at=st.integers(0, 10_000),
    put=st.sampled_from([b"", b"0", b"}", b'"', b"-", b"e9", b"NaN", b"\x00", b"\xc3", b"],"]),
)
def test_any_damage(file, at, put):
    whole = json.dumps([_result(name, _person(17)) for name in ("a.jpg", "b.jpg", "c.jpg")]).encode()
    at %= len(whole)
    file.write_bytes(whole[:at] + put + whole[at + 1 :])
    _reads_or_says_why(file)
