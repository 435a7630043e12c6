"""Reader of MATLAB files of version 5 (MATLAB's ``-v6`` and ``-v7``), for one numeric or character matrix.

SciPy reads such files too, but does not validate them. A wrong byte in a type or a size ends the process with a
segmentation fault, as with 2 % of damaged copies of a list of MARS. A few kilobytes can decompress to any size. Here
every number is checked before use, and only the headers of other matrices are decompressed. SciPy in a separate process
would start Python and SciPy for every list.

A file has a header of 128 bytes, followed by elements. An element is a tag, two uint32 for type and size, and the
contents. A matrix is an element that contains others: flags with its class, dimensions, name, real part. A compressed
matrix is an element with a matrix compressed by zlib.
"""

import struct
import zlib
from collections.abc import Iterator
from itertools import islice
from math import prod

import numpy as np
from jaxtyping import Num

LARGEST = 10_000_000
"""Default limit on the numbers in a matrix. The lists of every supported data set are far smaller."""

_MATRIX, _PACKED = 14, 15
_TYPES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
_ENCODINGS = {2: "latin-1", 4: "utf-16", 16: "utf-8", 17: "utf-16"}
_CHARACTERS = 4
_NUMERIC = range(6, 16)  # classes: double, single, and the eight integer types
_COMPLEX = 0x0800
_HEAD = 4096  # bytes that contain the header of any matrix that is read


def read(file: bytes, key: str, largest: int = LARGEST) -> tuple[Num[np.ndarray, "rows columns"] | None, list[str]]:
    """Read the matrix called ``key``, and the names before it.

    Args:
      file: the contents of the file.
      key: name of the matrix.
      largest: maximum number of elements.

    Returns:
      The first matrix of that name, or None if there is none; the names of the matrices before it.

    Raises:
      ValueError: the file is truncated, damaged or of another format, or the matrix has more than ``largest`` numbers.
      TypeError: ``key`` is not a real matrix of numbers with two axes.
    """
    contents, order, names = _find(file, key, largest)
    return (None if contents is None else _matrix(contents, order, largest)), names


def read_text(file: bytes, key: str, largest: int = LARGEST) -> list[str]:
    """Read the rows of a matrix of characters, without trailing spaces. ``read`` lists the names.

    Raises:
      ValueError: the file is damaged, or the matrix has more than ``largest`` characters.
      TypeError: ``key`` is missing or not a matrix of characters.
    """
    contents, order, _ = _find(file, key, largest)
    return _text(contents or b"", order)


def _find(file: bytes, key: str, largest: int) -> tuple[bytes | None, str, list[str]]:
    """Find the first matrix called ``key``; return its contents, the byte order, and the names before it."""
    order = {b"IM": "<", b"MI": ">"}.get(file[126:128])
    if order is None or len(file) < 128:
        raise ValueError("it is of an unknown format: save it in MATLAB again, by save('-v7')")
    names = []
    for kind, contents in _elements(file[128:], order):
        head = contents
        if kind == _PACKED:
            kind, head = _unpacked(contents, order, _HEAD)
        if kind != _MATRIX:
            raise ValueError(f"a part of type {kind} where a matrix was expected")
        name = _name(head, order)
        if name == key:
            whole = 8 * largest + _HEAD
            return (contents if head is contents else _unpacked(contents, order, whole, True)[1]), order, names
        names.append(name)
    return None, order, names


def _elements(data: bytes, order: str, padded: bool = False) -> Iterator[tuple[int, bytes]]:
    """Yield type and contents of consecutive elements."""
    at = 0
    while at < len(data):
        if at + 8 > len(data):
            raise ValueError("it is cut off")
        kind, size = struct.unpack_from(f"{order}II", data, at)
        if kind >> 16:  # up to four bytes of contents are in the tag
            kind, size = kind & 0xFFFF, kind >> 16
            start, end = at + 4, at + 8
            if size > 4:
                raise ValueError("a size is wrong")
        else:
            start = at + 8
            end = start + size + (-size % 8 if padded else 0)
            if start + size > len(data):
                raise ValueError("it is cut off")
        yield kind, data[start : start + size]
        at = end


def _unpacked(packed: bytes, order: str, most: int, to_the_end: bool = False) -> tuple[int, bytes]:
    """Decompress at most ``most`` bytes of an element; return its type and contents.

    If ``to_the_end`` is true, these must be all bytes.
    """
    stream = zlib.decompressobj()
    try:
        data = stream.decompress(packed, most + 8)
    except zlib.error as error:
        raise ValueError(str(error)) from error
    if to_the_end and len(data) == most + 8:
        raise ValueError(f"it is a matrix of more than {(most - _HEAD) // 8:,} numbers")
    if len(data) < 8 or (to_the_end and not stream.eof):
        raise ValueError("it is cut off")
    kind, size = struct.unpack_from(f"{order}II", data)
    return kind, data[8 : 8 + size]


def _name(head: bytes, order: str) -> str:
    """Name of a matrix; empty if MATLAB saved it without a name."""
    parts = list(islice(_elements(head, order, padded=True), 3))
    return parts[2][1].decode("utf-8", "replace") if len(parts) == 3 else ""


def _shape(contents: bytes, order: str) -> tuple[int, list[int], int, bytes]:
    """Return the flags of a matrix, its dimensions, and type and contents of its real part."""
    parts = list(islice(_elements(contents, order, padded=True), 4))
    if len(parts) < 4:
        raise TypeError("it is no matrix of numbers")
    (_, flags), (_, dimensions), _, (kind, numbers) = parts
    word = int.from_bytes(flags[:4], "little" if order == "<" else "big")
    shape = [size for (size,) in struct.iter_unpack(f"{order}i", dimensions[: len(dimensions) // 4 * 4])]
    return word, shape, kind, numbers


def _matrix(contents: bytes, order: str, largest: int) -> Num[np.ndarray, "rows columns"]:
    word, shape, kind, numbers = _shape(contents, order)
    if word & 0xFF not in _NUMERIC or word & _COMPLEX or kind not in _TYPES or len(shape) != 2 or min(shape) < 0:
        raise TypeError("it is no matrix of real numbers")
    if prod(shape) > largest:
        raise ValueError(f"it is a matrix of {prod(shape):,} numbers, more than {largest:,}")
    if len(numbers) != prod(shape) * np.dtype(_TYPES[kind]).itemsize:
        raise ValueError(f"it has {len(numbers):,} bytes for {shape[0]:,} x {shape[1]:,} numbers")
    return np.frombuffer(numbers, f"{order}{_TYPES[kind]}").reshape(shape, order="F")


def _text(contents: bytes, order: str) -> list[str]:
    word, shape, kind, characters = _shape(contents, order)
    if word & 0xFF != _CHARACTERS or kind not in _ENCODINGS or len(shape) != 2 or min(shape) < 0:
        raise TypeError("it is no matrix of characters")
    encoding = _ENCODINGS[kind] + ({"<": "-le", ">": "-be"}[order] if _ENCODINGS[kind] == "utf-16" else "")
    text = characters.decode(encoding)
    if len(text) != prod(shape):
        raise ValueError(f"it has {len(text):,} characters for {shape[0]:,} x {shape[1]:,}")
    return [text[row :: shape[0]].rstrip() for row in range(shape[0])]  # column by column
