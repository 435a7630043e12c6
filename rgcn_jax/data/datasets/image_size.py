"""The size of an image from the first bytes of its file, without decoding it."""

import io
import os
import struct
from typing import BinaryIO

from rgcn_jax.errors import InputError
from rgcn_jax.runtime.handed_over import open_file

LARGEST_SIDE = 8192
"""Pixels. A picture of 8K is 7,680 wide; a few kilobytes of JPEG or PNG may claim 65,535, and take gigabytes."""


def image_size(path: str | os.PathLike[str]) -> tuple[int, int]:
    """Height and width in pixels from the header of a JPEG or PNG file. Raises InputError if there is none."""
    try:
        with open_file(path) as file:
            size = _size(file)
    except OSError as error:
        raise InputError(f"The image {path} cannot be read ({error.strerror}).") from error
    if size is None:
        raise InputError(f"{path} is not a whole JPEG or PNG image: copy it from the data set again.")
    return size


def check_size(encoded: bytes) -> None:
    """Before an image is decoded: it says that it is a JPEG or PNG, and of what size.

    Raises:
      InputError: it is neither, or has more than ``LARGEST_SIDE`` pixels one way; the end of a sentence.
    """
    size = _size(io.BytesIO(encoded))
    if size is None:
        raise InputError("is truncated, or no JPEG or PNG image")
    if max(size) > LARGEST_SIDE:
        raise InputError(f"has {size[1]:,} x {size[0]:,} pixels: make it smaller, {LARGEST_SIDE:,} are read at most")


def _size(file: BinaryIO | io.BufferedIOBase) -> tuple[int, int] | None:
    """Height and width."""
    start = file.read(24)
    width = height = 0
    try:
        if start.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack(">II", start[16:])
        elif start.startswith(b"\xff\xd8"):
            file.seek(2)
            while (marker := file.read(4))[:1] == b"\xff" and len(marker) == 4:
                if marker[1] == 0xFF:  # a fill byte before the marker
                    file.seek(-3, os.SEEK_CUR)
                elif marker[1] == 0x01 or 0xD0 <= marker[1] <= 0xD7:  # markers without a length
                    file.seek(-2, os.SEEK_CUR)
                elif 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):  # start of frame
                    _, height, width = struct.unpack(">BHH", file.read(5))
                    break
                else:
                    file.seek(int.from_bytes(marker[2:]) - 2, os.SEEK_CUR)
    except struct.error:  # cut off within the header
        return None
    return (height, width) if height and width else None
