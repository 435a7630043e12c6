"""The size of an image from the first bytes of its file, against files that OpenCV wrote."""

import cv2
import numpy as np
import pytest

from rgcn_jax.data.datasets.image_size import image_size
from rgcn_jax.errors import InputError


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
    # A marker without a length, after which what looks like one is not: 64 x 32 is within a comment.
    hidden = b"\xff\xfe\xff\xe2" + b"\xff\xc0\x00\x11\x08\x00\x40\x00\x20".rjust(0xFFE0, b"\0")
    for marker in (b"\xff\x01", b"\xff\xd3"):
        path.write_bytes(whole[:2] + marker + hidden + whole[2:])
        assert image_size(path) == (37, 53)
    for bad in (b"", b"GIF89a", whole[:1], whole[:20], whole[: whole.index(b"\xff\xc0") + 6], b"\x89PNG\r\n\x1a\n\x00"):
        path.write_bytes(bad)
        with pytest.raises(InputError, match="is not a whole JPEG or PNG image"):
            image_size(path)
