import contextlib
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rgcn_jax.data.datasets.images import image_size, read_image
from rgcn_jax.data.datasets.orientation import orientation, turned
from rgcn_jax.errors import InputError
from rgcn_jax.types import Tracklet

IMAGE = np.random.default_rng(0).integers(0, 256, (64, 32, 3)).astype(np.uint8)
JPEG = cv2.imencode(".jpg", IMAGE)[1].tobytes()
PROGRESSIVE = cv2.imencode(".jpg", IMAGE, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1, cv2.IMWRITE_JPEG_RST_INTERVAL, 2])[1]
PNG = cv2.imencode(".png", IMAGE)[1].tobytes()
FORMS = (JPEG, PROGRESSIVE.tobytes(), PNG)


@pytest.mark.parametrize("data", FORMS)
def test_whole_files_give_rgb(tmp_path, data):
    (tmp_path / "a").write_bytes(data)
    got = read_image(tmp_path / "a")
    by_opencv = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert by_opencv is not None
    np.testing.assert_array_equal(got, by_opencv[..., ::-1])
    (tmp_path / "a").write_bytes(data + b"\0\0 what some cameras write behind the end")
    np.testing.assert_array_equal(read_image(tmp_path / "a"), got)


@pytest.mark.parametrize("data", FORMS)
def test_a_file_cut_off_anywhere_is_refused(tmp_path, data):
    path = tmp_path / "a.jpg"
    for end in {*range(0, len(data), 97), *range(max(len(data) - 40, 0), len(data)), 1, 2, 3, 9}:
        path.write_bytes(data[:end])
        if data == PNG and end >= len(data) - 20:  # all but its last chunks, which hold no pixels
            with contextlib.suppress(InputError):
                np.testing.assert_array_equal(read_image(path), IMAGE[..., ::-1])
            continue
        with pytest.raises(InputError, match=r"a\.jpg: the image is (empty|truncated)"):
            read_image(path)


def test_a_preview_within_does_not_hide_that_the_image_is_cut_off(tmp_path):
    segment = b"\xff\xe1" + (len(JPEG) + 2).to_bytes(2) + JPEG  # holds an end marker of its own
    whole = JPEG[:2] + segment + JPEG[2:]
    (tmp_path / "a").write_bytes(whole)
    assert read_image(tmp_path / "a").shape == (64, 32, 3)
    (tmp_path / "a").write_bytes(whole[:-100])
    with pytest.raises(InputError, match="truncated"):
        read_image(tmp_path / "a")


def test_damage_within_a_png_is_seen_by_its_checksum(tmp_path):
    damaged = bytearray(PNG)
    damaged[len(PNG) // 2] ^= 1
    (tmp_path / "a").write_bytes(damaged)
    with pytest.raises(InputError, match="damaged"):
        read_image(tmp_path / "a")


def test_a_rotation_noted_in_the_file_is_not_carried_out(tmp_path):
    exif = b"Exif\0\0II*\0\x08\0\0\0\x01\0" + struct.pack("<HHII", 0x0112, 3, 1, 6) + b"\0\0\0\0"
    (tmp_path / "a").write_bytes(JPEG[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2) + exif + JPEG[2:])
    assert read_image(tmp_path / "a").shape == (64, 32, 3)
    assert orientation(tmp_path / "a") == 6
    (tmp_path / "b").write_bytes(JPEG)
    tracklets = [Tracklet((name,), 1, 1) for name in ("a", "b", "missing")]
    (remark,) = turned(tmp_path, tracklets)
    assert "1 of 3 images" in remark
    assert "a (6)" in remark
    assert turned(tmp_path, tracklets[1:]) == []


def test_image_size_reads_past_other_segments_and_refuses_the_rest(tmp_path):
    image = np.random.default_rng(0).integers(0, 255, (37, 53, 3), np.uint8)
    whole = cv2.imencode(".jpg", image)[1].tobytes()
    path = tmp_path / "i"
    comment = b"\xff\xfe" + (60_002).to_bytes(2) + b"\xff\xc0" * 30_000
    for good in (whole, whole[:2] + comment + b"\xff\xff" + whole[2:], cv2.imencode(".png", image)[1].tobytes()):
        path.write_bytes(good)
        assert image_size(path) == (37, 53)
    progressive = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_PROGRESSIVE, 1])[1].tobytes()
    path.write_bytes(progressive)
    assert image_size(path) == (37, 53)
    for bad in (b"", b"GIF89a", whole[:1], whole[:20], whole[: whole.index(b"\xff\xc0") + 6], b"\x89PNG\r\n\x1a\n\x00"):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="is truncated, or no JPEG or PNG image"):
            image_size(path)


def test_what_is_no_image(tmp_path):
    (tmp_path / "text").write_text("hello")
    with pytest.raises(InputError, match="text: .*truncated"):
        read_image(tmp_path / "text")
    with pytest.raises(InputError, match=r"absent: the image cannot be read \(No such file"):
        read_image(tmp_path / "absent")
    header = b"IHDR" + struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    chunks = [struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IDAT", b"IEND")]
    (tmp_path / "vast").write_bytes(PNG[:8] + b"".join(chunks))
    with pytest.raises(InputError, match="vast: .*too many pixels"):
        read_image(tmp_path / "vast")


@given(
    start=st.sampled_from([*FORMS, b"\xff\xd8", PNG[:8], b""]), place=st.integers(0, 300), data=st.binary(max_size=80)
)
def test_any_bytes_are_an_image_or_refused(tmp_path_factory, start, place, data):
    path = tmp_path_factory.getbasetemp() / "fuzz"
    path.write_bytes(start[:place] + data + start[place + len(data) :])
    with contextlib.suppress(InputError):
        assert read_image(path).shape[2] == 3
