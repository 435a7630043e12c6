import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rgcn_jax.data.keypoints.coco_csv import read
from rgcn_jax.errors import InputError

SIZE = np.array([[128, 64]])
FRAMES = ["sequences/cam1/person001/cam1_person001_00319.png", "sequences/cam2/person001/cam2_person001_00001.png"]
NAMES = [frame.rpartition("/")[2] for frame in FRAMES]
PARTS = ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
POINTS = [
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    *(f"{s}_{p}" for p in PARTS for s in ("left", "right")),
]
HEADER = ",".join(["image_name", *(f"{point}_{of}" for point in POINTS for of in ("x", "y", "conf"))])
QUICK = settings(max_examples=150, deadline=None, derandomize=True)


def _row(name, x: float | str = 30.04):
    return ",".join([name, *(f"{x},{2 * i + 1},0.25" for i in range(17))])


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    return tmp_path_factory.mktemp("csv") / "poses.csv"


def _write(file, *lines):
    file.write_text("\n".join(lines) + "\n")
    return file


def test_rows_by_base_name(file):
    found = read(_write(file, HEADER, _row(NAMES[1], 20), _row("other.png"), "", _row(NAMES[0])), FRAMES, SIZE)
    np.testing.assert_allclose(found.pixels[:, 2], [[30.04, 13, 0.25], [20, 13, 0.25]], rtol=1e-6)
    assert (found.skeleton, len(found.unused), found.has_entry.all()) == ("coco17", 1, True)


def test_rows_by_path_and_windows_line_ends(file):
    file.write_bytes(b"\xef\xbb\xbf" + "\r\n".join([HEADER, _row(FRAMES[0])]).encode())
    found = read(file, FRAMES, SIZE)
    assert found.has_entry.tolist() == [True, False]
    assert not found.pixels[1].any()


def test_empty_fields_are_a_keypoint_that_was_not_found(file):
    fields = _row(NAMES[0]).split(",")
    fields[1 + 3 * 6 : 4 + 3 * 6] = ["", "", ""]  # the right shoulder
    pixels = read(_write(file, HEADER, ",".join(fields)), FRAMES, SIZE).pixels
    assert not pixels[0, 1:3].any()  # nor is there a neck
    assert pixels[0, 5].all()
    fields[1] = ""
    with pytest.raises(InputError, match=r"line 2 has a field that is not a number"):
        read(_write(file, HEADER, ",".join(fields)), FRAMES, SIZE)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (NAMES[1], "line 3 has 0 numbers a person, expected one of 51"),
        (_row(NAMES[1]) + ",1", "line 3 has 52 numbers a person"),
        (_row(NAMES[1], "nan"), "line 3 has a number that is not finite or above 1e6"),
        (_row(NAMES[1], "1_0"), "line 3 has a field that is not a number"),
        (_row(NAMES[1], "1e9"), "line 3 has a number that is not finite or above 1e6"),
        (_row(NAMES[1], "left"), "line 3 has a field that is not a number (could not convert string to float: 'left')"),
        (_row(NAMES[0]), f"lines 2 and 3 are both of {NAMES[0]}"),
    ],
)
def test_a_row_is_not_what_it_must_be(file, row, reason):
    with pytest.raises(InputError) as caught:
        read(_write(file, HEADER, _row(NAMES[0]), row), FRAMES, SIZE)
    assert f"The keypoint file {file} cannot be used, because of 1 of its entries: {reason}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"", "must name the columns of COCO's 17 keypoints in their order"),
        (_row(NAMES[0]).encode(), "must name the columns of COCO's 17 keypoints in their order"),
        (HEADER.replace("left_hip", "right_hip").encode(), "must name the columns"),
        (HEADER.encode() + b"\n\xff", "is not text in UTF-8"),
        (HEADER.encode() + b'\n"a', "is not CSV (unexpected end of data)"),
        (HEADER.encode() + b"\n" + b"a" * 200_000, "is not CSV (field larger than field limit"),
    ],
)
def test_the_file_is_another(file, text, reason):
    file.write_bytes(text)
    with pytest.raises(InputError) as caught:
        read(file, FRAMES, SIZE)
    assert reason in str(caught.value)
    assert str(file) in str(caught.value)


def _reads_or_says_why(file):
    found, reason = None, ""
    try:
        found = read(file, FRAMES, SIZE)
    except InputError as error:
        reason = str(error)
    if found is None:
        assert str(file) in reason
        return
    assert np.isfinite(found.pixels).all()


@QUICK
@given(
    at=st.integers(0, 10_000),
    put=st.sampled_from([b"", b"\n", b",", b'"', b"\x00", b"nan", b"e999", b"_", b"\xff", b"../"]),
)
def test_any_damage(file, at, put):
    whole = "\n".join([HEADER, *map(_row, NAMES)]).encode()
    at %= len(whole)
    file.write_bytes(whole[:at] + put + whole[at + 1 :])
    _reads_or_says_why(file)


@QUICK
@given(
    rows=st.lists(
        st.lists(st.text(max_size=4), max_size=3) | st.lists(st.text(max_size=4), min_size=52, max_size=52), max_size=3
    )
)
def test_any_fields(file, rows):
    file.write_text("\n".join([HEADER, *(",".join(row) for row in rows)]), "utf-8", "surrogatepass")
    _reads_or_says_why(file)
