"""Decoding of one image file with OpenCV, which refuses truncated ones. Needs no TensorFlow."""

import contextlib
import re
import zlib
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import UInt8

from rgcn_jax.data.datasets.image_size import check_size
from rgcn_jax.errors import InputError
from rgcn_jax.runtime.handed_over import read_file

_MARKER = re.compile(rb"\xff+([^\x00\xff])")
_NEXT_MARKER = re.compile(rb"\xff+([^\x00\xd0-\xd7\xff])")  # within compressed data; 00 and restarts belong to these


def read_image(path: Path) -> UInt8[np.ndarray, "h w 3"]:
    """RGB pixels of a JPEG or PNG file, as they are stored: a rotation noted in the file is not carried out, as the
    training pipeline does not either.

    Raises:
      InputError: the file cannot be read, is empty, of another kind, cut off, enormous, or does not decode. Some
        versions of OpenCV fill what is missing of a truncated file with grey and say nothing, so its structure is
        checked first.
    """
    try:
        data = read_file(path)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    if not data:
        raise InputError(f"{path}: the file is empty")
    if data.startswith(b"\xff\xd8"):
        whole = _jpeg_ends(data)
    elif data.startswith(b"\x89PNG\r\n\x1a\n"):
        whole = _png_ends(data)
    else:
        raise InputError(f"{path}: not a JPEG or PNG image")
    if not whole:
        raise InputError(f"{path}: the image is truncated or damaged")
    try:
        check_size(data)
    except InputError as error:
        raise InputError(f"{path}: the image {error}") from error
    image = None
    with contextlib.suppress(cv2.error):
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    if image is None:
        raise InputError(f"{path}: the image does not decode")
    return np.ascontiguousarray(image[..., ::-1])


def _jpeg_ends(data: bytes) -> bool:
    """Whether the segments of a JPEG file lead to its end marker; what follows that is no part of the image."""
    at = 2
    while found := _MARKER.match(data, at):
        marker = found[1][0]
        if marker == 0xD9:
            return True
        at = found.end()
        if marker == 0x01 or 0xD0 <= marker <= 0xD7:  # markers without a segment
            continue
        at += int.from_bytes(data[at : at + 2])
        if marker == 0xDA:  # start of scan: compressed data up to the next marker
            after = _NEXT_MARKER.search(data, at)
            if after is None:
                return False
            at = after.start()
    return False


def _png_ends(data: bytes) -> bool:
    """Whether the chunks of a PNG file, each with its checksum, lead to its end chunk."""
    at = 8
    while at + 12 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4])
        if zlib.crc32(data[at + 4 : end]) != int.from_bytes(data[end : end + 4]) or end + 4 > len(data):
            return False
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at = end + 4
    return False
